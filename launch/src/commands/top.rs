//! `fulcrum top`: a run in the terminal, as it goes.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use anyhow::{Result, bail};

use crate::{run_folder::RunFolder, top};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run: its folder, or its name [default: the one that was begun last]
    run: Option<PathBuf>,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// Shows the run until a key ends it.
///
/// # Errors
/// If there is no such run, or no terminal.
pub(super) async fn run(args: Args) -> Result<()> {
    let folder = RunFolder::named(args.run.as_deref(), &args.runs)?;
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("standard input or output is no terminal: use `fulcrum status`");
    }
    top::show(folder).await
}
