//! `fulcrum coordinator`: serves one run to its workers.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use fulcrum_common::{Key, exit, experiment::Cadence, program, store::Place};
use fulcrum_coordinator::{Config, serve};

use crate::{failure::Failure, parent, run_folder::read_json, supervise::Programs};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the run: journal and address are kept there
    #[arg(long, value_name = "DIR")]
    run_folder: PathBuf,
    /// The plan, as `fulcrum run` writes it
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The artifact store: a folder, or a bucket as s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE")]
    store: Place,
    /// Workers of the run
    #[arg(long, value_name = "N")]
    workers: NonZeroUsize,
    /// Workers in a gang [default: all]
    #[arg(long, value_name = "N")]
    gang: Option<NonZeroUsize>,
    /// Fewest workers that a training goes on with once others have stayed away for 30 seconds [default: those of a gang]
    #[arg(long, value_name = "N")]
    fewest: Option<NonZeroUsize>,
    /// Keep a checkpoint of every training after so many steps; 0 for never by steps
    #[arg(long, value_name = "N", default_value_t = 0)]
    checkpoint_steps: u64,
    /// Keep a checkpoint of every training after so many seconds; 0 for never by time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_seconds: u32,
    /// Compare what workers of a training hold alike after so many steps; 0 for never
    #[arg(long, value_name = "N", default_value_t = 50)]
    verify_steps: u64,
    /// Take the work of a worker back that has not got on with it for so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", env = "FULCRUM_STALL_SECONDS", default_value_t = 1800)]
    stall_seconds: u32,
    /// Name of the run [default: the name of its folder]
    #[arg(long)]
    name: Option<String>,
    /// Where to listen, an address of this machine; port 0 takes any free one. Callers must know the run's token, which is that
    /// of FULCRUM_TOKEN, else in the file `token` of the run's folder
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// End when standard input ends: it does when the process that started this one is gone
    #[arg(long)]
    watch_stdin: bool,
}

/// Serves until the run is over.
///
/// # Errors
/// With the exit code of the contract unless the goal is reached.
pub(super) async fn run(args: Args) -> Result<()> {
    let config = check(&args)?;
    end_on_panic();
    let outcome = tokio::select! {
        outcome = serve(config) => outcome.map_err(|error| Failure::new(error.code(), error.to_string()))?,
        () = parent::gone(args.watch_stdin) => {
            return Err(Failure::new(exit::PREEMPTED, "the process that started this coordinator is gone").into());
        }
    };
    if outcome.code == exit::DONE {
        return Ok(());
    }
    Err(Failure::new(outcome.code, outcome.reason).into())
}

/// A panic anywhere ends the process: what a lost task leaves undone nobody would do, and the next coordinator takes it
/// up from the journal.
fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(exit::INTERNAL);
    }));
}

/// The worker beside this program, which those on other machines must be too.
fn worker_build() -> Result<Option<Key>> {
    let Ok(programs) = Programs::find() else { return Ok(None) };
    let path = programs.worker_program();
    let build = program::digest(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(build))
}

fn check(args: &Args) -> Result<Config> {
    let folder_name = || args.run_folder.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Config {
        run: args.name.clone().or_else(folder_name).context("give the run a --name")?,
        folder: args.run_folder.clone(),
        store: args.store.clone(),
        plan: read_json(&args.plan)?,
        workers: args.workers,
        gang: args.gang,
        fewest: args.fewest,
        cadence: Cadence {
            steps: args.checkpoint_steps,
            seconds: args.checkpoint_seconds.into(),
            verify_steps: args.verify_steps,
        },
        stall: Duration::from_secs(args.stall_seconds.into()),
        build: worker_build()?,
        listen: args.listen,
    })
}
