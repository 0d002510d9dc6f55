//! The programs that a run consists of, and how they are called.

use std::{
    ffi::OsString,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use fulcrum_common::{experiment::Cadence, store::Place};

use super::{Hand, Head};
use crate::{devices::Devices, run_folder::RunFolder};

/// The two executables.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    fulcrum: PathBuf,
    worker: PathBuf,
}

/// Workers on one machine that are alike.
#[derive(Clone, Debug)]
pub(crate) struct Team {
    /// Their names in the run.
    pub(crate) seats: Vec<String>,
    /// Threads per worker.
    pub(crate) threads: NonZeroUsize,
    /// What they compute on.
    pub(crate) devices: Devices,
    /// What every worker's command line has besides.
    pub(crate) options: Vec<String>,
}

impl Programs {
    /// This program, and the worker beside it.
    ///
    /// # Errors
    /// If there is no worker beside it.
    pub(crate) fn find() -> Result<Self> {
        let fulcrum = std::env::current_exe().context("cannot find the path of this program")?;
        let worker = fulcrum.with_file_name("fulcrum-worker");
        if !worker.is_file() {
            bail!("{} is not there: build it with `cargo build --package fulcrum-worker`", worker.display());
        }
        Ok(Self { fulcrum, worker })
    }

    /// This program.
    pub(crate) fn fulcrum(&self) -> &Path {
        &self.fulcrum
    }

    /// The worker.
    pub(crate) fn worker_program(&self) -> &Path {
        &self.worker
    }

    /// The coordinator of a run.
    pub(super) fn coordinator(&self, folder: &RunFolder, head: &Head) -> Command {
        let mut command = Command::new(&self.fulcrum);
        command.arg("coordinator").arg("--watch-stdin");
        command.arg("--name").arg(&head.run).arg("--run-folder").arg(folder.path());
        command.arg("--plan").arg(folder.plan()).arg("--store").arg(head.store.to_string());
        command.arg("--workers").arg(head.workers.to_string());
        command.args(head.gang.map(|gang| format!("--gang={gang}")));
        command.args(head.fewest.map(|fewest| format!("--fewest={fewest}")));
        let Cadence { steps, seconds, verify_steps } = head.checkpoints;
        command.args([format!("--checkpoint-steps={steps}"), format!("--checkpoint-seconds={seconds}")]);
        command.arg(format!("--verify-steps={verify_steps}"));
        command.arg(format!("--listen={}", head.listen));
        command
    }

    /// Workers on this machine. They find the coordinator through the run's folder, where a restarted one says its new
    /// address.
    pub(crate) fn workers(&self, folder: &RunFolder, store: &Place, team: &Team) -> Vec<Hand> {
        let hand = |(number, seat): (usize, &String)| {
            let mut words: Vec<OsString> = vec![self.worker.clone().into(), "--watch-stdin".into()];
            words.extend([
                "--run-folder".into(),
                folder.path().into(),
                "--store".into(),
                store.to_string().into(),
            ]);
            words.extend(["--seat".into(), seat.into(), "--threads".into()]);
            words.push(team.threads.to_string().into());
            let devices = team.devices.of(number, team.seats.len());
            words.extend(devices.into_iter().chain(team.options.iter().cloned()).map(OsString::from));
            Hand { name: seat.clone(), words }
        };
        team.seats.iter().enumerate().map(hand).collect()
    }

    /// One process of a measurement, with the words that tell its device.
    pub(super) fn rank(&self, folder: &Path, rank: usize, device: Vec<String>) -> Command {
        let mut command = Command::new(&self.worker);
        command.arg("bench").arg("--folder").arg(folder).arg("--rank").arg(rank.to_string()).args(device);
        command
    }
}
