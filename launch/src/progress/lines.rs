//! Progress for programs: a line of JSON for each event. `docs/watching.md` describes the keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fulcrum_common::protocol::{StageStatus, StatusReply, WorkerStatus};
use serde::Serialize;

use super::{Event, Running, View};

/// Version of the lines. A key that is added is no new version, one that goes or changes its meaning is.
const VERSION: u32 = 1;

/// A running stage says how far it is no more often than this.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    unix_ms: u64,
    run: &'a str,
    #[serde(flatten)]
    happening: Happening<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Happening<'a> {
    RunBegan {
        stages: usize,
        made: usize,
    },
    StageBegan {
        stage: &'a str,
        kind: &'a str,
        attempt: u32,
        examples: Option<u64>,
    },
    StageProgress {
        stage: &'a str,
        kind: &'a str,
        done: u64,
        examples: Option<u64>,
        examples_per_second: Option<f64>,
        seconds_left: Option<f64>,
        loss: Option<f64>,
    },
    StageDone {
        stage: &'a str,
        kind: &'a str,
        seconds: Option<f64>,
    },
    StageFailed {
        stage: &'a str,
        kind: &'a str,
        message: &'a str,
        again: bool,
    },
    WorkerCame {
        worker: &'a str,
        host: &'a str,
        device: &'a str,
        pid: u32,
    },
    WorkerWent {
        worker: &'a str,
    },
    RunDone,
    RunFailed {
        message: &'a str,
        exit_code: Option<i32>,
    },
    RunStopped {
        message: &'a str,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// Its results are in the store.
    Done,
    /// With this message, and this exit code where it is known.
    Failed(&'a str, Option<i32>),
    /// The same command goes on from there.
    Stopped(&'a str),
}

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    out: W,
    run: String,
    /// Stages of the plan.
    stages: usize,
    began: bool,
    view: View,
    failed: BTreeSet<String>,
    /// When each running stage last said how far it is, and how far that was.
    told: BTreeMap<String, (Duration, u64)>,
    /// Processes in the seats that are heard of.
    workers: BTreeMap<String, String>,
}

impl<W: Write> Lines<W> {
    /// Nothing told yet of a run with so many stages.
    pub(crate) fn new(out: W, run: &str, stages: usize) -> Self {
        Self {
            out,
            run: run.to_owned(),
            stages,
            began: false,
            view: View::default(),
            failed: BTreeSet::new(),
            told: BTreeMap::new(),
            workers: BTreeMap::new(),
        }
    }

    /// Tells what a reply seen at `now`, which counts from any fixed moment, has new, as of `unix`, which counts from the
    /// beginning of 1970.
    ///
    /// # Errors
    /// If the lines cannot be written.
    pub(crate) fn update(&mut self, now: Duration, unix: Duration, reply: &StatusReply) -> io::Result<()> {
        let made = |stage: &&StageStatus| matches!(stage.state.as_str(), "done" | "cached");
        self.begin(unix, reply.stages.iter().filter(made).count())?;
        self.workers(unix, &reply.workers)?;
        let (events, running) = self.view.update(now, reply);
        let stages: BTreeMap<&str, &StageStatus> =
            reply.stages.iter().map(|stage| (stage.name.as_str(), stage)).collect();
        for event in &events {
            let (Event::Began(name) | Event::Done(name, _) | Event::Failed(name, _)) = event;
            if let Some(stage) = stages.get(name.as_str()) {
                self.tell(unix, happened(event, stage))?;
            }
        }
        for stage in reply.stages.iter().filter(|stage| stage.state == "failed") {
            if self.failed.insert(stage.name.clone()) {
                let StageStatus { name, kind, message, .. } = stage;
                self.tell(unix, Happening::StageFailed { stage: name, kind, message, again: false })?;
            }
        }
        self.told.retain(|name, _| running.iter().any(|stage| &stage.name == name));
        for stage in &running {
            if let Some(status) = stages.get(stage.name.as_str()) {
                self.progress(now, unix, stage, &status.kind)?;
            }
        }
        self.out.flush()
    }

    /// Tells how the run ended.
    ///
    /// # Errors
    /// If the lines cannot be written.
    pub(crate) fn end(&mut self, unix: Duration, end: End<'_>) -> io::Result<()> {
        // Of a run that is over before anybody looked, everything is there or nothing is known.
        self.begin(unix, if end == End::Done { self.stages } else { 0 })?;
        self.tell(
            unix,
            match end {
                End::Done => Happening::RunDone,
                End::Failed(message, exit_code) => Happening::RunFailed { message, exit_code },
                End::Stopped(message) => Happening::RunStopped { message },
            },
        )?;
        self.out.flush()
    }

    fn begin(&mut self, unix: Duration, made: usize) -> io::Result<()> {
        if std::mem::replace(&mut self.began, true) {
            return Ok(());
        }
        self.tell(unix, Happening::RunBegan { stages: self.stages, made })
    }

    /// Who came and who went since the reply before. A process that took the seat of another came, and the other went.
    fn workers(&mut self, unix: Duration, workers: &[WorkerStatus]) -> io::Result<()> {
        let here: BTreeMap<&str, &WorkerStatus> = workers
            .iter()
            .filter(|worker| worker.state != "lost")
            .map(|worker| (worker.worker.as_str(), worker))
            .collect();
        let stays = |seat: &String, process: &String| {
            here.get(seat.as_str()).is_some_and(|worker| &worker.incarnation == process)
        };
        let before = std::mem::take(&mut self.workers);
        for (seat, process) in before {
            if stays(&seat, &process) {
                self.workers.insert(seat, process);
            } else {
                self.tell(unix, Happening::WorkerWent { worker: &seat })?;
            }
        }
        for (seat, worker) in here {
            if self.workers.insert(seat.to_owned(), worker.incarnation.clone()).is_none() {
                let WorkerStatus { host, device, pid, .. } = worker;
                self.tell(unix, Happening::WorkerCame { worker: seat, host, device, pid: *pid })?;
            }
        }
        Ok(())
    }

    /// How far a running stage is, where that is due and it has moved.
    fn progress(&mut self, now: Duration, unix: Duration, stage: &Running, kind: &str) -> io::Result<()> {
        let (when, done) = *self.told.entry(stage.name.clone()).or_insert((now, 0));
        if stage.done == done || now < when + EVERY {
            return Ok(());
        }
        self.told.insert(stage.name.clone(), (now, stage.done));
        self.tell(
            unix,
            Happening::StageProgress {
                stage: &stage.name,
                kind,
                done: stage.done,
                examples: known(stage.total),
                examples_per_second: stage.rate,
                seconds_left: stage.left.map(|left| left.as_secs_f64()),
                loss: stage.loss,
            },
        )
    }

    fn tell(&mut self, unix: Duration, happening: Happening<'_>) -> io::Result<()> {
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let line = Line { v: VERSION, unix_ms, run: &self.run, happening };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.out.write_all(&text)
    }
}

fn happened<'a>(event: &'a Event, status: &'a StageStatus) -> Happening<'a> {
    let kind = &status.kind;
    match event {
        Event::Began(stage) => {
            Happening::StageBegan { stage, kind, attempt: status.attempts, examples: known(status.total) }
        }
        Event::Done(stage, took) => {
            Happening::StageDone { stage, kind, seconds: took.map(|took| took.as_secs_f64()) }
        }
        Event::Failed(stage, message) => Happening::StageFailed { stage, kind, message, again: true },
    }
}

/// A one-off plan does not know its rows beforehand.
fn known(examples: u64) -> Option<u64> {
    (examples > 0).then_some(examples)
}

/// What the clock says.
pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stage(state: &str, done: u64, attempts: u32) -> StageStatus {
        let (name, kind, state) = ("weak".to_owned(), "train".to_owned(), state.to_owned());
        let loss = if done > 0 { 0.5 } else { 0.0 };
        StageStatus {
            key: "k".into(),
            name,
            kind,
            state,
            done,
            total: 100,
            loss,
            attempts,
            ..Default::default()
        }
    }

    fn worker(incarnation: &str, state: &str) -> WorkerStatus {
        let (worker, host, device) = ("w0".into(), "node7".into(), "cpu".into());
        let (incarnation, state) = (incarnation.into(), state.into());
        WorkerStatus { worker, host, device, incarnation, state, pid: 7, ..Default::default() }
    }

    /// The lines of a run that is seen once a second, without what all have.
    fn lines(moments: Vec<(StageStatus, Vec<WorkerStatus>)>, end: Option<End<'_>>) -> Vec<Value> {
        let mut lines = Lines::new(Vec::new(), "tiny", 3);
        for (second, (stage, workers)) in moments.into_iter().enumerate() {
            let now = Duration::from_secs(second as u64);
            let reply = StatusReply { stages: vec![stage], workers, ..Default::default() };
            lines.update(now, now, &reply).unwrap();
        }
        if let Some(end) = end {
            lines.end(Duration::from_secs(60), end).unwrap();
        }
        let text = String::from_utf8(lines.out).unwrap();
        let read = |line: &str| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let object = value.as_object_mut().unwrap();
            assert_eq!((object.remove("v"), object.remove("run")), (Some(json!(1)), Some(json!("tiny"))));
            assert!(object.remove("unix_ms").unwrap().is_u64());
            value
        };
        text.lines().map(read).collect()
    }

    #[test]
    fn a_run_is_told_from_its_beginning_to_its_end() {
        let w0 = || vec![worker("a", "working")];
        let moments = vec![
            (stage("ready", 0, 0), vec![]),
            (stage("running", 0, 1), w0()),
            (stage("running", 50, 1), w0()),
            (stage("running", 50, 1), w0()),
            (stage("done", 100, 1), w0()),
        ];
        let expected = json!([
            {"event": "run_began", "stages": 3, "made": 0},
            {"event": "worker_came", "worker": "w0", "host": "node7", "device": "cpu", "pid": 7},
            {"event": "stage_began", "stage": "weak", "kind": "train", "attempt": 1, "examples": 100},
            {"event": "stage_progress", "stage": "weak", "kind": "train", "done": 50, "examples": 100,
             "examples_per_second": 50.0, "seconds_left": 1.0, "loss": 0.5},
            {"event": "stage_done", "stage": "weak", "kind": "train", "seconds": 3.0},
            {"event": "run_done"},
        ]);
        assert_eq!(Value::from(lines(moments, Some(End::Done))), expected);
    }

    #[test]
    fn what_fails_is_told_with_whether_it_is_tried_again() {
        let failed = |state, message: &str| StageStatus { message: message.into(), ..stage(state, 0, 2) };
        let moments = vec![
            (failed("ready", "w0 lost"), vec![]),
            (failed("ready", "w0 lost"), vec![]),
            (failed("failed", "no luck"), vec![]),
            (failed("failed", "no luck"), vec![]),
        ];
        let expected = json!([
            {"event": "run_began", "stages": 3, "made": 0},
            {"event": "stage_failed", "stage": "weak", "kind": "train", "message": "w0 lost", "again": true},
            {"event": "stage_failed", "stage": "weak", "kind": "train", "message": "no luck", "again": false},
            {"event": "run_failed", "message": "no luck", "exit_code": 20},
        ]);
        assert_eq!(Value::from(lines(moments, Some(End::Failed("no luck", Some(20))))), expected);
    }

    #[test]
    fn workers_come_go_and_take_the_seats_of_others() {
        let idle = |workers| (stage("ready", 0, 0), workers);
        let moments = vec![
            idle(vec![worker("a", "idle")]),
            idle(vec![worker("a", "working")]),
            idle(vec![worker("b", "idle")]),
            idle(vec![worker("b", "lost")]),
            idle(vec![worker("b", "idle")]),
            idle(vec![]),
        ];
        let told = lines(moments, None);
        let words: Vec<_> = told[1..].iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(
            words,
            ["worker_came", "worker_went", "worker_came", "worker_went", "worker_came", "worker_went"]
        );
    }

    #[test]
    fn a_run_that_is_over_at_once_has_a_beginning_and_an_end() {
        let done = json!([{"event": "run_began", "stages": 3, "made": 3}, {"event": "run_done"}]);
        assert_eq!(Value::from(lines(vec![], Some(End::Done))), done);
        let stopped = lines(vec![], Some(End::Stopped("later")));
        assert_eq!(stopped[1], json!({"event": "run_stopped", "message": "later"}));
    }
}
