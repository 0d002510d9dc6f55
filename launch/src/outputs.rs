//! What a run leaves for people: results.json, results.csv, report.html.

use std::path::Path;

use anyhow::{Context, Result};
use fulcrum_common::{
    results::Results,
    store::{Manifest, Store},
};

use crate::{
    failure::of_store,
    report::{self, Made, Outcome},
    run_folder::{RunFacts, RunFolder, read_json, write, write_json},
};

/// The file of a measure artifact that holds its numbers.
pub(crate) const RESULTS: &str = "results.json";

/// Reads the outcome of an experiment from its goal's artifact.
///
/// # Errors
/// If the artifact is damaged or does not hold the results of an experiment.
pub(crate) async fn outcome(store: &Store, goal: &Manifest, name: &str, recipe: &str) -> Result<Outcome> {
    let bytes = store.read(goal, RESULTS).await.map_err(of_store)?;
    let results = Results::from_json(&bytes)?;
    let outcome = Outcome { experiment: name.into(), recipe: recipe.into(), results };
    outcome.check()?;
    Ok(outcome)
}

/// Reads the outcome from a run folder.
///
/// # Errors
/// If the run is not finished, or the file is not what a run writes.
pub(crate) fn read(folder: &RunFolder) -> Result<Outcome> {
    let path = folder.results();
    let outcome: Outcome = read_json(&path).with_context(|| {
        format!(
            "{} has no results yet: `fulcrum run` of the same experiment finishes it",
            folder.path().display()
        )
    })?;
    outcome.check().with_context(|| format!("cannot use {}", path.display()))?;
    Ok(outcome)
}

/// Writes results.json, and the reports beside it.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write_all(folder: &RunFolder, outcome: &Outcome) -> Result<()> {
    write_json(&folder.results(), outcome)?;
    write_reports(folder, outcome, folder.path())
}

/// Writes report.html and results.csv into `out`.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write_reports(folder: &RunFolder, outcome: &Outcome, out: &Path) -> Result<()> {
    let html = report::html(outcome, &made(folder))?;
    write(&out.join("report.html"), html.as_bytes())?;
    write(&out.join("results.csv"), &report::csv(&outcome.results)?)
}

/// How the run was made, as far as its folder tells.
fn made(folder: &RunFolder) -> Made {
    let file = read_json::<RunFacts>(&folder.facts())
        .map(|facts| facts.experiment_file)
        .unwrap_or_else(|_| folder.experiment());
    Made {
        experiment_file: std::fs::read_to_string(folder.experiment()).ok(),
        command: format!("fulcrum run {} --workers N", file.display()),
    }
}
