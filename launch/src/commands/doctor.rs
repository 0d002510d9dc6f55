//! `fulcrum doctor`: whether this machine is fit for runs.

use std::{num::NonZeroUsize, path::PathBuf, thread::available_parallelism};

use anyhow::Result;
use comfy_table::Cell;
use fulcrum_common::{
    bench::{Job, Work},
    exit,
    store::Place,
};

use super::print;
use crate::{
    devices::Devices,
    doctor::{Finding, Verdict, addresses, bucket, gpus, limits, processor, programs, storage},
    failure::Failure,
    supervise,
    table::table,
};

/// Size of the tensor that travels.
const MIB: usize = 8;

/// What was asked.
#[derive(Debug, clap::Args)]
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
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Looks, and prints a line for each thing.
///
/// # Errors
/// If something is bad.
pub(super) async fn run(args: Args) -> Result<()> {
    let mut found = vec![programs(), processor(), limits(), gpus(), addresses()];
    match &args.store {
        Place::Folder(folder) => found.extend(storage(folder)),
        place => found.push(bucket(place).await),
    }
    found.extend(storage(&args.runs));
    if args.world.get() > 1 && found[0].verdict != Verdict::Bad {
        found.push(link(&args).await);
    }
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?;
    } else {
        print(&text(&found))?;
    }
    let bad = found.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(exit::MISMATCH, format!("{bad} of {} things are bad", found.len())).into()),
    }
}

/// How fast ranks on this machine sum a tensor.
async fn link(args: &Args) -> Finding {
    let world = args.world.get();
    let threads = (available_parallelism().map_or(1, NonZeroUsize::get) / world).max(1);
    let work = Work::AllReduce { mib: MIB };
    let job = Job { work, world, threads, steps: 10, warmup: 2, seed: 0 };
    let what = "link";
    match supervise::measure(&job, args.device).await {
        Err(error) => Finding::unseen(what, &error),
        Ok(report) => {
            let speed = report.traffic.map_or(0.0, |traffic| traffic.bus_gb_per_s);
            let said = format!("{world} workers here sum {MIB} MiB at {speed:.2} GB/s");
            Finding { what, verdict: Verdict::Good, said }
        }
    }
}

fn text(found: &[Finding]) -> String {
    let mut lines = table(["looked at", "verdict", "found"]);
    for Finding { what, verdict, said } in found {
        lines.add_row([Cell::new(what), Cell::new(verdict.word()), Cell::new(said)]);
    }
    format!("{lines}\n")
}
