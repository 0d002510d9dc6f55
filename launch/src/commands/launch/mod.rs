//! `fulcrum launch`: the same experiment file on other machines.

mod k8s;
mod slurm;
mod ssh;

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Subcommand;
use fulcrum_common::experiment::Experiment;

use super::run;

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    engine: Engine,
}

#[derive(Debug, Subcommand)]
enum Engine {
    /// Run on this machine, as `fulcrum run` does
    Local(run::Args),
    /// Run with workers on other hosts, started over ssh; they share a file system
    Ssh(ssh::Args),
    /// Print what Kubernetes makes a run of, for `kubectl apply -f -`
    K8s(k8s::Args),
    /// Write a job for Slurm, and submit it; several experiments are an array
    Slurm(slurm::Args),
}

/// Brings an experiment to the machines that were named.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    match args.engine {
        Engine::Local(args) => run::run(args).await,
        Engine::Ssh(args) => ssh::run(args).await,
        Engine::K8s(args) => k8s::run(&args),
        Engine::Slurm(args) => slurm::run(&args),
    }
}

/// Workers of an experiment: those that were asked for, else those of a gang in its file, else one.
fn workers(asked: Option<NonZeroUsize>, experiment: &Experiment) -> usize {
    asked.map(NonZeroUsize::get).or(experiment.parallel().workers).unwrap_or(1)
}
