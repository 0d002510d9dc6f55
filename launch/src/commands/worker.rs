//! `fulcrum worker`: looks after workers on this machine, for a run whose coordinator is elsewhere.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fulcrum_common::{exit, network::Interface, protocol::Contact};

use crate::{
    devices::Devices,
    failure::Failure,
    parent,
    progress::Progress,
    run_folder::{RunFacts, RunFolder, read_json},
    supervise::{self, Cluster, Programs, Team},
};

/// How often a run's folder is looked for.
const LOOK: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  fulcrum worker --run-folder runs/exp --count 8 --device cuda
  fulcrum worker --run-folder runs/exp --seat spare --interface ib0";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the run, on storage that this machine shares with the coordinator's
    #[arg(long, value_name = "DIR", env = "FULCRUM_RUN_FOLDER")]
    run_folder: PathBuf,
    /// Worker processes
    #[arg(long, value_name = "N", default_value = "1")]
    count: NonZeroUsize,
    /// Threads per worker [default: cores over workers]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What they compute on: cpu, cuda (a GPU for each worker) or cuda:N (this GPU for all)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Devices,
    /// What the workers are called: NAME where there is one, else NAME-0, NAME-1; the same after a restart, and of no other
    /// workers of the run [default: that of this machine, and of the Slurm task]
    #[arg(long, value_name = "NAME", env = "FULCRUM_SEAT")]
    seat: Option<String>,
    /// The network interface to meet other workers on: its name, or a network like 10.1.0.0/16 [default: the one on the way
    /// to the coordinator]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<Interface>,
    /// Wait so many seconds for the run to begin
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u32,
    /// End when standard input ends: it does when the process that started this one is gone
    #[arg(long)]
    watch_stdin: bool,
    /// The launch to work for: others of the same name are passed over, and one that is over is nothing to wait for
    #[arg(long, hide = true, env = "FULCRUM_LAUNCH")]
    launch: Option<String>,
}

/// Keeps the workers alive until the coordinator sends them home.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    supervise::end_on_signals()?;
    let work = async {
        let folder = RunFolder::new(&args.run_folder);
        let mut progress = Progress::of_notes();
        let Some(facts) = begun(&folder, &args, &mut progress).await? else {
            progress.note(&format!("the run in {} is over", folder.path().display()));
            return Ok(());
        };
        let hands = Programs::find()?.workers(&folder, &facts.store, &team(&args)?);
        let cluster = Cluster { folder, head: None, hands };
        supervise::run(&cluster, &mut progress).await
    };
    tokio::select! {
        done = work => done,
        () = parent::gone(args.watch_stdin) => {
            Err(Failure::new(exit::PREEMPTED, "the process that started these workers is gone").into())
        }
    }
}

/// What is run, once somebody runs it; none where the launch that is meant is over.
async fn begun(folder: &RunFolder, args: &Args, progress: &mut Progress) -> Result<Option<RunFacts>> {
    let until = Instant::now() + Duration::from_secs(args.wait.into());
    let mut is_told = false;
    loop {
        let is_meant = |facts: &RunFacts| args.launch.is_none() || facts.launch == args.launch;
        let facts = read_json(&folder.facts()).ok().filter(is_meant);
        match facts {
            Some(facts) if args.launch.is_some() && facts.is_over => return Ok(None),
            Some(facts) if Contact::read(folder.path()).is_ok() => return Ok(Some(facts)),
            _ => {}
        }
        if Instant::now() >= until {
            let (path, seconds) = (folder.path().display(), args.wait);
            bail!(
                "no run has begun in {path} within {seconds} s: start `fulcrum run`, or name another folder"
            );
        }
        if !std::mem::replace(&mut is_told, true) {
            progress.note(&format!("waits for a run in {}", folder.path().display()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn team(args: &Args) -> Result<Team> {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let share = NonZeroUsize::new(cores / args.count).unwrap_or(NonZeroUsize::MIN);
    let name = match &args.seat {
        Some(name) => name.clone(),
        None => own_name()?,
    };
    let seats = match args.count.get() {
        1 => vec![name],
        count => (0..count).map(|number| format!("{name}-{number}")).collect(),
    };
    let options =
        args.interface.iter().map(|interface| format!("--interface={}", interface.word())).collect();
    Ok(Team { seats, threads: args.threads.unwrap_or(share), devices: args.device, options })
}

/// Of this machine, and of the task where a scheduler starts several on it.
fn own_name() -> Result<String> {
    let host = nix::unistd::gethostname().context("cannot tell the name of this machine: give --seat")?;
    let host = host.to_string_lossy().into_owned();
    match std::env::var("SLURM_PROCID") {
        Ok(task) => Ok(format!("{host}-{task}")),
        Err(_) => Ok(host),
    }
}
