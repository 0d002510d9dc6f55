//! The programs that a run consists of, and how they are called.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use fulcrum_common::experiment::Cadence;

use super::Cluster;

/// The two executables.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    fulcrum: PathBuf,
    worker: PathBuf,
}

impl Programs {
    /// This program, and the worker beside it.
    ///
    /// # Errors
    /// If there is no worker beside it.
    pub(super) fn find() -> Result<Self> {
        let fulcrum = std::env::current_exe().context("cannot find the path of this program")?;
        let worker = fulcrum.with_file_name("fulcrum-worker");
        if !worker.is_file() {
            bail!("{} is not there: build it with `cargo build --package fulcrum-worker`", worker.display());
        }
        Ok(Self { fulcrum, worker })
    }

    /// The coordinator of `cluster`.
    pub(super) fn coordinator(&self, cluster: &Cluster) -> Command {
        let mut command = Command::new(&self.fulcrum);
        command.arg("coordinator").arg("--watch-stdin");
        command.arg("--name").arg(&cluster.run).arg("--run-folder").arg(cluster.folder.path());
        command.arg("--plan").arg(cluster.folder.plan()).arg("--store").arg(&cluster.store);
        command.arg("--workers").arg(cluster.workers.to_string());
        command.args(cluster.gang.map(|gang| format!("--gang={gang}")));
        command.args(cluster.fewest.map(|fewest| format!("--fewest={fewest}")));
        let Cadence { steps, seconds, verify_steps } = cluster.checkpoints;
        command.args([format!("--checkpoint-steps={steps}"), format!("--checkpoint-seconds={seconds}")]);
        command.arg(format!("--verify-steps={verify_steps}"));
        command
    }

    /// The worker of one seat, the `number`-th. It finds the coordinator through the run's folder, where a restarted one
    /// says its new address.
    pub(super) fn worker(&self, cluster: &Cluster, seat: &str, number: usize) -> Command {
        let mut command = Command::new(&self.worker);
        command.arg("--watch-stdin").arg("--run-folder").arg(cluster.folder.path());
        command.arg("--store").arg(&cluster.store).arg("--seat").arg(seat);
        command.arg("--threads").arg(cluster.threads.to_string());
        command.args(cluster.devices.of(number, cluster.workers.get()));
        command
    }

    /// One process of a measurement, with the words that tell its device.
    pub(super) fn rank(&self, folder: &Path, rank: usize, device: Vec<String>) -> Command {
        let mut command = Command::new(&self.worker);
        command.arg("bench").arg("--folder").arg(folder).arg("--rank").arg(rank.to_string()).args(device);
        command
    }
}
