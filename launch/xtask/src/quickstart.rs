//! `cargo xtask quickstart`: from a fresh clone to a weak-to-strong result on two worker processes.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{repository, setup, tools};

const EXPERIMENT: &str = "experiments/quickstart.toml";

const ANNOUNCEMENT: &str = "\
quickstart, on two cores under 25 minutes in all; stop it at any point and call it again to go on:
  1. setup: libtorch into ./libtorch, 545 MB from PyPI unless torch is installed (1 minute)
  2. build: fulcrum and fulcrum-worker (about 12 minutes)
  3. run:   experiments/quickstart.toml with 2 workers, on generated data (under 8 minutes)
The report will be in runs/quickstart/report.html";

/// Provisions, builds, and becomes `fulcrum run`, so that Ctrl-C and exit codes are those of the run,
/// which ends with its table and the path of the report.
///
/// # Errors
/// If a step fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    println!("{ANNOUNCEMENT}");
    let experiment = repository::root().join(EXPERIMENT);
    ensure!(experiment.is_file(), "no {}: is this the whole checkout?", experiment.display());
    tools::cxx()?;
    println!("\n== setup ==");
    setup::run(false, None)?;
    println!("\n== build ==");
    repository::run(&mut repository::cargo(repository::BUILD))?;
    println!("\n== run ==");
    let mut fulcrum = Command::new(repository::target().join("debug/fulcrum"));
    fulcrum.args(["run", EXPERIMENT, "--workers", "2"]).args(arguments).current_dir(repository::root());
    Err(fulcrum.exec()).with_context(|| format!("cannot start {}", fulcrum.get_program().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_names_the_experiment_and_the_folder_of_its_run() {
        assert!(ANNOUNCEMENT.contains(EXPERIMENT));
        let text = std::fs::read_to_string(repository::root().join(EXPERIMENT)).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("name")?.split('"').nth(1)).unwrap();
        assert!(ANNOUNCEMENT.contains(&format!("runs/{name}/report.html")), "{name}");
    }
}
