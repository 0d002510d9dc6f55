//! Experiment files, of one task or of several: a sweep is the same experiment over each of its tasks.

use std::{collections::BTreeSet, path::Path};

use super::{
    Errors, Experiment, check, finish,
    keys::{Field, Raw},
    problem::{Log, Problem},
    read::{self, Tasks},
    value::Name,
};

/// Largest experiment file that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// What an experiment file describes: an experiment for each task. They differ in nothing but that.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// At least one. Each has a name of its own, or there is one and it has none.
    tasks: Vec<Experiment>,
}

impl Sweep {
    /// The experiments, in the order of the file.
    pub fn tasks(&self) -> &[Experiment] {
        &self.tasks
    }

    /// One of the experiments, for what is the same in all: the run's name, how its work is spread, its store.
    pub fn shared(&self) -> &Experiment {
        &self.tasks[0]
    }

    /// Whether the tasks have names, and the run an outcome for each.
    pub fn has_names(&self) -> bool {
        self.shared().task_name().is_some()
    }
}

/// Reads and checks an experiment file.
///
/// # Errors
/// Everything that is wrong with it, each with file, line, key and the way out.
pub fn load(path: &Path) -> Result<Sweep, Errors> {
    let name = path.display().to_string();
    let fail = |message: String| Errors::new(&name, vec![Problem { line: None, message }]);
    let size = std::fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?.len();
    if size > FILE_LIMIT {
        return Err(fail(format!("is no experiment file: {size} bytes, the limit is {FILE_LIMIT}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    parse_sweep(&name, &text, path.parent().unwrap_or(Path::new("")))
}

/// Checks the text of an experiment file. `file` names it in messages; relative paths in it start at `folder`.
///
/// # Errors
/// Everything that is wrong with it, each with file, line, key and the way out.
pub fn parse_sweep(file: &str, text: &str, folder: &Path) -> Result<Sweep, Errors> {
    let log = Log::new(text);
    let raws = read::read(text, &log).map(|tasks| match tasks {
        Tasks::One(raw) => vec![unnamed(*raw, &log)],
        Tasks::List(raws) => named(raws, &log),
    });
    let check = |raw: &Raw| check::check(raw, folder, &log);
    // No task is left unchecked because one before it is wrong.
    let checked: Option<Vec<_>> = raws.map(|raws| raws.iter().map(check).collect());
    let tasks: Option<Vec<_>> = checked.and_then(|checked| checked.into_iter().collect());
    finish(file, tasks.map(|tasks| Sweep { tasks }), log)
}

/// [`parse_sweep`] of a text with one task.
///
/// # Errors
/// As there; and where there are several tasks.
pub fn parse(file: &str, text: &str, folder: &Path) -> Result<Experiment, Errors> {
    let Sweep { mut tasks } = parse_sweep(file, text, folder)?;
    let last = tasks.pop().filter(|_| tasks.is_empty());
    last.ok_or_else(|| {
        let message = "has several tasks where one is wanted: write [task]".to_owned();
        Errors::new(file, vec![Problem { line: None, message }])
    })
}

fn unnamed(raw: Raw, log: &Log<'_>) -> Raw {
    if let Field { value: Some(_), line } = raw.task.name {
        log.add(line, "task.name is for one of several: write [[task]], or leave it out");
    }
    raw
}

/// Tasks of a list are told apart by their names.
fn named(raws: Vec<Raw>, log: &Log<'_>) -> Vec<Raw> {
    let mut seen = BTreeSet::new();
    for Raw { task, .. } in &raws {
        match &task.name.value {
            None => log.add(task.line, "task.name is missing: each [[task]] has one of its own"),
            Some(Name(name)) if !seen.insert(name) => {
                let problem = format!("task.name = {name:?} is that of an earlier [[task]]: take another");
                log.add(task.name.line, problem);
            }
            Some(_) => {}
        }
    }
    raws
}
