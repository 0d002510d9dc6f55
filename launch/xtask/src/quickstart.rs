//! `cargo xtask quickstart`: from a fresh clone to a weak-to-strong result on two worker processes.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{repository, setup, tools};

const EXPERIMENT: &str = "experiments/quickstart.toml";
const REPORT: &str = "runs/quickstart/report.html";

/// Provisions, builds, and becomes `fulcrum run`, so that Ctrl-C and exit codes are those of the run.
///
/// # Errors
/// If a step fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    println!(
        "quickstart, on two cores under 25 minutes in all; it can be stopped at any point and called again:"
    );
    println!(
        "  1. setup: libtorch into ./libtorch (545 MB from PyPI unless torch is installed)      ~1 minute"
    );
    println!(
        "  2. build: fulcrum and fulcrum-worker                                              ~12 minutes"
    );
    println!("  3. run:   {EXPERIMENT} with 2 workers, on generated data                  under 8 minutes");
    tools::cxx()?;
    setup::run(false, None)?;
    println!("build: fulcrum and fulcrum-worker");
    repository::run(&mut repository::cargo(&[
        "build",
        "--package",
        "fulcrum",
        "--package",
        "fulcrum-worker",
    ]))?;
    println!("run: the report will be in {REPORT}");
    let mut fulcrum = Command::new(repository::target().join("debug/fulcrum"));
    fulcrum.args(["run", EXPERIMENT, "--workers", "2"]).args(arguments).current_dir(repository::root());
    let experiment = repository::root().join(EXPERIMENT);
    ensure!(experiment.is_file(), "no {}: is this the whole checkout?", experiment.display());
    Err(fulcrum.exec()).with_context(|| format!("cannot start {}", fulcrum.get_program().display()))
}
