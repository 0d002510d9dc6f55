//! What a run has trained and measured so far, as event files that TensorBoard reads: a folder for each training, with
//! its losses and, once they are measured, what its model is worth on the test rows.

mod event;
mod record;
mod tested;

use std::{
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use fulcrum_common::{
    plan::{Plan, Stage, Work},
    store::{Place, Store},
};

use crate::{
    losses::{self, StepLoss},
    outputs,
    run_folder::{RunFacts, RunFolder, read_json, write},
};
use event::{Step, file};
use tested::tested;

/// Two files, as what TensorBoard has read of one it does not read again. It reads them in the order of their names.
const FILES: [&str; 2] = ["events.out.tfevents.1.losses", "events.out.tfevents.2.test"];

/// Writes a folder for each training that is done into `out`; returns how many those are. What is there already stays as
/// it is where nothing is new, so that this can be done again while the run goes on.
///
/// # Errors
/// If there is no such run, its store is gone or damaged, or the disk refuses.
pub(crate) async fn export(folder: &RunFolder, out: &Path) -> Result<usize> {
    let (facts, plan): (RunFacts, Plan) = (read_json(&folder.facts())?, folder.read_plan()?);
    let store = Store::at(&facts.store)?;
    let results = if folder.results().is_file() { Some(outputs::read(folder)?.results) } else { None };
    let tested = results.map(|results| tested(&plan, &results)).unwrap_or_default();
    let mut count = 0;
    for stage in plan.stages().iter().filter(|stage| matches!(stage.spec.work, Work::Train(_))) {
        let Some(made) = store.manifest(stage.key).await? else { continue };
        let losses = losses::read(&store, &made).await?;
        let time = made_at(&store, stage);
        let place = out.join(plain(&stage.name));
        fs::create_dir_all(&place).with_context(|| format!("cannot make the folder {}", place.display()))?;
        keep(&place.join(FILES[0]), &file(time, &training(&losses)))?;
        if let Some(tested) = tested.get(&stage.key) {
            keep(&place.join(FILES[1]), &file(time, &tested.steps(losses.len() as u64)))?;
        }
        count += 1;
    }
    Ok(count)
}

fn training(losses: &[StepLoss]) -> Vec<Step> {
    let step = |at: &StepLoss| Step {
        step: at.step,
        scalars: vec![("loss", at.loss.unwrap_or(f64::NAN)), ("learning_rate", at.learning_rate)],
    };
    losses.iter().map(step).collect()
}

/// When the artifact came to be, in seconds since the beginning of 1970; 0 where no disk says that. Losses have no
/// times of their own: the same training leaves the same bytes.
fn made_at(store: &Store, stage: &Stage) -> f64 {
    let Place::Folder(root) = store.place() else { return 0.0 };
    let manifest = root.join("artifacts").join(stage.key.to_string()).join("manifest.json");
    let modified = fs::metadata(manifest).and_then(|found| found.modified()).ok();
    modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// A name as that of a folder.
fn plain(name: &str) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    let name: String = name.chars().map(|c| if odd(c) { '-' } else { c }).collect();
    if name.starts_with('.') { format!("-{name}") } else { name }
}

/// Writes a file unless it is there as it should be: TensorBoard may be reading it.
fn keep(path: &Path, bytes: &[u8]) -> Result<()> {
    match fs::read(path) {
        Ok(found) if found == bytes => Ok(()),
        _ => write(path, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_the_folder() {
        assert_eq!(plain("student naive small>large seed 0"), "student naive small>large seed 0");
        assert_eq!(["..", "a/../b", "", "a\n:b"].map(plain), ["-..", "a-..-b", "", "a--b"]);
    }

    #[test]
    fn a_file_is_left_alone_where_nothing_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        keep(&path, b"one").unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_secs(1000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        keep(&path, b"one").unwrap();
        assert_eq!(modified(), long_ago);
        keep(&path, b"two").unwrap();
        assert!(modified() > long_ago && fs::read(&path).unwrap() == b"two");
    }
}
