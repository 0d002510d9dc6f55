//! `fulcrum report`: the report of a finished run, written anew from its results.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::print;
use crate::{outputs, report::table, run_folder::RunFolder};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run: its folder, or its name
    run: PathBuf,
    /// Write report.html and results.csv there [default: the run's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// Writes the report and prints the table.
///
/// # Errors
/// If there is no such run, or it has no results yet.
pub(super) fn run(args: &Args) -> Result<()> {
    let folder = RunFolder::find(&args.run, &args.runs)?;
    let outcome = outputs::read(&folder)?;
    let out = args.out.as_deref().unwrap_or(folder.path());
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    outputs::write_reports(&folder, &outcome, out)?;
    let warnings: String = outputs::warnings(&folder).iter().map(|line| format!("{line}\n")).collect();
    print(&format!("{}\n{warnings}\n{}\n", table(&outcome.results), out.join("report.html").display()))
}
