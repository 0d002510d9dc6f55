//! What a sequence of status replies means for people: which stages began, ended, failed, and how fast they go.

use std::{collections::BTreeMap, time::Duration};

use fulcrum_common::protocol::{StageStatus, StatusReply};

use super::meter::{Meter, clock, rate_text};

/// A change worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The stage began, or began again.
    Began(String),
    /// The stage is done, after so long if it was seen running.
    Done(String, Option<Duration>),
    /// An attempt at the stage failed, and why. Another one follows: what ends the run is the run's own error.
    Failed(String, String),
}

/// A running stage at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    /// The stage's name.
    pub(crate) name: String,
    /// Examples done.
    pub(crate) done: u64,
    /// Examples in all; 0 where nobody knows.
    pub(crate) total: u64,
    /// Examples per second.
    pub(crate) rate: Option<f64>,
    /// Time left.
    pub(crate) left: Option<Duration>,
    /// Latest training loss.
    pub(crate) loss: Option<f64>,
}

impl Running {
    /// `1,234 examples/s, 0:12 left, loss 0.4321`: as much of it as is known.
    pub(crate) fn details(&self) -> String {
        let rate = self.rate.map(|rate| format!("{} examples/s", rate_text(rate)));
        let left = self.left.map(|left| format!("{} left", clock(left)));
        let loss = self.loss.map(|loss| format!("loss {loss:.4}"));
        [rate, left, loss].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What is known from the replies so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    stages: BTreeMap<String, Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    state: String,
    attempts: u32,
    message: String,
    meter: Meter,
    began: Duration,
    /// Examples, as far as they were seen.
    reached: u64,
    /// Steps, also of what began and ended between two looks.
    farthest: u64,
    /// The newest checkpoint: where a training was ahead of its checkpoints, a newer one is a step forward too.
    kept: u64,
    /// Answers about rows that may not be computable, which are got by workers that die.
    answers: u64,
}

impl View {
    /// Takes in a reply seen at `now` and tells what changed and what runs.
    pub(crate) fn update(&mut self, now: Duration, reply: &StatusReply) -> (Vec<Event>, Vec<Running>) {
        let mut events = Vec::new();
        let mut running = Vec::new();
        for stage in &reply.stages {
            let known = self.stages.entry(stage.key.clone()).or_default();
            known.note_change(now, stage, &mut events);
            if stage.state == "running" {
                known.meter.observe(now, stage.done);
                running.push(known.running(stage));
            }
        }
        (events, running)
    }

    /// A measure of what has been achieved that never falls, whatever is lost and done again.
    pub(crate) fn reached(&self) -> u64 {
        let sum = |known: &Known| known.reached + known.farthest + known.kept + known.answers;
        self.stages.values().map(sum).sum()
    }
}

impl Known {
    fn note_change(&mut self, now: Duration, stage: &StageStatus, events: &mut Vec<Event>) {
        let ended = matches!(stage.state.as_str(), "done" | "cached");
        let reached = if ended { stage.total.max(stage.done) + 1 } else { stage.done };
        self.reached = self.reached.max(reached);
        self.farthest = self.farthest.max(stage.farthest);
        self.kept = self.kept.max(stage.kept);
        self.answers = self.answers.max(stage.answers);
        let is_new = stage.message != self.message && !stage.message.is_empty();
        if is_new && stage.state != "failed" {
            events.push(Event::Failed(stage.name.clone(), stage.message.clone()));
        }
        if stage.state != self.state || self.is_another_attempt(stage) {
            match stage.state.as_str() {
                "running" => {
                    self.began = now.saturating_sub(Duration::from_millis(stage.running_ms));
                    self.meter = Meter::default();
                    events.push(Event::Began(stage.name.clone()));
                }
                // A stage that was done before this one looked is no news.
                "done" if !self.state.is_empty() => {
                    let took = (self.state == "running").then(|| now.saturating_sub(self.began));
                    events.push(Event::Done(stage.name.clone(), took));
                }
                _ => {}
            }
        }
        self.state.clone_from(&stage.state);
        self.attempts = stage.attempts;
        self.message.clone_from(&stage.message);
    }

    /// Whether an attempt ended and the next one began between two looks. Those of an inference are of its shards.
    fn is_another_attempt(&self, stage: &StageStatus) -> bool {
        stage.state == "running" && stage.kind != "infer" && stage.attempts > self.attempts
    }

    fn running(&self, stage: &StageStatus) -> Running {
        Running {
            name: stage.name.clone(),
            done: stage.done,
            total: stage.total,
            rate: self.meter.rate(),
            left: self.meter.left(stage.total),
            loss: (stage.loss.is_finite() && stage.loss != 0.0).then_some(stage.loss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(state: &str, done: u64) -> StageStatus {
        StageStatus {
            key: "k".into(),
            name: "weak small seed 0".into(),
            state: state.into(),
            done,
            total: 100,
            ..StageStatus::default()
        }
    }

    fn reply(stage: StageStatus) -> StatusReply {
        StatusReply { stages: vec![stage], ..StatusReply::default() }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_stage_is_told_when_it_begins_and_when_it_is_done() {
        let mut view = View::default();
        let name = "weak small seed 0".to_owned();
        assert_eq!(view.update(seconds(0), &reply(stage("waiting", 0))), (vec![], vec![]));
        let (events, running) = view.update(seconds(1), &reply(stage("running", 0)));
        assert_eq!((events, running.len()), (vec![Event::Began(name.clone())], 1));
        let (events, running) = view.update(seconds(3), &reply(stage("running", 50)));
        assert_eq!(events, vec![]);
        assert_eq!((running[0].rate, running[0].left), (Some(25.0), Some(seconds(2))));
        let (events, running) = view.update(seconds(5), &reply(stage("done", 100)));
        assert_eq!((events, running), (vec![Event::Done(name, Some(seconds(4)))], vec![]));
    }

    #[test]
    fn a_failure_is_told_once_and_the_last_one_by_the_run() {
        let mut view = View::default();
        let failed = StageStatus { message: "w1 lost".into(), ..stage("waiting", 0) };
        let told = vec![Event::Failed("weak small seed 0".into(), "w1 lost".into())];
        assert_eq!(view.update(seconds(0), &reply(failed.clone())).0, told);
        assert_eq!(view.update(seconds(1), &reply(failed)).0, vec![]);
        let last = StageStatus { message: "w0 lost".into(), ..stage("failed", 0) };
        assert_eq!(view.update(seconds(2), &reply(last)).0, vec![]);
    }

    #[test]
    fn an_attempt_that_began_between_two_looks_is_told_unless_it_is_a_shards() {
        let mut view = View::default();
        let began = vec![Event::Began("weak small seed 0".into())];
        for (kind, attempts, told) in
            [("train", 1, began.clone()), ("train", 1, vec![]), ("train", 2, began), ("infer", 3, vec![])]
        {
            let stage = StageStatus { kind: kind.into(), attempts, ..stage("running", 0) };
            assert_eq!(view.update(seconds(0), &reply(stage)).0, told, "{kind} {attempts}");
        }
    }

    #[test]
    fn what_was_done_before_is_no_news() {
        for state in ["done", "cached"] {
            assert_eq!(
                View::default().update(seconds(0), &reply(stage(state, 100))),
                (vec![], vec![]),
                "{state}"
            );
        }
    }

    #[test]
    fn achievement_never_falls_and_counts_the_end_of_a_stage() {
        let mut view = View::default();
        let mut reached = Vec::new();
        for (state, done) in
            [("running", 40), ("running", 0), ("running", 30), ("running", 100), ("done", 100)]
        {
            view.update(seconds(0), &reply(stage(state, done)));
            reached.push(view.reached());
        }
        assert_eq!(reached, [40, 40, 40, 100, 101]);
    }

    #[test]
    fn a_training_that_got_on_and_was_lost_between_two_looks_has_achieved_something() {
        let mut view = View::default();
        let reached = [0, 16, 18, 0].map(|farthest| {
            view.update(seconds(0), &reply(StageStatus { farthest, ..stage("ready", 0) }));
            view.reached()
        });
        assert_eq!(reached, [0, 16, 18, 18]);
    }

    #[test]
    fn a_newer_checkpoint_is_an_achievement_although_no_new_step_was_done() {
        let mut view = View::default();
        let reached = [0, 10, 15, 0].map(|kept| {
            view.update(seconds(0), &reply(StageStatus { farthest: 18, kept, ..stage("ready", 0) }));
            view.reached()
        });
        assert_eq!(reached, [18, 28, 33, 33]);
    }

    #[test]
    fn an_answer_about_rows_is_an_achievement_although_a_worker_died_for_it() {
        let mut view = View::default();
        let reached = [0, 1, 5, 0].map(|answers| {
            view.update(seconds(0), &reply(StageStatus { answers, ..stage("running", 0) }));
            view.reached()
        });
        assert_eq!(reached, [0, 1, 5, 5]);
    }

    #[test]
    fn details_hold_what_is_known() {
        let (rate, left, loss) = (Some(1234.4), Some(seconds(12)), Some(0.43215));
        let running = Running { name: "x".into(), done: 1, total: 2, rate, left, loss };
        assert_eq!(running.details(), "1,234 examples/s, 0:12 left, loss 0.4321");
        assert_eq!(Running { rate: None, left: None, loss: None, ..running }.details(), "");
    }
}
