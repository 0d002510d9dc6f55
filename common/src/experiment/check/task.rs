//! `[task]`: rows that are generated, or rows of files.

use std::path::Path;

use super::{format, vectors};
use crate::{
    experiment::{
        Chosen, DataFiles, DataPlace, Rows, Task,
        keys::{self, Raw},
        problem::Log,
        value::{Name, TaskKind, TaskSource},
    },
    plan::{Arithmetic, Format, Holds, MateInOne, Source, SplitRule},
    source::discover::Split,
};

/// Tokens of an answer where nothing else is said.
const ANSWER_TOKENS: usize = 16;

pub(super) fn task(raw: &Raw, split: &SplitRule, folder: &Path, log: &Log<'_>) -> Option<Task> {
    let task = &raw.task;
    refuse_sections(raw, log);
    let place = match &task.source.value {
        TaskSource::Arithmetic => {
            refuse_file_keys(task, log);
            return Some(generated(raw, split, log));
        }
        TaskSource::Mixture => {
            refuse_file_keys(task, log);
            return Some(vectors::mixture(raw, split, log));
        }
        TaskSource::MateInOne => {
            refuse_file_keys(task, log);
            return Some(mates(raw, split, log));
        }
        TaskSource::Hub(id) => DataPlace::Hub(id.clone()),
        TaskSource::Folder(path) => DataPlace::Folder(folder.join(path)),
    };
    let files = DataFiles { place, chosen: chosen(task, log) };
    let format = match files.holds() {
        Holds::Columns => format::format(task, log)?,
        Holds::Vectors | Holds::Images => format::vectors(task, log)?,
    };
    let answer_tokens = speaks(task).then(|| task.answer_tokens.value.map_or(ANSWER_TOKENS, |count| count.0));
    // What is written has no classes.
    let classes = if answer_tokens.is_some() { 0 } else { format.classes()? };
    let questions = raw.task.kind.value == TaskKind::MultipleChoice;
    Some(Task { rows: Rows::Files(files), format, classes, questions, answer_tokens })
}

/// Whether models write their answers.
pub(super) fn speaks(task: &keys::Task) -> bool {
    task.kind.value == TaskKind::Generation
}

/// The sections of built-in sources that the task has not.
fn refuse_sections(raw: &Raw, log: &Log<'_>) {
    let sections = [
        ("arithmetic", raw.arithmetic.line, TaskSource::Arithmetic),
        ("mixture", raw.mixture.line, TaskSource::Mixture),
        ("mate-in-one", raw.mates.line, TaskSource::MateInOne),
    ];
    for (section, line, source) in sections {
        if line.is_some() && raw.task.source.value != source {
            let problem = format!("task.{section} is not read: task.source is not \"builtin:{section}\"");
            log.add(line, problem);
        }
    }
}

/// The files that are named, else those of a split.
fn chosen(task: &keys::Task, log: &Log<'_>) -> Chosen {
    if task.files.value.is_empty() {
        let text = |field: &keys::Field<Option<Name>>| field.value.as_ref().map(|name| name.0.clone());
        let name = text(&task.source_split).unwrap_or_else(|| "train".to_owned());
        return Chosen::Split(Split { subset: text(&task.subset), name });
    }
    for (key, line) in [("source_split", task.source_split.line), ("subset", task.subset.line)] {
        if let Some(line) = line {
            log.add(Some(line), format!("task.{key} is not read: task.files names the files"));
        }
    }
    Chosen::Named(task.files.value.iter().map(|file| file.0.clone()).collect())
}

/// The keys that say how files are read mean nothing to generated rows.
fn refuse_file_keys(task: &keys::Task, log: &Log<'_>) {
    let files = [
        ("files", task.files.line),
        ("source_split", task.source_split.line),
        ("subset", task.subset.line),
        ("columns", task.columns.line),
    ];
    let is_read = |key: &str| key == "answer_tokens" && speaks(task);
    let keys = files.into_iter().chain(format::lines(task)).filter(|(key, _)| !is_read(key));
    for (key, line) in keys.filter(|(_, line)| line.is_some()) {
        log.add(line, format!("task.{key} is not read: the rows of a built-in source are generated"));
    }
}

fn generated(raw: &Raw, split: &SplitRule, log: &Log<'_>) -> Task {
    let kind = raw.task.kind.value;
    // Of the last sum of each part there may be claims that go nowhere.
    let needed = match kind {
        TaskKind::MultipleChoice => split.rows().div_ceil(Arithmetic::ANSWERS).saturating_add(PARTS),
        TaskKind::Classification | TaskKind::Preference | TaskKind::Generation => split.rows(),
    };
    let (source, format) = match kind {
        TaskKind::Classification => {
            let claims = arithmetic(raw, needed, (Arithmetic::most_rows, "claims"), log);
            (Source::Arithmetic(claims), Format::arithmetic())
        }
        TaskKind::Preference => {
            let sums = arithmetic(raw, needed, (Arithmetic::most_questions, "sums"), log);
            (Source::ArithmeticQuestions(sums), Format::arithmetic_comparisons())
        }
        TaskKind::MultipleChoice => {
            let sums = arithmetic(raw, needed, (Arithmetic::most_questions, "sums"), log);
            (Source::ArithmeticQuestions(sums), Format::arithmetic_choices())
        }
        TaskKind::Generation => {
            let sums = arithmetic(raw, needed, (Arithmetic::most_questions, "sums"), log);
            (Source::ArithmeticQuestions(sums), Format::arithmetic_sums())
        }
    };
    let digits = raw.task.answer_tokens.value.map_or(3, |count| count.0);
    let answer_tokens = speaks(&raw.task).then_some(digits);
    let classes = if answer_tokens.is_some() { 0 } else { 2 };
    let questions = kind == TaskKind::MultipleChoice;
    Task { rows: Rows::Generated(source), format, classes, questions, answer_tokens }
}

fn mates(raw: &Raw, split: &SplitRule, log: &Log<'_>) -> Task {
    if !speaks(&raw.task) {
        let problem = "task.kind: the moves of \"builtin:mate-in-one\" are written";
        log.add(raw.task.kind.line.or(raw.task.line), format!("{problem}: take \"generation\""));
    }
    let (keys, needed) = (&raw.mates, split.rows());
    let rows = keys.rows.value.map_or(needed, |count| count.0);
    if rows < needed {
        let problem =
            format!("task.mate-in-one.rows = {rows} is less than the {needed} that task.split needs");
        log.add(keys.rows.line, problem);
    }
    let games = MateInOne { rows, seed: keys.seed.value, plies: keys.plies.value.0, noise: 0.0 };
    Task {
        rows: Rows::Generated(Source::MateInOne(games)),
        format: Format::mate_in_one(),
        classes: 0,
        questions: false,
        answer_tokens: Some(raw.task.answer_tokens.value.map_or(MateInOne::ANSWER_TOKENS, |count| count.0)),
    }
}

/// Balancing drops rows, so there must be some to spare.
pub(super) fn with_spare(needed: usize) -> usize {
    needed.saturating_add(needed.div_ceil(4))
}

/// Of a split.
const PARTS: usize = 5;

/// `most` says how many different rows there are, and of what.
fn arithmetic(
    raw: &Raw,
    needed: usize,
    (most, what): (fn(&Arithmetic) -> usize, &str),
    log: &Log<'_>,
) -> Arithmetic {
    let keys = &raw.arithmetic;
    let rows = keys.rows.value.map_or(with_spare(needed), |count| count.0);
    if rows < needed {
        log.add(
            keys.rows.line,
            format!("task.arithmetic.rows = {rows} is less than the {needed} that task.split needs"),
        );
    }
    let arithmetic = Arithmetic { rows, seed: keys.seed.value, below: keys.below.value.0, noise: 0.0 };
    let most = most(&arithmetic);
    if rows > most {
        let line = keys.rows.line.or(keys.below.line).or(raw.split.line);
        let (below, way_out) = (arithmetic.below, "raise task.arithmetic.below or ask for fewer rows");
        log.add(
            line,
            format!("task.arithmetic has {most} different {what} below {below}, not {rows}: {way_out}"),
        );
    }
    arithmetic
}
