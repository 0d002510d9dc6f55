//! What everybody who watches sees: what the coordinator says, and what follows from what it said before.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    time::Duration,
};

use anyhow::Result;
use fulcrum_common::{
    flight::verdict::{Verdict, verdict},
    protocol::StatusReply,
};
use serde::Serialize;
use tokio::{
    sync::watch::Sender,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    commands::status,
    progress::{Running, View},
    run_folder::RunFolder,
};

/// How often the coordinator is asked.
pub(super) const EVERY: Duration = Duration::from_millis(500);

/// Most points of a curve. Where there would be more, every second one goes.
const POINTS: usize = 400;

/// How much of the end of a log is shown, in bytes.
const TAIL: u64 = 16 << 10;

/// A run at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sight {
    /// What the coordinator says; what folder and store say where none runs.
    pub(crate) status: StatusReply,
    /// Who waits for whom.
    pub(crate) why: Option<Verdict>,
    /// Of every training that was seen: examples done and the loss there.
    pub(crate) curves: BTreeMap<String, Curve>,
    /// Examples per second of every running stage, over the last ten seconds.
    pub(crate) rates: BTreeMap<String, f64>,
    /// The running stages, with the time left.
    #[serde(skip)]
    pub(crate) running: Vec<Running>,
    #[serde(skip)]
    view: View,
}

/// Loss over examples.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Curve(Vec<(u64, f64)>);

impl Curve {
    /// Examples done and the loss there, in the order of the examples.
    pub(crate) fn points(&self) -> &[(u64, f64)] {
        &self.0
    }

    /// Adds a point ahead of all; a training that went back to a checkpoint draws over what it does again.
    fn add(&mut self, done: u64, loss: f64) {
        self.0.retain(|point| point.0 < done);
        self.0.push((done, loss));
        if self.0.len() > POINTS {
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }
}

/// Whoever waits for less only waits its turn, in milliseconds.
const WAITS: u64 = 2_000;

impl Sight {
    /// What the run waits for, as far as that is worth a line: who waits for whom for a while, and why the run is as it is.
    pub(crate) fn waits(&self) -> Vec<&str> {
        let found = self.why.iter().filter(|why| why.ranks.iter().any(|row| row.ms >= WAITS));
        let lines = found.flat_map(|why| [&why.verdict].into_iter().chain(&why.more));
        let lines = lines.filter(|line| !self.status.reason.contains(*line)).chain([&self.status.reason]);
        lines.map(String::as_str).filter(|line| !line.is_empty()).collect()
    }

    /// Takes in what was said at `now`, which counts from any fixed moment.
    pub(crate) fn update(&mut self, status: StatusReply, now: Duration) {
        (_, self.running) = self.view.update(now, &status);
        let rate = |stage: &Running| (stage.name.clone(), stage.rate.unwrap_or_default());
        self.rates = self.running.iter().map(rate).collect();
        for stage in status.stages.iter().filter(|stage| stage.state == "running" && stage.kind == "train") {
            if stage.loss != 0.0 && stage.loss.is_finite() {
                self.curves.entry(stage.name.clone()).or_default().add(stage.done, stage.loss);
            }
        }
        self.why = (!status.workers.is_empty()).then(|| verdict(&status));
        self.status = status;
    }
}

/// What the run's coordinator says; what folder and store say where none runs.
///
/// # Errors
/// If there is no such run.
pub(crate) async fn look(folder: &RunFolder) -> Result<StatusReply> {
    match status::live(folder).await {
        Some(reply) => Ok(reply),
        None => status::at_rest(folder).await,
    }
}

/// Looks twice a second and tells what is seen, for as long as it is polled.
///
/// # Errors
/// If the run's folder or store cannot be read any more.
pub(crate) async fn follow(folder: &RunFolder, says: &Sender<Sight>) -> Result<()> {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = look(folder).await?;
        says.send_modify(|sight| sight.update(status, start.elapsed()));
    }
}

/// The end of the log of the coordinator or a worker: all of it where it is short.
///
/// # Errors
/// If there is no such log.
pub(crate) fn tail(folder: &RunFolder, who: &str) -> io::Result<String> {
    let mut file = File::open(folder.log(who))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use fulcrum_common::protocol::StageStatus;

    use super::*;

    fn reply(done: u64, loss: f64) -> StatusReply {
        let (name, kind, state) = ("weak".to_owned(), "train".to_owned(), "running".to_owned());
        StatusReply {
            stages: vec![StageStatus { name, kind, state, done, loss, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn a_training_that_goes_back_draws_over_what_it_does_again() {
        let mut sight = Sight::default();
        for (done, loss) in [(32, 0.7), (64, 0.6), (96, 0.5), (64, 0.61), (96, 0.51)] {
            sight.update(reply(done, loss), Duration::ZERO);
        }
        assert_eq!(sight.curves["weak"].0, [(32, 0.7), (64, 0.61), (96, 0.51)]);
    }

    #[test]
    fn a_rate_is_zero_until_something_was_done_and_again_where_work_was_lost() {
        let mut sight = Sight::default();
        let mut rate = |second, done| {
            sight.update(reply(done, 0.5), Duration::from_secs(second));
            sight.rates["weak"]
        };
        assert_eq!([rate(0, 32), rate(1, 64), rate(2, 32), rate(4, 64)], [0.0, 32.0, 0.0, 16.0]);
        sight.update(StatusReply::default(), Duration::from_secs(5));
        assert!(sight.rates.is_empty(), "nothing runs");
    }

    #[test]
    fn a_curve_keeps_its_ends_and_does_not_grow_for_ever() {
        let mut curve = Curve::default();
        (1..10_000).for_each(|done| curve.add(done, 0.5));
        assert!(curve.0.len() <= POINTS && curve.0.len() > POINTS / 3, "{}", curve.0.len());
        assert_eq!((curve.0[0].0, curve.0.last().unwrap().0 > 9_900), (1, true));
    }
}
