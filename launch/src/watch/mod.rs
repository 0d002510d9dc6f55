//! A run as it goes: what its coordinator says, again and again, for a page, for Prometheus and for programs.

mod metrics;
mod server;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use fulcrum_common::{
    flight::verdict::{Verdict, verdict},
    plan::Plan,
    protocol::StatusReply,
};
use serde::Serialize;
use tokio::{
    net::TcpListener,
    sync::watch::{self, Sender},
    time::MissedTickBehavior,
};

use crate::{commands::status, run_folder::RunFolder};

/// How often the coordinator is asked.
const EVERY: Duration = Duration::from_millis(500);

/// Most points of a curve. Where there would be more, every second one goes.
const POINTS: usize = 400;

/// What everybody who watches sees.
#[derive(Clone, Debug, Default, Serialize)]
struct Sight {
    /// What the coordinator says; what folder and store say where none runs.
    status: StatusReply,
    /// Who waits for whom.
    why: Option<Verdict>,
    /// Of every training that was seen: examples done and the loss there.
    curves: BTreeMap<String, Curve>,
    /// Examples per second of every running stage.
    rates: BTreeMap<String, f64>,
}

/// Loss over examples.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
struct Curve(Vec<(u64, f64)>);

impl Curve {
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

impl Sight {
    /// Takes in what was said after so much time.
    fn update(&mut self, status: StatusReply, passed: Duration) {
        let before: BTreeMap<&str, u64> =
            self.status.stages.iter().map(|stage| (stage.name.as_str(), stage.done)).collect();
        self.rates.clear();
        for stage in status.stages.iter().filter(|stage| stage.state == "running") {
            if let Some(more) =
                before.get(stage.name.as_str()).and_then(|before| stage.done.checked_sub(*before))
            {
                self.rates.insert(stage.name.clone(), more as f64 / passed.as_secs_f64());
            }
            if stage.kind == "train" && stage.loss != 0.0 && stage.loss.is_finite() {
                self.curves.entry(stage.name.clone()).or_default().add(stage.done, stage.loss);
            }
        }
        self.why = (!status.workers.is_empty()).then(|| verdict(&status));
        self.status = status;
    }
}

/// Shows the run to whoever asks, until this process is ended.
///
/// # Errors
/// If there is no such run, or the address is taken.
pub(crate) async fn serve(folder: RunFolder, listener: TcpListener) -> Result<()> {
    let plan = folder.read_plan()?;
    let (says, sees) = watch::channel(Sight::default());
    look(&folder, &says).await?;
    let page = server::serve(listener, server::Shared::new(folder.clone(), edges(&plan), sees));
    let looks = async {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            look(&folder, &says).await?;
        }
    };
    tokio::select! {
        done = page => done,
        failed = looks => failed,
    }
}

async fn look(folder: &RunFolder, says: &Sender<Sight>) -> Result<()> {
    let status = match status::live(folder).await {
        Some(reply) => reply,
        None => status::at_rest(folder).await?,
    };
    says.send_modify(|sight| sight.update(status, EVERY));
    Ok(())
}

/// What each stage reads, by the stages' places in the plan.
fn edges(plan: &Plan) -> Vec<Vec<usize>> {
    let place: BTreeMap<_, _> = plan.stages().iter().map(|stage| stage.key).zip(0..).collect();
    let read = |key| place.get(key).copied();
    plan.stages().iter().map(|stage| stage.spec.inputs.values().filter_map(read).collect()).collect()
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
            sight.update(reply(done, loss), EVERY);
        }
        assert_eq!(sight.curves["weak"].0, [(32, 0.7), (64, 0.61), (96, 0.51)]);
    }

    #[test]
    fn a_rate_is_what_was_done_since_the_last_look_and_none_where_work_was_lost() {
        let mut sight = Sight::default();
        let mut rate = |done| {
            sight.update(reply(done, 0.5), Duration::from_millis(500));
            sight.rates.get("weak").copied()
        };
        assert_eq!([rate(32), rate(64), rate(32)], [None, Some(64.0), None]);
    }

    #[test]
    fn a_curve_keeps_its_ends_and_does_not_grow_for_ever() {
        let mut curve = Curve::default();
        (1..10_000).for_each(|done| curve.add(done, 0.5));
        assert!(curve.0.len() <= POINTS && curve.0.len() > POINTS / 3, "{}", curve.0.len());
        assert_eq!((curve.0[0].0, curve.0.last().unwrap().0 > 9_900), (1, true));
    }
}
