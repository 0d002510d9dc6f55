//! `[task]`: rows that are generated, or rows of files.

use std::path::Path;

use super::format;
use crate::{
    experiment::{
        DataFile, Task,
        keys::{self, Raw},
        problem::Log,
        value::TaskSource,
    },
    plan::{Arithmetic, SplitRule},
};

pub(super) fn task(raw: &Raw, split: &SplitRule, folder: &Path, log: &Log<'_>) -> Option<Task> {
    let task = &raw.task;
    let locate: Box<dyn Fn(&str) -> DataFile> = match &task.source.value {
        TaskSource::Arithmetic => {
            refuse_file_keys(task, log);
            return Some(Task::Arithmetic(arithmetic(raw, split, log)));
        }
        TaskSource::Hub(id) => {
            Box::new(move |name| DataFile::OnHub { id: id.clone(), name: name.to_owned() })
        }
        TaskSource::Folder(path) => Box::new(move |name| DataFile::At(folder.join(path).join(name))),
    };
    if let Some(line) = raw.arithmetic.line {
        log.add(Some(line), "task.arithmetic is not read: task.source is not \"builtin:arithmetic\"");
    }
    let files: Vec<_> = task.files.value.iter().map(|file| locate(&file.0)).collect();
    if files.is_empty() {
        log.add(task.files.line.or(task.line), "task.files is missing: name the files to read");
    }
    let format = format::format(task, log)?;
    let classes = format.classes()?;
    Some(Task::Files { files, format, classes })
}

/// The keys that say how files are read mean nothing to generated rows.
fn refuse_file_keys(task: &keys::Task, log: &Log<'_>) {
    let files = [("files", task.files.line), ("columns", task.columns.line)];
    let keys = files.into_iter().chain(format::lines(task));
    for (key, line) in keys.filter(|(_, line)| line.is_some()) {
        log.add(line, format!("task.{key} is not read: the rows of a built-in source are generated"));
    }
}

fn arithmetic(raw: &Raw, split: &SplitRule, log: &Log<'_>) -> Arithmetic {
    let keys = &raw.arithmetic;
    let needed = split.rows();
    // Balancing drops rows, so there must be some to spare.
    let rows = keys.rows.value.map_or(needed.saturating_add(needed.div_ceil(4)), |count| count.0);
    if rows < needed {
        log.add(
            keys.rows.line,
            format!("task.arithmetic.rows = {rows} is less than the {needed} rows of task.split"),
        );
    }
    let arithmetic = Arithmetic { rows, seed: keys.seed.value, below: keys.below.value.0, noise: 0.0 };
    let most = arithmetic.most_rows();
    if rows > most {
        let line = keys.rows.line.or(keys.below.line).or(raw.split.line);
        let (below, way_out) = (arithmetic.below, "raise task.arithmetic.below or ask for fewer rows");
        log.add(
            line,
            format!("task.arithmetic has {most} different claims below {below}, not {rows}: {way_out}"),
        );
    }
    arithmetic
}
