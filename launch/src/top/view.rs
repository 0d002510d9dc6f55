//! What is shown of a run at one moment, as text and numbers: a pure function of what is seen and what is chosen.

use std::time::Duration;

use fulcrum_common::protocol::{StageStatus, WorkerStatus};

use super::{
    choice::{Choice, Cover, List},
    order::ordered,
    text::{plain, short},
};
use crate::{
    progress::{clock, duration, rate_text, thousands},
    watch::Sight,
};

/// Everything that is on the screen, whatever its size. No text in it has control characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// The run's name.
    pub(super) run: String,
    /// `running, 12 of 30 stages made, 2 workers`.
    pub(super) facts: String,
    /// What it waits for, and what went wrong.
    pub(super) waits: Vec<String>,
    pub(super) stages: Vec<StageRow>,
    /// Place of the chosen stage.
    pub(super) stage: usize,
    /// The coordinator, which has a log only, and the workers.
    pub(super) workers: Vec<WorkerRow>,
    /// Place of the chosen worker.
    pub(super) worker: usize,
    pub(super) loss: Option<Loss>,
    /// Whose log is shown.
    pub(super) who: String,
    /// Its last lines.
    pub(super) log: Vec<String>,
    /// The list that the arrows move in.
    pub(super) list: List,
    pub(super) cover: Cover,
}

/// A stage. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StageRow {
    pub(super) name: String,
    pub(super) state: String,
    /// Examples.
    pub(super) done: u64,
    pub(super) total: u64,
    /// `43 %` of a running stage, the state of another.
    pub(super) share: String,
    pub(super) rate: String,
    pub(super) left: String,
    pub(super) loss: String,
    /// `attempt 2`.
    pub(super) attempt: String,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkerRow {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) device: String,
    pub(super) host: String,
    /// The stage that it works on, and its place there.
    pub(super) at: String,
    pub(super) doing: String,
    pub(super) heard: String,
}

/// The losses of the chosen training.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loss {
    pub(super) stage: String,
    /// Examples or steps done and the loss there; none where no training was seen.
    pub(super) points: Vec<(u64, f64)>,
}

impl View {
    /// What is to be shown of `sight`, with the log of whom `choice` names and the losses that the store has of the stage
    /// that it names.
    pub(super) fn new(sight: &Sight, choice: &Choice, log: &str, losses: &[(u64, f64)]) -> Self {
        let status = &sight.status;
        let made = status.stages.iter().filter(|stage| matches!(stage.state.as_str(), "done" | "cached"));
        let here = status.workers.iter().filter(|worker| worker.state != "lost").count();
        let plural = if here == 1 { "" } else { "s" };
        let (made, all, phase) = (made.count(), status.stages.len(), plain(&status.phase));
        let coordinator = WorkerRow { name: "coordinator".to_owned(), ..WorkerRow::default() };
        let is_chosen = |(_, worker): &(usize, &WorkerStatus)| Some(&worker.worker) == choice.worker.as_ref();
        let chosen = status.workers.iter().enumerate().find(is_chosen);
        Self {
            run: plain(&status.run),
            facts: format!("{phase}, {made} of {all} stages made, {here} worker{plural}"),
            waits: waits(sight),
            stages: ordered(sight).map(|stage| StageRow::new(stage, sight)).collect(),
            stage: choice.stage_at(sight),
            workers: [coordinator].into_iter().chain(status.workers.iter().map(WorkerRow::new)).collect(),
            worker: chosen.map_or(0, |(at, _)| at + 1),
            loss: choice.stage(sight).and_then(|stage| Loss::new(&stage, sight, losses)),
            who: plain(choice.who()),
            log: log.lines().map(|line| plain(&short(line))).collect(),
            list: choice.list,
            cover: choice.cover,
        }
    }
}

/// What the run waits for, then why stages failed.
fn waits(sight: &Sight) -> Vec<String> {
    let failed = sight.status.stages.iter().filter(|stage| stage.state == "failed");
    let failures = failed.map(|stage| format!("{}: {}", stage.name, stage.message));
    let waits = sight.waits().into_iter().map(str::to_owned);
    waits.chain(failures).map(|line| plain(&line)).collect()
}

impl StageRow {
    fn new(stage: &StageStatus, sight: &Sight) -> Self {
        let row = Self {
            name: plain(&stage.name),
            state: plain(&stage.state),
            done: stage.done,
            total: stage.total,
            share: plain(&stage.state),
            attempt: if stage.attempts > 1 { format!("attempt {}", stage.attempts) } else { String::new() },
            ..Self::default()
        };
        match sight.running.iter().find(|running| running.name == stage.name) {
            None => row,
            Some(running) => Self {
                // Of a one-off stage nobody knows how many rows there are.
                share: match (running.done.saturating_mul(100)).checked_div(running.total) {
                    Some(percent) => format!("{percent} %"),
                    None => thousands(running.done),
                },
                rate: running.rate.map(|rate| format!("{}/s", rate_text(rate))).unwrap_or_default(),
                left: running.left.map(clock).unwrap_or_default(),
                loss: running.loss.map(|loss| format!("{loss:.4}")).unwrap_or_default(),
                ..row
            },
        }
    }
}

impl WorkerRow {
    fn new(worker: &WorkerStatus) -> Self {
        let place = match worker.shard {
            _ if worker.stage.is_empty() => String::new(),
            Some(shard) => format!(", shard {shard}"),
            None if worker.world > 1 => format!(", rank {} of {}", worker.rank, worker.world),
            None => String::new(),
        };
        let doing = worker.flight.as_ref().map(|flight| flight.doing.as_str());
        Self {
            name: plain(&worker.worker),
            state: plain(&worker.state),
            device: plain(&worker.device),
            host: plain(&worker.host),
            at: plain(&format!("{}{place}", worker.stage)),
            doing: plain(doing.unwrap_or_default()),
            heard: duration(Duration::from_millis(worker.heard_ms)),
        }
    }
}

impl Loss {
    /// None of a stage that is no training. What the store has is all of it, what was seen may be a part.
    fn new(stage: &StageStatus, sight: &Sight, losses: &[(u64, f64)]) -> Option<Self> {
        let seen = || sight.curves.get(&stage.name).map_or(&[][..], |curve| curve.points());
        let points = if losses.is_empty() { seen() } else { losses };
        let is_training = stage.kind == "train";
        is_training.then(|| Self { stage: plain(&stage.name), points: points.to_vec() })
    }

    /// `0.6931 to 0.4321, at best 0.4012`.
    pub(super) fn words(&self) -> String {
        let best = self.points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => format!("{:.4} to {:.4}, at best {best:.4}", first.1, last.1),
            _ => "none was seen since this began to look".to_owned(),
        }
    }

    /// The curve in so many columns, each the mean of its points, from 1 at the lowest loss to `levels` at the highest. A
    /// column without a point is as the one before.
    pub(super) fn columns(&self, width: usize, levels: u64) -> Vec<u64> {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return Vec::new() };
        let losses = || self.points.iter().map(|point| point.1);
        let low = losses().fold(f64::INFINITY, f64::min);
        let span = losses().fold(f64::NEG_INFINITY, f64::max) - low;
        let level = |loss: f64| {
            let share = if span > 0.0 { (loss - low) / span } else { 0.0 };
            1 + (share * levels.saturating_sub(1) as f64).round() as u64
        };
        let (mut points, mut now) = (self.points.iter().peekable(), first.1);
        let end =
            |column: usize| first.0 as f64 + (last.0 - first.0) as f64 * (column + 1) as f64 / width as f64;
        let mut columns = Vec::with_capacity(width);
        for column in 0..width {
            let (mut sum, mut count) = (0.0, 0);
            while let Some(point) = points.next_if(|point| point.0 as f64 <= end(column)) {
                (sum, count) = (sum + point.1, count + 1);
            }
            if count > 0 {
                now = sum / f64::from(count);
            }
            columns.push(level(now));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_in_a_column_are_their_mean() {
        let points: Vec<_> = (0..200).map(|step| (step, if step % 2 == 0 { 0.2 } else { 0.4 })).collect();
        assert_eq!(Loss { stage: "weak".into(), points }.columns(10, 9), [5; 10]);
    }

    #[test]
    fn a_curve_is_drawn_from_its_first_point_to_its_last() {
        let loss = |points: &[(u64, f64)]| Loss { stage: "weak".into(), points: points.to_vec() };
        let falls = loss(&[(10, 0.9), (20, 0.5), (30, 0.1)]);
        assert_eq!(falls.columns(4, 9), [9, 5, 5, 1]);
        assert_eq!(falls.words(), "0.9000 to 0.1000, at best 0.1000");
        assert_eq!(loss(&[(32, 0.5)]).columns(3, 8), [1, 1, 1]);
        assert_eq!(loss(&[]).columns(3, 8), Vec::<u64>::new());
        assert_eq!(falls.columns(0, 8), Vec::<u64>::new());
    }
}
