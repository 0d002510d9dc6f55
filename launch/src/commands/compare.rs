//! `fulcrum compare`: what two runs have different, in settings and in numbers.

use std::path::PathBuf;

use anyhow::Result;

use super::print;
use crate::{compare, run_folder::RunFolder};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The first run: its folder, or its name
    first: PathBuf,
    /// The second run
    second: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// Prints the settings and the numbers that differ.
///
/// # Errors
/// If there is no such run, or it has no results yet.
pub(super) async fn run(args: Args) -> Result<()> {
    let first = RunFolder::find(&args.first, &args.runs)?;
    let second = RunFolder::find(&args.second, &args.runs)?;
    let found = compare::compare(&first, &second).await?;
    let text = if args.json { serde_json::to_string_pretty(&found)? } else { found.render() };
    print(&format!("{text}\n"))
}
