//! What the coordinator's decisions cost with many workers, shards and stages, in simulated time.
//!
//! ```sh
//! cargo run -p fulcrum-coordinator --example scale
//! ```
//!
//! Every input is one call of [`tick`](fulcrum_coordinator::tick), where the coordinator takes all that have come in by
//! then at once; so a decision costs no more in a run than it does here. Workers, their heartbeats, how long they take
//! and when they are lost are drawn from a seed. Prints tables in Markdown.

mod measure;
mod plans;
mod world;

use std::{collections::BTreeMap, time::Instant};

use clap::Parser;
use fulcrum_common::plan::{Plan, view};
use fulcrum_coordinator::{Journal, Past, State, recover, status};

use measure::{Times, resident_mib, seconds};
use world::{Told, World};

/// Workers of a gang in the sweep.
const GANG: usize = 8;

/// Decisions whose journal entries are written to disk and timed.
const JOURNALED: usize = 2_000;

/// Decisions that a busy coordinator writes to its journal at once.
const BATCH: usize = 100;

/// What is simulated.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
    #[arg(long, default_value_t = 1_000_000)]
    shards: u64,
    #[arg(long, default_value_t = 100_000)]
    stages: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    shards(&args)?;
    sweep(&args)
}

/// Many shards of few stages.
fn shards(args: &Args) -> anyhow::Result<()> {
    let plan = plans::sharded(args.shards);
    println!("## {} workers, {} shards of {} stages\n", args.workers, args.shards, plan.stages().len());
    let told = run(&plan, args, GANG)?;
    journal(&plan, &told)
}

/// Many stages of few shards.
fn sweep(args: &Args) -> anyhow::Result<()> {
    let text = plans::sweep(args.stages);
    let before = resident_mib();
    let (plan, compiling) = seconds(|| plans::compile(&text));
    let plan = plan?;
    let count = plan.stages().len();
    println!("## A sweep of {count} stages, {} workers in gangs of {GANG}\n", args.workers);
    println!("| | s | MiB |\n|---|---:|---:|");
    let row = |what: &str, seconds: f64, mib: f64| println!("| {what} | {seconds:.2} | {mib:.0} |");
    row("experiment file to plan, keys included", compiling, resident_mib() - before);
    let (checked, checking) = seconds(|| plan.check());
    checked?;
    row("checking a plan that came from outside", checking, 0.0);
    let (json, writing) = seconds(|| serde_json::to_vec(&plan));
    let json = json?;
    row("plan to JSON", writing, json.len() as f64 / (1 << 20) as f64);
    let (read, reading) = seconds(|| serde_json::from_slice::<Plan>(&json));
    anyhow::ensure!(read? == plan, "a plan reads back as it was written");
    row("JSON to plan", reading, 0.0);
    let (_, viewing) = seconds(|| view(&plan, &Default::default()).len());
    row("what is left to do", viewing, 0.0);
    println!();
    run(&plans::with_small_measures(plan), args, GANG).map(drop)
}

/// Runs a plan to its end on simulated workers and prints what its decisions took.
fn run(plan: &Plan, args: &Args, gang: usize) -> anyhow::Result<Vec<Told>> {
    let before = resident_mib();
    let state = State::new("scale", plan, gang, &BTreeMap::new(), Past::default());
    let mut world = World::new(state, args.workers, args.seed, JOURNALED);
    let start = Instant::now();
    world.run()?;
    println!("| decision | count | median, µs | p99, µs | longest, ms |\n|---|---:|---:|---:|---:|");
    for (kind, times) in world.times() {
        print_times(kind.words(), times);
    }
    let (_, answering) = seconds(|| status(world.state()));
    println!(
        "\n{} simulated seconds in {:.0} s; the state grew to {:.0} MiB; an answer to `fulcrum status` takes {:.1} ms\n",
        world.now() / 1000,
        start.elapsed().as_secs_f64(),
        resident_mib() - before,
        answering * 1e3,
    );
    Ok(world.into_told())
}

fn print_times(what: &str, times: &Times) {
    let [median, p99] = [0.5, 0.99].map(|share| times.quantile(share) * 1e6);
    println!("| {what} | {} | {median:.1} | {p99:.1} | {:.1} |", times.count(), times.longest() * 1e3);
}

/// Writes decisions to a journal on disk, one after the other and many at once.
fn journal(plan: &Plan, told: &[Told]) -> anyhow::Result<()> {
    println!(
        "| journal, on the disk of {:?} | median, µs | p99, µs |\n|---|---:|---:|",
        std::env::temp_dir()
    );
    for batch in [1, BATCH] {
        let folder = tempfile::tempdir()?;
        let mut journal = Journal::open(&folder.path().join("journal.sqlite"))?;
        journal.begin(&State::new("scale", plan, GANG, &BTreeMap::new(), recover(&journal)?))?;
        let mut times = Times::default();
        for decisions in told.chunks_exact(batch) {
            let reasons: Vec<String> = decisions.iter().flat_map(|told| told.reasons.clone()).collect();
            let records = decisions.iter().flat_map(|told| &told.records);
            let (written, took) = seconds(|| journal.write(records, &reasons));
            written?;
            times.add(took / batch as f64);
        }
        let [median, p99] = [0.5, 0.99].map(|share| times.quantile(share) * 1e6);
        println!("| per decision, {batch} at once | {median:.0} | {p99:.0} |");
    }
    println!();
    Ok(())
}
