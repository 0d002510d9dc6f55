//! What a run leaves for people: results.json, results.csv, report.html.

use std::{fs, io, path::Path};

use anyhow::{Context, Result, bail};
use fulcrum_common::{
    results::Results,
    store::{Manifest, Store},
};

use crate::{
    report::{self, Artifacts, Made, Outcome},
    run_folder::{RunFacts, RunFolder, is_plain, read_bytes, read_json, write},
};

/// The file of a measure artifact that holds its numbers.
const RESULTS: &str = "results.json";

/// The page for people.
const REPORT: &str = "report.html";

/// The table for other programs.
const CSV: &str = "results.csv";

/// What a finished run has to show.
#[derive(Debug)]
pub(crate) enum Finished {
    /// The outcome of an experiment.
    One(Outcome),
    /// That of each of its tasks.
    Tasks(Vec<Outcome>),
}

impl Finished {
    /// The table that ends a run.
    pub(crate) fn table(&self) -> String {
        match self {
            Self::One(outcome) => report::table(&outcome.results),
            Self::Tasks(outcomes) => report::over_tasks(outcomes).table(),
        }
    }
}

/// Takes the results out of the goal's artifact, byte for byte, with those of the tasks where there are some, and writes
/// the reports beside them.
///
/// # Errors
/// If an artifact is damaged or holds no results of an experiment, or the disk refuses.
pub(crate) async fn write_all(
    folder: &RunFolder,
    store: &Store,
    goal: &Manifest,
    warnings: &[String],
) -> Result<Finished> {
    if warnings.is_empty() {
        remove(&folder.warnings())?;
    } else {
        write(&folder.warnings(), format!("{}\n", warnings.join("\n")).as_bytes())?;
    }
    for task in tasks(folder) {
        let goal = read_json::<RunFacts>(&task.facts())?.goal;
        let measured = store.manifest(goal).await?;
        let measured = measured.with_context(|| format!("the store lacks {}", goal.short()))?;
        write(&task.results(), &store.read(&measured, RESULTS).await?)?;
    }
    write(&folder.results(), &store.read(goal, RESULTS).await?)?;
    write_reports(folder, folder.path())
}

/// The folders of a run's tasks, none where it has but one. A name that leads elsewhere is no task's.
pub(crate) fn tasks(folder: &RunFolder) -> Vec<RunFolder> {
    let names = facts(folder).map(|facts| facts.tasks).unwrap_or_default();
    names.iter().filter(|name| is_plain(name)).map(|name| folder.task(name)).collect()
}

/// Removes what [`write_all`] wrote.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn remove_all(folder: &RunFolder) -> Result<()> {
    let paths =
        [folder.results(), folder.report(), folder.path().join(CSV), folder.warnings(), folder.tasks()];
    paths.iter().try_for_each(|path| remove(path))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
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
/// If the run is not finished or has several tasks, or the file is not what a run writes.
pub(crate) fn read(folder: &RunFolder) -> Result<Outcome> {
    if let Some(task) = tasks(folder).first() {
        bail!("{} has several tasks: name one of them, e.g. {}", folder.name(), task.path().display());
    }
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

/// Writes report.html and results.csv into `out`; of several tasks each into a folder of its own there, and a page that
/// leads to them.
///
/// # Errors
/// If the run has no results yet, or the disk refuses.
pub(crate) fn write_reports(folder: &RunFolder, out: &Path) -> Result<Finished> {
    let tasks = tasks(folder);
    if tasks.is_empty() {
        let outcome = read(folder)?;
        write_report(folder, &outcome, out)?;
        return Ok(Finished::One(outcome));
    }
    let outcomes = tasks.iter().map(read).collect::<Result<Vec<_>>>()?;
    for (task, outcome) in tasks.iter().zip(&outcomes) {
        let out = RunFolder::new(out).create_task(&task.name())?;
        write_report(task, outcome, out.path())?;
    }
    let name = facts(folder).map_or_else(|| folder.name(), |facts| facts.name);
    let page = report::tasks_html(&name, &outcomes, &made(folder))?;
    write(&out.join(REPORT), page.as_bytes())?;
    Ok(Finished::Tasks(outcomes))
}

fn write_report(folder: &RunFolder, outcome: &Outcome, out: &Path) -> Result<()> {
    write(&out.join(REPORT), report::html(outcome, &made(folder))?.as_bytes())?;
    write(&out.join(CSV), &report::csv(&outcome.results)?)
}

/// What a run was made of.
fn made(folder: &RunFolder) -> Made {
    let file = facts(folder).map_or_else(|| folder.experiment(), |facts| facts.experiment_file);
    Made {
        experiment_file: fs::read_to_string(folder.experiment()).ok(),
        command: format!("fulcrum run {} --workers N", file.display()),
        warnings: warnings(folder),
        artifacts: folder.read_plan().map_or_else(|_| Artifacts::default(), |plan| Artifacts::of(&plan)),
    }
}

/// What the run is called. A folder with nothing but results.json has a report too.
pub(crate) fn facts(folder: &RunFolder) -> Option<RunFacts> {
    read_json(&folder.facts()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_file_calls_a_task_leads_nowhere_else() {
        let runs = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(runs.path(), "a").unwrap();
        let beside = runs.path().join("beside");
        fs::create_dir(&beside).unwrap();
        fs::create_dir_all(folder.task("own").path()).unwrap();
        let key = fulcrum_common::Key::of(b"goal");
        let facts = format!(
            r#"{{"name":"a","recipe":"r","experiment_file":"a.toml","goal":"{key}","store":"s",
                "tasks":["own","../../beside","/etc","..",""]}}"#
        );
        fs::write(folder.facts(), facts).unwrap();
        let found: Vec<_> = tasks(&folder).iter().map(RunFolder::name).collect();
        assert_eq!(found, ["own"]);
        remove_all(&folder).unwrap();
        assert!(beside.is_dir() && !folder.tasks().exists());
    }
}
