//! `fulcrum status`: stages and workers of a run, from its coordinator or, where none runs, from its folder.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use comfy_table::Cell;
use fulcrum_common::{
    plan::{Plan, StageView, State, view},
    protocol::{Contact, StageStatus, StatusReply, Violation},
    store::Store,
};

use super::{print, why};
use crate::{
    progress::{duration, thousands},
    run_folder::{RunFacts, RunFolder, read_json},
    table::{number, table},
    warnings::warnings,
    watch,
};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run: its folder, or its name [default: the one that was begun last]
    run: Option<PathBuf>,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Say who waits for whom, where, and since how long
    #[arg(long)]
    why: bool,
    /// Print JSON: the messages StatusReply, StageStatus, WorkerStatus and Violation of the protocol
    #[arg(long)]
    json: bool,
    /// With --json: a line for each event from now on (a stage began, got on, is done; a worker came, went), until the run
    /// is over
    #[arg(long, requires = "json", conflicts_with = "why")]
    follow: bool,
}

/// Prints how the run is.
///
/// # Errors
/// If there is no such run.
pub(super) async fn run(args: Args) -> Result<()> {
    let folder = RunFolder::named(args.run.as_deref(), &args.runs)?;
    if args.follow {
        return watch::tell(&folder).await;
    }
    if args.why {
        return why::run(&folder, args.json).await;
    }
    let reply = watch::look(&folder).await?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&reply)?))
    } else {
        print(&format!("{}{}", text(&reply), warned(&folder).await?))
    }
}

/// What the stages that are done warn of.
async fn warned(folder: &RunFolder) -> Result<String> {
    let (facts, plan): (RunFacts, Plan) = (read_json(&folder.facts())?, folder.read_plan()?);
    let lines = warnings(&plan, &Store::at(&facts.store)?).await?;
    Ok(lines.iter().map(|line| format!("\n{line}\n")).collect())
}

/// What the run's coordinator says, if one is there.
pub(crate) async fn live(folder: &RunFolder) -> Option<StatusReply> {
    let Contact { address, .. } = Contact::read(folder.path()).ok()?;
    ask(folder, address).await.ok()
}

async fn ask(folder: &RunFolder, address: SocketAddr) -> Result<StatusReply> {
    folder.client(address)?.status().await
}

/// What the folder and the store say of a run that nobody serves.
pub(crate) async fn at_rest(folder: &RunFolder) -> Result<StatusReply> {
    let (facts, plan): (RunFacts, Plan) = (read_json(&folder.facts())?, folder.read_plan()?);
    let store = Store::at(&facts.store)?;
    let mut cached = std::collections::BTreeSet::new();
    for stage in plan.stages() {
        if store.manifest(stage.key).await?.is_some() {
            cached.insert(stage.key);
        }
    }
    let stages = view(&plan, &cached).into_iter().map(|StageView { state, stage }| StageStatus {
        key: stage.key.to_string(),
        name: stage.name.clone(),
        kind: stage.spec.work.kind().to_owned(),
        state: match state {
            State::Cached => "done",
            State::ToRun => "waiting",
            State::NotNeeded => "not needed",
        }
        .to_owned(),
        done: if state == State::Cached { stage.estimate.examples } else { 0 },
        total: stage.estimate.examples,
        ..StageStatus::default()
    });
    let (phase, reason) = if cached.contains(&facts.goal) {
        ("done", "every stage is in the store".to_owned())
    } else {
        ("not running", format!("`fulcrum run {}` goes on", facts.experiment_file.display()))
    };
    let (run, phase, stages) = (facts.name, phase.to_owned(), stages.collect());
    Ok(StatusReply { run, phase, reason, stages, ..StatusReply::default() })
}

fn text(reply: &StatusReply) -> String {
    let reason = if reply.reason.is_empty() { String::new() } else { format!(": {}", reply.reason) };
    let mut text = format!("{} is {}{reason}\n\n{}\n", reply.run, reply.phase, stages(&reply.stages));
    if !reply.workers.is_empty() {
        let mut workers = table(["worker", "state", "host", "process", "last heard"]);
        for worker in &reply.workers {
            let heard = duration(Duration::from_millis(worker.heard_ms));
            let pid = worker.pid.to_string();
            workers.add_row([&worker.worker, &worker.state, &worker.host, &pid, &format!("{heard} ago")]);
        }
        text.push_str(&format!("\n{workers}\n"));
    }
    for Violation { number, name, count } in &reply.violations {
        text.push_str(&format!("\nbug: invariant {number} ({name}) did not hold, {count} times\n"));
    }
    text
}

fn stages(stages: &[StageStatus]) -> String {
    let mut table = table(["stage", "kind", "state", "examples", "running", "attempts"]);
    let mut failures = String::new();
    for stage in stages {
        let examples = match (stage.state.as_str(), stage.total) {
            (_, 0) => String::new(),
            ("running", total) => format!("{} of {}", thousands(stage.done), thousands(total)),
            (_, total) => thousands(total),
        };
        let running = if stage.running_ms == 0 {
            String::new()
        } else {
            duration(Duration::from_millis(stage.running_ms))
        };
        let attempts = if stage.attempts == 0 { String::new() } else { stage.attempts.to_string() };
        table.add_row([
            Cell::new(&stage.name),
            Cell::new(&stage.kind),
            Cell::new(&stage.state),
            number(examples),
            number(running),
            number(attempts),
        ]);
        if !stage.message.is_empty() {
            failures.push_str(&format!("\n{}: {}", stage.name, stage.message));
        }
        if !stage.note.is_empty() {
            failures.push_str(&format!("\n{}: {}", stage.name, stage.note));
        }
    }
    format!("{table}{failures}")
}
