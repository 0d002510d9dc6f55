//! `fulcrum doctor`: whether this machine, and others that ssh reaches, are fit for runs.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result};
use comfy_table::Cell;
use fulcrum_common::{exit, network::Interface, store::Place};

use super::print;
use crate::{
    cluster::hostlist::Hosts,
    devices::Devices,
    doctor::{
        Elsewhere, Finding, Verdict, across, addresses, bucket, gpus, here, limits, processor, programs,
        shared, storage,
    },
    failure::Failure,
    table::table,
};

const EXAMPLES: &str = "\
Examples:
  fulcrum doctor --store /shared/store --runs /shared/runs
  fulcrum doctor --store s3://models/store --device cuda
  fulcrum doctor --hosts 'node[01-04]' --interface 10.1.0.0/16   each host, and the links between them";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact store that is meant: a folder, or a bucket as s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE", default_value = "fulcrum-store")]
    store: Place,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Workers that sum a tensor, to see how fast they reach each other; 1 for none
    #[arg(long, value_name = "N", default_value = "2")]
    world: NonZeroUsize,
    /// What they compute on: cpu, cuda (a GPU for each) or cuda:N (this GPU for all)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Devices,
    /// Hosts to look at over ssh, such as node[01-04],me@gpu.example: each by itself, and how fast they reach each other
    #[arg(long, value_name = "HOSTS")]
    hosts: Option<Hosts>,
    /// The network interface that hosts meet on: its name, or a network like 10.1.0.0/16 [default: the first that is not
    /// loopback]
    #[arg(long, value_name = "INTERFACE", requires = "hosts")]
    interface: Option<Interface>,
    /// The program on the hosts [default: where it is here]
    #[arg(long, value_name = "PATH", requires = "hosts")]
    program: Option<PathBuf>,
    /// A word for ssh, such as -oPort=2222; given several times, several words
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, requires = "hosts")]
    ssh: Vec<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// A file that another machine put into its store: it is to be in this one's
    #[arg(long, hide = true)]
    store_mark: Option<String>,
    /// The same of the folder of all runs
    #[arg(long, hide = true)]
    runs_mark: Option<String>,
}

/// Looks, and prints a line for each thing.
///
/// # Errors
/// If something is bad.
pub(super) async fn run(args: Args) -> Result<()> {
    let mut found = by_itself(&args).await;
    let programs = found[0].clone();
    let is_able = programs.verdict != Verdict::Bad;
    if args.world.get() > 1 && is_able {
        found.push(here(args.world.get(), args.device).await);
    }
    if let Some(Hosts(hosts)) = &args.hosts {
        let folder = std::env::current_dir().context("cannot tell the folder that this was started in")?;
        let fulcrum = match &args.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("cannot find the path of this program")?,
        };
        let elsewhere = Elsewhere {
            hosts,
            ssh: &args.ssh,
            fulcrum: &fulcrum,
            folder: &folder,
            store: &args.store,
            runs: &args.runs,
            devices: args.device,
        };
        found.extend(elsewhere.ask(&programs).await);
        // Where a host is not fit, that is what there is to know.
        if is_able && found.iter().all(|finding| finding.host.is_none() || finding.verdict != Verdict::Bad) {
            found.extend(across(&elsewhere, &args.runs, args.interface.as_ref()).await);
        }
    }
    match args.json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?,
        false => print(&text(&found))?,
    }
    let bad = found.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(exit::MISMATCH, format!("{bad} of {} things are bad", found.len())).into()),
    }
}

/// What this machine is without any other. The programs come first.
async fn by_itself(args: &Args) -> Vec<Finding> {
    let mut found = vec![programs(), processor(), limits()];
    found.extend(gpus(args.device));
    found.push(addresses());
    match &args.store {
        Place::Folder(folder) => {
            found.extend(storage(folder));
            found.extend(args.store_mark.iter().map(|mark| shared(folder, mark)));
        }
        place => found.push(bucket(place).await),
    }
    found.extend(storage(&args.runs));
    found.extend(args.runs_mark.iter().map(|mark| shared(&args.runs, mark)));
    found
}

fn text(found: &[Finding]) -> String {
    let mut lines = table(["where", "looked at", "verdict", "found"]);
    for Finding { host, what, verdict, said } in found {
        let host = host.as_deref().unwrap_or("here");
        lines.add_row([Cell::new(host), Cell::new(what), Cell::new(verdict.word()), Cell::new(said)]);
    }
    format!("{lines}\n")
}
