//! `fulcrum report`: the report of a finished run, written anew from its results; several runs as tasks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::print;
use crate::{
    outputs, predictions,
    report::{over_tasks, released_table, table},
    run_folder::RunFolder,
    tensorboard,
};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run: its folder, or its name; NAME/tasks/TASK for one task of several. Several runs are taken as tasks: their
    /// PGRs and the median over them are printed, and nothing is written
    #[arg(required = true)]
    run: Vec<PathBuf>,
    /// Write report.html and results.csv there [default: the run's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How PGRs are put together: over the seeds of a pair with intervals, or by the rule of the released notebook of
    /// Burns et al. 2023 (median over pairs and seeds)
    #[arg(long, value_enum, default_value_t = Rule::Pairs)]
    pgr_rule: Rule,
    /// Write what every model said about every test row to this Parquet file
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Write what was trained and measured so far as event files for TensorBoard, a folder below DIR for each training; also
    /// of a run that is not finished
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Print PGRs by task and over the tasks as JSON
    #[arg(long)]
    json: bool,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// How PGRs are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Rule {
    /// By method and pair, over seeds, with intervals
    Pairs,
    /// By method, as the released notebook does
    Released,
}

/// Writes the report and prints the table.
///
/// # Errors
/// If there is no such run, or it has no results yet.
pub(super) async fn run(args: Args) -> Result<()> {
    let named: Vec<RunFolder> =
        args.run.iter().map(|run| RunFolder::find(run, &args.runs)).collect::<Result<_>>()?;
    ensure!(
        named.len() == 1 || args.out.is_none(),
        "--out takes the report of one run, {} are named",
        named.len()
    );
    let folders: Vec<RunFolder> = named.iter().flat_map(one_by_one).collect();
    let events = match &args.tensorboard {
        Some(out) => Some(write_events(&named, out).await?),
        None => None,
    };
    // Of a run that goes on there is no more than that.
    if let (Some(events), false) = (&events, folders.iter().all(|folder| folder.results().is_file())) {
        return print(&format!("{events}\n"));
    }
    let outcomes = folders.iter().map(outputs::read).collect::<Result<Vec<_>>>()?;
    let tasks = over_tasks(&outcomes);
    let mut text = match (args.json, args.pgr_rule, &folders[..]) {
        (true, ..) => serde_json::to_string_pretty(&tasks)?,
        (false, Rule::Released, _) => released_table(&tasks.released),
        (false, Rule::Pairs, [_]) => {
            let warnings: String =
                outputs::warnings(&folders[0]).iter().map(|line| format!("{line}\n")).collect();
            format!("{}\n{warnings}", table(&outcomes[0].results))
        }
        (false, Rule::Pairs, _) => tasks.table(),
    };
    if let [run] = &named[..] {
        let out = args.out.as_deref().unwrap_or(run.path());
        fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        outputs::write_reports(run, out)?;
        if !args.json {
            text.push_str(&format!("\n{}", out.join("report.html").display()));
        }
    }
    if let Some(file) = &args.predictions {
        let rows = write_predictions(&folders, file).await?;
        if !args.json {
            text.push_str(&format!("\n{rows} predictions in {}", file.display()));
        }
    }
    if let Some(events) = events.filter(|_| !args.json) {
        text.push_str(&format!("\n{events}"));
    }
    print(&format!("{text}\n"))
}

/// The tasks of a run, each as a run of its own; the run itself where it has but one.
fn one_by_one(run: &RunFolder) -> Vec<RunFolder> {
    let tasks = outputs::tasks(run);
    if tasks.is_empty() { vec![run.clone()] } else { tasks }
}

/// Writes event files, of several runs or tasks each below its name; a line that says where.
async fn write_events(runs: &[RunFolder], out: &Path) -> Result<String> {
    let below = |out: &Path, folder: &RunFolder, all: usize| match all {
        1 => out.to_owned(),
        _ => out.join(folder.name()),
    };
    let mut count = 0;
    for run in runs {
        let (out, tasks) = (below(out, run, runs.len()), one_by_one(run));
        for task in &tasks {
            count += tensorboard::export(task, &below(&out, task, tasks.len())).await?;
        }
    }
    Ok(format!("{count} trainings in {}: tensorboard --logdir shows them", out.display()))
}

async fn write_predictions(folders: &[RunFolder], file: &Path) -> Result<u64> {
    let mut found = Vec::with_capacity(folders.len());
    for folder in folders {
        found.push(predictions::read(folder).await?);
    }
    predictions::write(&found, file)
}
