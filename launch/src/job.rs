//! A plan brought to its goal: nothing is started if the goal is in the store already.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    thread::available_parallelism,
};

use anyhow::{Result, bail};
use fulcrum_common::{
    experiment::Cadence,
    plan::Plan,
    store::{Manifest, Store},
};

use crate::{
    devices::Devices,
    failure::Failure,
    progress::Progress,
    run_folder::{RunFolder, write_json},
    supervise::{self, Cluster, Hand, Head, Programs, Team},
};

/// How many processes of what width, as the user said it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Width {
    /// Worker processes
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Threads per worker [default: cores over workers]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// What they compute on: cpu, cuda (a GPU for each worker) or cuda:N (this GPU for all) [default: cpu]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<Devices>,
}

/// [`Width`], decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crew {
    pub(crate) workers: NonZeroUsize,
    pub(crate) gang: Option<NonZeroUsize>,
    pub(crate) fewest: Option<NonZeroUsize>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) devices: Devices,
}

/// Where the workers of a run are.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    /// Where the coordinator listens.
    pub(crate) listen: SocketAddr,
    /// How many workers are started on this machine; none for all of the run.
    pub(crate) here: Option<usize>,
    /// What brings workers on other machines. Those that nothing brings come by themselves.
    pub(crate) elsewhere: Vec<Hand>,
}

impl Default for Spread {
    /// All on this machine.
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), here: None, elsewhere: Vec::new() }
    }
}

impl Crew {
    /// Fills in what was not said: as many workers as a gang has, else one; threads so that the cores are shared.
    ///
    /// # Errors
    /// If there are too few workers to ever form a gang.
    pub(crate) fn new(width: Width, gang: Option<usize>, threads: Option<usize>) -> Result<Self> {
        let gang = gang.and_then(NonZeroUsize::new);
        let workers = width.workers.or(gang).unwrap_or(NonZeroUsize::MIN);
        if let Some(gang) = gang.filter(|gang| *gang > workers) {
            bail!(
                "parallel.workers = {gang} asks for gangs of {gang} and there are {workers} workers: give --workers {gang} or more"
            );
        }
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let share = NonZeroUsize::new(cores / workers).unwrap_or(NonZeroUsize::MIN);
        let threads = width.threads.or(threads.and_then(NonZeroUsize::new)).unwrap_or(share);
        Ok(Self { workers, gang, fewest: None, threads, devices: width.device.unwrap_or_default() })
    }
}

/// Runs `plan` until its goal stands in the store, which `progress` shows; returns the goal's artifact.
///
/// # Errors
/// With the exit code of the contract if the goal is not reached.
pub(crate) async fn run(
    name: &str,
    plan: &Plan,
    folder: &RunFolder,
    store: &Store,
    (crew, spread): (Crew, Spread),
    checkpoints: Cadence,
    progress: &mut Progress,
) -> Result<Manifest> {
    let goal = plan.goal().ok_or_else(|| Failure::bug("the plan has no stages"))?;
    if let Some(manifest) = store.manifest(goal).await? {
        return Ok(manifest);
    }
    write_json(&folder.plan(), plan)?;
    let here = spread.here.unwrap_or(crew.workers.get());
    let mut hands = Vec::new();
    if here > 0 {
        let seats = (0..here).map(|seat| format!("w{seat}")).collect();
        let team = Team { seats, threads: crew.threads, devices: crew.devices, options: Vec::new() };
        hands = Programs::find()?.workers(folder, &store.place(), &team);
    }
    hands.extend(spread.elsewhere);
    let head = Head {
        run: name.to_owned(),
        store: store.place(),
        workers: crew.workers,
        gang: crew.gang,
        fewest: crew.fewest,
        checkpoints,
        listen: spread.listen,
    };
    let cluster = Cluster { folder: folder.clone(), head: Some(head), hands };
    supervise::run(&cluster, progress).await?;
    let missing =
        || Failure::bug(format!("the run ended well but its result {} is not in the store", goal.short()));
    Ok(store.manifest(goal).await?.ok_or_else(missing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(number: usize) -> Option<NonZeroUsize> {
        NonZeroUsize::new(number)
    }

    #[test]
    fn the_crew_defaults_to_a_gang_and_shares_the_cores() {
        let cores = available_parallelism().unwrap().get();
        let crew =
            |workers, gang| Crew::new(Width { workers: n(workers), ..Width::default() }, gang, None).unwrap();
        assert_eq!(crew(0, None).workers.get(), 1);
        assert_eq!(crew(0, None).threads.get(), cores);
        assert_eq!(crew(0, Some(3)).workers.get(), 3);
        assert_eq!(crew(4, Some(2)).gang, n(2));
        assert_eq!(crew(10_000, None).threads.get(), 1);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let crew = |threads| {
            Crew::new(Width { workers: n(2), threads, device: None }, None, Some(7)).unwrap().threads
        };
        assert_eq!((crew(n(3)), crew(None)), (n(3).unwrap(), n(7).unwrap()));
    }

    #[test]
    fn a_gang_that_can_never_form_is_refused() {
        let error =
            Crew::new(Width { workers: n(2), ..Width::default() }, Some(4), None).unwrap_err().to_string();
        assert!(error.contains("give --workers 4 or more"), "{error}");
    }
}
