//! What a run leaves for people: results.json, results.csv, report.html.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use fulcrum_common::{
    results::Results,
    store::{Manifest, Store},
};

use crate::{
    report::{self, Artifacts, Made, Outcome},
    run_folder::{RunFacts, RunFolder, read_bytes, read_json, write},
};

/// The file of a measure artifact that holds its numbers.
const RESULTS: &str = "results.json";

/// The table for other programs.
const CSV: &str = "results.csv";

/// Takes the results out of the goal's artifact, byte for byte, and writes the reports beside them.
///
/// # Errors
/// If the artifact is damaged or holds no results of an experiment, or the disk refuses.
pub(crate) async fn write_all(
    folder: &RunFolder,
    store: &Store,
    goal: &Manifest,
    warnings: &[String],
) -> Result<Outcome> {
    let bytes = store.read(goal, RESULTS).await?;
    if warnings.is_empty() {
        remove(&folder.warnings())?;
    } else {
        write(&folder.warnings(), format!("{}\n", warnings.join("\n")).as_bytes())?;
    }
    write(&folder.results(), &bytes)?;
    let outcome = read(folder)?;
    write_reports(folder, &outcome, folder.path())?;
    Ok(outcome)
}

/// Removes what [`write_all`] wrote.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn remove_all(folder: &RunFolder) -> Result<()> {
    let paths = [folder.results(), folder.report(), folder.path().join(CSV), folder.warnings()];
    paths.iter().try_for_each(|path| remove(path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// What the run warned of, one line each; none where nothing was written.
pub(crate) fn warnings(folder: &RunFolder) -> Vec<String> {
    let text = read_bytes(&folder.warnings()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// Reads the outcome from a run folder.
///
/// # Errors
/// If the run is not finished, or the file is not what a run writes.
pub(crate) fn read(folder: &RunFolder) -> Result<Outcome> {
    let path = folder.results();
    let bytes = read_bytes(&path).with_context(|| {
        format!("{} has no results yet, `fulcrum run` of its experiment finishes it", folder.path().display())
    })?;
    let results = Results::from_json(&bytes).with_context(|| format!("cannot use {}", path.display()))?;
    let outcome = match facts(folder) {
        Some(facts) => Outcome { experiment: facts.name, recipe: facts.recipe, results },
        None => Outcome { experiment: folder.name(), recipe: "weak-to-strong".into(), results },
    };
    outcome.check().with_context(|| format!("cannot use {}", path.display()))?;
    Ok(outcome)
}

/// Writes report.html and results.csv into `out`.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write_reports(folder: &RunFolder, outcome: &Outcome, out: &Path) -> Result<()> {
    let file = facts(folder).map_or_else(|| folder.experiment(), |facts| facts.experiment_file);
    let made = Made {
        experiment_file: fs::read_to_string(folder.experiment()).ok(),
        command: format!("fulcrum run {} --workers N", file.display()),
        warnings: warnings(folder),
        artifacts: folder.read_plan().map_or_else(|_| Artifacts::default(), |plan| Artifacts::of(&plan)),
    };
    write(&out.join("report.html"), report::html(outcome, &made)?.as_bytes())?;
    write(&out.join(CSV), &report::csv(&outcome.results)?)
}

/// What the run is called. A folder with nothing but results.json has a report too.
pub(crate) fn facts(folder: &RunFolder) -> Option<RunFacts> {
    read_json(&folder.facts()).ok()
}
