//! A run as it goes: what its coordinator says, again and again, for a page, a terminal, Prometheus and programs.

mod lines;
mod metrics;
mod server;
mod sight;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use fulcrum_common::plan::Plan;
use tokio::{net::TcpListener, sync::watch};

use crate::run_folder::RunFolder;

pub(crate) use lines::tell;
use sight::EVERY;
pub(crate) use sight::{Sight, follow, look, tail};

/// Shows the run to whoever asks, until this process is ended.
///
/// # Errors
/// If there is no such run, or the address is taken.
pub(crate) async fn serve(folder: RunFolder, listener: TcpListener) -> Result<()> {
    let plan = folder.read_plan()?;
    let (says, sees) = watch::channel(Sight::default());
    // Whoever asks at once must not be told of no run at all.
    let first = look(&folder).await?;
    says.send_modify(|sight| sight.update(first, Duration::ZERO));
    let page = server::serve(listener, server::Shared::new(folder.clone(), edges(&plan), sees));
    tokio::select! {
        done = page => done,
        failed = follow(&folder, &says) => failed,
    }
}

/// What each stage reads, by the stages' places in the plan.
fn edges(plan: &Plan) -> Vec<Vec<usize>> {
    let place: BTreeMap<_, _> = plan.stages().iter().map(|stage| stage.key).zip(0..).collect();
    let read = |key| place.get(key).copied();
    plan.stages().iter().map(|stage| stage.spec.inputs.values().filter_map(read).collect()).collect()
}
