//! What the program can be asked, one file per command: arguments as they were given, checked, done.

mod artifacts;
mod bench;
mod certs;
mod compare;
mod coordinator;
mod doctor;
mod generate;
mod generated;
mod import_labels;
mod infer;
mod launch;
mod one_off;
mod plan;
mod report;
mod run;
pub(crate) mod status;
mod top;
mod train;
mod watch;
mod why;
mod worker;

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Weak-to-strong generalization on many workers: train strong models on the labels of weak ones
#[derive(Debug, Parser)]
#[command(name = "fulcrum", version, propagate_version = true, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Exit codes: 0 done; 2 bad usage or experiment file; 10 stopped, run it again to go on;
20 versions or configurations do not fit together; 21 damaged bytes; 30 no progress, see the logs;
31 a training came no farther; 40 a bug in Fulcrum.
FULCRUM_LOG sets the detail of the logs, e.g. FULCRUM_LOG=debug.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what an experiment file asks for, and what of it is done already
    Plan(plan::Args),
    /// Run an experiment on this machine; run again, it goes on where it stopped
    Run(run::Args),
    /// Run an experiment on other machines: hosts over ssh, a Slurm cluster, Kubernetes
    Launch(Box<launch::Args>),
    /// Write the report of a finished run; show several runs as tasks
    Report(report::Args),
    /// Show what two runs have different, in settings and in numbers
    Compare(compare::Args),
    /// Show stages and workers of a run
    Status(status::Args),
    /// Serve a page that shows a run as it goes, and its metrics for Prometheus
    Watch(watch::Args),
    /// Show a run in the terminal, as it goes
    Top(top::Args),
    /// Finetune one model on one table of rows
    Train(Box<train::Args>),
    /// Run one model over one table of rows
    Infer(infer::Args),
    /// Let one language model continue the prompts of one table of rows
    Generate(generate::Args),
    /// Measure training, inference or sums over ranks on this machine
    Bench(bench::Args),
    /// Bring weak labels of other programs (Arrow folders of the datasets library) into one Parquet file
    ImportLabels(import_labels::Args),
    /// See whether this machine is fit for runs
    Doctor(doctor::Args),
    /// Look after the artifact store
    Artifacts(artifacts::Args),
    /// Serve one run to its workers; `fulcrum run` starts this by itself
    Coordinator(coordinator::Args),
    /// Look after workers on this machine, for a run that `fulcrum run --here N` leads on another
    Worker(worker::Args),
    /// Make certificates for a run whose processes share no folder
    Certs(certs::Args),
    /// Print completions for a shell
    Completions(generated::Completions),
    /// Write manual pages
    Man(generated::Man),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever kept it from being done, with its exit code.
    pub(crate) async fn run(self) -> Result<()> {
        let detail = if matches!(self.command, Command::Coordinator(_)) { "info" } else { "warn" };
        let filter = EnvFilter::try_from_env("FULCRUM_LOG").unwrap_or_else(|_| EnvFilter::new(detail));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
        match self.command {
            Command::Plan(args) => plan::run(args).await,
            Command::Run(args) => run::run(args).await,
            Command::Launch(args) => launch::run(*args).await,
            Command::Report(args) => report::run(args).await,
            Command::Compare(args) => compare::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Watch(args) => watch::run(args).await,
            Command::Top(args) => top::run(args).await,
            Command::Train(args) => train::run(*args).await,
            Command::Infer(args) => infer::run(args).await,
            Command::Generate(args) => generate::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::ImportLabels(args) => import_labels::run(&args),
            Command::Doctor(args) => doctor::run(args).await,
            Command::Artifacts(args) => artifacts::run(args).await,
            Command::Coordinator(args) => coordinator::run(args).await,
            Command::Worker(args) => worker::run(args).await,
            Command::Certs(args) => certs::run(&args),
            Command::Completions(args) => generated::completions(&args),
            Command::Man(args) => generated::man(&args),
        }
    }
}

/// Writes to standard output. A reader that went away is no failure of ours.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
