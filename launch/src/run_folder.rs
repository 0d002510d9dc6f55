//! The folder of one run, `runs/<name>/`: where its files lie, who may write there, and what they are.
//!
//! | file | what |
//! |---|---|
//! | `experiment.toml` | the experiment file as it was run |
//! | `plan.json` | the stages it was compiled to |
//! | `run.json` | [`RunFacts`]: name, recipe, goal, store |
//! | `results.json`, `results.csv`, `report.html` | the outcome |
//! | `tasks/<name>/` | of several tasks each: the files above, as of a run of its own |
//! | `warnings.txt` | what the run should be told of although nothing failed, where there is something |
//! | `seats/<worker>.rows` | there while a worker computes rows, and after it died of them |
//! | `logs/<who>.log` | what coordinator and workers said |
//! | `flight/<worker>-<epoch>.jsonl` | what a worker did last before its assignment went wrong |
//! | `coordinator.json`, `journal.sqlite` | the coordinator's own |
//! | `token`, `tls/` | what its processes know each other by; for its owner alone |
//! | `lock` | held while a `fulcrum run` works here |

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use fulcrum_common::{
    Key,
    access::{Side, Tls, Token},
    plan::Plan,
    store::Place,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::client::Client;

/// Larger files in a run folder are not ours.
const FILE_LIMIT: u64 = 64 << 20;

/// Paths inside a run folder.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder(PathBuf);

/// What later commands need to know about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFacts {
    /// The experiment's name.
    pub(crate) name: String,
    /// The recipe that compiled it.
    pub(crate) recipe: String,
    /// Path of the experiment file, as it was given.
    pub(crate) experiment_file: PathBuf,
    /// The stage whose artifact is the outcome.
    pub(crate) goal: Key,
    /// The artifact store.
    pub(crate) store: Place,
    /// Names of the tasks, where it has several. Each has a folder of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tasks: Vec<String>,
    /// What tells this launch from others of the same name, where an engine gave it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) launch: Option<String>,
    /// Whether it has come to its end, so that workers need not wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_over: bool,
}

/// Held by the one process that runs in a folder; let go when it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "an open file is a held lock")] File);

impl RunFolder {
    /// The folder itself.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Notes that the run has come to its end.
    ///
    /// # Errors
    /// If its facts cannot be read or written.
    pub(crate) fn close(&self) -> Result<()> {
        let facts: RunFacts = read_json(&self.facts())?;
        write_json(&self.facts(), &RunFacts { is_over: true, ..facts })
    }

    /// The folder of the run `name` under `runs`, made if need be.
    ///
    /// # Errors
    /// If `name` is no plain file name or the folder cannot be made.
    pub(crate) fn create(runs: &Path, name: &str) -> Result<Self> {
        if !is_plain(name) {
            bail!("the run name {name:?} is no plain folder name");
        }
        let folder = Self(runs.join(name));
        let logs = folder.0.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make the folder {}", logs.display()))?;
        Ok(folder)
    }

    /// Where the folders of the run's tasks are, if it has several.
    pub(crate) fn tasks(&self) -> PathBuf {
        self.0.join("tasks")
    }

    /// The folder of one of them.
    pub(crate) fn task(&self, name: &str) -> Self {
        Self(self.tasks().join(name))
    }

    /// [`RunFolder::task`], made if need be.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn create_task(&self, name: &str) -> Result<Self> {
        let folder = self.task(name);
        fs::create_dir_all(&folder.0)
            .with_context(|| format!("cannot make the folder {}", folder.0.display()))?;
        Ok(folder)
    }

    /// Finds a run by its folder, or by its name under `runs`.
    ///
    /// # Errors
    /// If neither is there.
    pub(crate) fn find(run: &Path, runs: &Path) -> Result<Self> {
        let named = runs.join(run);
        [run, &named].into_iter().find(|path| path.is_dir()).map(Self::new).with_context(|| {
            format!("no run {:?}: neither a folder of that path nor {}", run.display(), named.display())
        })
    }

    /// [`RunFolder::find`] where a run is named, else [`RunFolder::latest`].
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn named(run: Option<&Path>, runs: &Path) -> Result<Self> {
        run.map_or_else(|| Self::latest(runs), |run| Self::find(run, runs))
    }

    /// The run under `runs` that was begun last.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn latest(runs: &Path) -> Result<Self> {
        let none = || format!("no run in {}: name one, or say --runs", runs.display());
        let begun = |folder: &Self| fs::metadata(folder.facts()).and_then(|facts| facts.modified()).ok();
        let folders = fs::read_dir(runs).with_context(none)?.flatten().map(|entry| Self::new(entry.path()));
        let last =
            folders.filter_map(|folder| Some((begun(&folder)?, folder))).max_by_key(|(begun, _)| *begun);
        last.map(|(_, folder)| folder).with_context(none)
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// If another process works in it.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.0.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => bail!(
                "another fulcrum run is working in {}: wait for it, or give this one another --runs folder",
                self.0.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The folder's own name.
    pub(crate) fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The plan, JSON of `plan::Plan`.
    pub(crate) fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// The experiment file as it was run.
    pub(crate) fn experiment(&self) -> PathBuf {
        self.0.join("experiment.toml")
    }

    /// The [`RunFacts`].
    pub(crate) fn warnings(&self) -> PathBuf {
        self.0.join("warnings.txt")
    }

    pub(crate) fn facts(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// The outcome in numbers, byte for byte as it lies in the store.
    pub(crate) fn results(&self) -> PathBuf {
        self.0.join("results.json")
    }

    /// The report for people.
    pub(crate) fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// The log of a child process.
    pub(crate) fn log(&self, who: &str) -> PathBuf {
        self.0.join("logs").join(format!("{who}.log"))
    }

    /// What the run's processes know each other by.
    ///
    /// # Errors
    /// If there is none yet, or others can read it.
    pub(crate) fn token(&self) -> Result<Token> {
        Ok(Token::find(&self.0)?)
    }

    /// What they show each other, where the run has certificates.
    ///
    /// # Errors
    /// If others can read a key, or a file is missing.
    pub(crate) fn tls(&self) -> Result<Option<Tls>> {
        Ok(Tls::find(Some(&self.0), Side::Member)?)
    }

    /// A connection to the run's coordinator.
    ///
    /// # Errors
    /// If it is not known by what they know each other.
    pub(crate) fn client(&self, address: SocketAddr) -> Result<Client> {
        Client::new(address, self.token()?, self.tls()?.as_ref())
    }

    /// The plan of the run.
    ///
    /// # Errors
    /// If there is none, or not one of this version.
    pub(crate) fn read_plan(&self) -> Result<Plan> {
        let plan: Plan = read_json(&self.plan())?;
        plan.check().with_context(|| format!("cannot use {}", self.plan().display()))?;
        Ok(plan)
    }
}

/// Whether a name leads to nothing but what lies directly in a folder.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// Reads a JSON file of a sane size.
///
/// # Errors
/// If it cannot be read or does not hold a `T`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read_bytes(path)?)
        .with_context(|| format!("cannot understand {}", path.display()))
}

/// Reads a file of a sane size.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if bytes > FILE_LIMIT {
        bail!("{} has {bytes} bytes, which is no file of a run", path.display());
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes JSON for people and programs, with [`write`].
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Writes a file so that readers see all of it or the one before.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let wrong = || format!("cannot write {}", path.display());
    let mut aside = tempfile::Builder::new()
        .prefix(".")
        .permissions(plain_file())
        .tempfile_in(folder)
        .with_context(wrong)?;
    aside.write_all(bytes).with_context(wrong)?;
    aside.persist(path).with_context(wrong)?;
    Ok(())
}

/// Outcomes are for everybody: temporary files are private by default.
fn plain_file() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_name_cannot_leave_the_runs_folder() {
        let runs = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "/etc", "../a"] {
            assert!(RunFolder::create(runs.path(), name).is_err(), "{name:?}");
        }
        assert!(RunFolder::create(runs.path(), "arithmetic").is_ok());
    }

    #[test]
    fn one_process_at_a_time_works_in_a_folder() {
        let runs = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(runs.path(), "a").unwrap();
        let held = folder.lock().unwrap();
        let refused = folder.lock().unwrap_err().to_string();
        assert!(refused.starts_with("another fulcrum run is working in "), "{refused}");
        drop(held);
        folder.lock().unwrap();
    }

    #[test]
    fn a_run_is_found_by_path_and_by_name() {
        let runs = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(runs.path(), "a").unwrap();
        for run in [Path::new("a"), folder.path()] {
            assert_eq!(RunFolder::find(run, runs.path()).unwrap().path(), folder.path());
        }
        assert!(RunFolder::find(Path::new("b"), runs.path()).unwrap_err().to_string().contains("no run"));
        assert!(RunFolder::latest(runs.path()).unwrap_err().to_string().starts_with("no run in "));
        fs::write(folder.facts(), "{}").unwrap();
        RunFolder::create(runs.path(), "c").unwrap();
        assert_eq!(RunFolder::latest(runs.path()).unwrap().path(), folder.path());
    }

    #[test]
    fn a_written_file_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        for value in [vec![1, 2, 3], vec![4]] {
            write_json(&path, &value).unwrap();
            assert_eq!(read_json::<Vec<i32>>(&path).unwrap(), value);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are left behind");
    }
}
