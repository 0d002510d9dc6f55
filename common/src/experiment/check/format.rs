//! The keys of `[task]` that say how a row becomes examples: which form they describe, and what it lacks.

use std::collections::BTreeSet;

use crate::{
    experiment::{
        keys::{Field, Task},
        problem::Log,
        value::TaskKind,
    },
    plan::{Coins, Form, Format, Formatter, Named, Pick, Templates},
};

/// The keys that a form reads besides `columns` and `group_by`.
const CLASSES: &[&str] = &["text", "label", "classes"];
const CHOICES: &[&str] = &["text", "choices", "answer", "pick", "seed"];
const PAIR: &[&str] = &["prompt", "chosen", "rejected", "pick", "seed"];
const COMPLETION: &[&str] = &["prompt", "completion", "position", "answer_tokens"];
const COMPARISON: &[&str] = &["prompt", "chosen", "rejected", "seed"];

/// The keys of a format, with their lines where the file has them.
pub(super) fn lines(task: &Task) -> [(&'static str, Option<usize>); 16] {
    [
        ("format", task.format.line),
        ("text", task.text.line),
        ("label", task.label.line),
        ("classes", task.classes.line),
        ("choices", task.choices.line),
        ("answer", task.answer.line),
        ("chosen", task.chosen.line),
        ("rejected", task.rejected.line),
        ("prompt", task.prompt.line),
        ("completion", task.completion.line),
        ("position", task.position.line),
        ("answer_tokens", task.answer_tokens.line),
        ("pick", task.pick.line),
        ("seed", task.seed.line),
        ("group_by", task.group_by.line),
        ("difficulty", task.difficulty.line),
    ]
}

/// The format that the keys describe; none where they describe none, and the log says why.
pub(super) fn format(task: &Task, log: &Log<'_>) -> Option<Format> {
    if let Some(formatter) = task.format.value {
        return Some(Format::Named(named(formatter, task, log)));
    }
    let form = form(task, log)?;
    let (columns, group_by) = (task.columns.value.clone(), task.group_by.value.clone());
    let difficulty = task.difficulty.value.clone();
    Some(Format::Templates(Templates { columns, form, group_by, difficulty }))
}

/// The format of files of vectors or images, which name their rows and tell their labels themselves.
pub(super) fn vectors(task: &Task, log: &Log<'_>) -> Option<Format> {
    let columns = [("columns", task.columns.line)];
    let others = lines(task).into_iter().chain(columns).filter(|(key, _)| *key != "classes");
    for (key, line) in others.filter(|(_, line)| line.is_some()) {
        log.add(line, format!("task.{key} is not read: files of embeddings and images tell it themselves"));
    }
    Some(Format::of_vectors(class_names(task, log)))
}

fn named(formatter: Formatter, task: &Task, log: &Log<'_>) -> Named {
    let word = formatter.word();
    let read = ["format", "pick", "seed"];
    let columns = [("columns", task.columns.line)];
    let others = lines(task).into_iter().chain(columns).filter(|(key, _)| !read.contains(key));
    for (key, line) in others.filter(|(_, line)| line.is_some()) {
        log.add(line, format!("task.{key} is not read: the formatter {word:?} has its own"));
    }
    if task.kind.value == TaskKind::Preference {
        return comparison_of(formatter, task, log);
    }
    if task.kind.value == TaskKind::MultipleChoice {
        return questions_of(formatter, task, log);
    }
    if task.kind.value == TaskKind::Generation {
        let problem = format!("task.format = {word:?} gives texts with labels: a model writes");
        log.add(task.format.line, format!("{problem} what prompt and completion say"));
    }
    if !formatter.picks() && task.pick.line.is_some() {
        log.add(task.pick.line, format!("task.pick is not read: a row of {word:?} has one text"));
    }
    let named = Named::new(formatter, task.pick.value, 0);
    Named { seed: seed(task, named.throws_coins(), log), ..named }
}

/// The pairs of a formatter, each as one example.
fn comparison_of(formatter: Formatter, task: &Task, log: &Log<'_>) -> Named {
    must_have(formatter, Coins::Pair, "two texts to compare", task, log);
    if task.pick.line.is_some() {
        log.add(task.pick.line, "task.pick is not read: a preference is one example of both texts");
    }
    Named::comparison(formatter, seed(task, true, log))
}

/// The answers of a formatter's questions.
fn questions_of(formatter: Formatter, task: &Task, log: &Log<'_>) -> Named {
    must_have(formatter, Coins::Pick, "answers to choose from", task, log);
    let pick = several(task, log);
    Named::new(formatter, Some(pick), seed(task, pick != Pick::All, log))
}

fn must_have(formatter: Formatter, coins: Coins, what: &str, task: &Task, log: &Log<'_>) {
    if formatter.coins() != coins {
        let having = Formatter::ALL.iter().filter(|known| known.coins() == coins);
        let having: Vec<_> = having.map(|known| known.word()).collect();
        let problem = format!("task.format = {:?} does not have {what}", formatter.word());
        log.add(task.format.line, format!("{problem}: those that do are {}", having.join(", ")));
    }
}

/// Which answers become examples, where one alone would leave nothing to choose.
fn several(task: &Task, log: &Log<'_>) -> Pick {
    let pick = task.pick.value.unwrap_or(Pick::All);
    if pick == Pick::One {
        let problem = "task.pick = \"one\" leaves a question one answer";
        log.add(task.pick.line, format!("{problem}: take \"all\" or \"two\""));
    }
    pick
}

fn form(task: &Task, log: &Log<'_>) -> Option<Form> {
    let given = |keys: &[&str]| lines(task).iter().any(|(key, line)| line.is_some() && keys.contains(key));
    let refuse = |read: &[&str], what: &str| {
        let others = lines(task)
            .into_iter()
            .filter(|(key, _)| !["group_by", "difficulty"].contains(key) && !read.contains(key));
        for (key, line) in others.filter(|(_, line)| line.is_some()) {
            log.add(line, format!("task.{key} is not read: rows are given by {what}"));
        }
    };
    if task.kind.value == TaskKind::Preference {
        refuse(COMPARISON, "chosen and rejected, which are compared");
        comparison(task, log)
    } else if task.kind.value == TaskKind::MultipleChoice {
        refuse(CHOICES, "choices and answer");
        several(task, log);
        choices(task, log)
    } else if task.kind.value == TaskKind::Generation {
        refuse(COMPLETION, "prompt and completion");
        let prompt = needed(task, "prompt", &task.prompt, "a template of what a model is given", log);
        let completion =
            needed(task, "completion", &task.completion, "a template of what it is to write", log);
        let position = task.position.value.clone();
        Some(Form::Completion { prompt: prompt?, completion: completion?, position })
    } else if given(&["choices", "answer"]) {
        refuse(CHOICES, "choices and answer");
        choices(task, log)
    } else if given(&["chosen", "rejected"]) {
        refuse(PAIR, "chosen and rejected");
        pair(task, log)
    } else {
        refuse(CLASSES, "text and label");
        classes(task, log)
    }
}

fn classes(task: &Task, log: &Log<'_>) -> Option<Form> {
    let text = text(task, log);
    let label = needed(task, "label", &task.label, "the name of the label column", log);
    let classes = class_names(task, log);
    Some(Form::Classes { text: text?, label: label?, classes })
}

fn class_names(task: &Task, log: &Log<'_>) -> Vec<String> {
    let classes = &task.classes;
    let distinct = classes.value.iter().collect::<BTreeSet<_>>().len();
    if distinct < 2 || distinct < classes.value.len() {
        let line = classes.line.or(task.line);
        log.add(line, "task.classes must name at least two values of the label column, none twice");
    }
    classes.value.clone()
}

fn choices(task: &Task, log: &Log<'_>) -> Option<Form> {
    let text = text(task, log);
    if let (Some(text), line) = (&task.text.value, task.text.line)
        && !text.contains("choice")
        && !text.contains("letter")
    {
        log.add(line, "task.text does not show the answer: write {{ choice }} where it belongs");
    }
    let choices = needed(task, "choices", &task.choices, "the list of answers, or a value for each", log);
    let answer = needed(task, "answer", &task.answer, "the value that tells the right answer", log);
    let pick = task.pick.value.unwrap_or(Pick::All);
    let seed = seed(task, pick != Pick::All, log);
    Some(Form::Choices { text: text?, choices: choices?, answer: answer?, pick, seed })
}

/// The preferred text and the other.
fn two(task: &Task, log: &Log<'_>) -> [Option<String>; 2] {
    let chosen = needed(task, "chosen", &task.chosen, "the preferred text", log);
    let rejected = needed(task, "rejected", &task.rejected, "the text that is not preferred", log);
    [chosen, rejected]
}

fn comparison(task: &Task, log: &Log<'_>) -> Option<Form> {
    let [chosen, rejected] = two(task, log);
    let seed = seed(task, true, log);
    Some(Form::Comparison { prompt: task.prompt.value.clone(), chosen: chosen?, rejected: rejected?, seed })
}

fn pair(task: &Task, log: &Log<'_>) -> Option<Form> {
    let [chosen, rejected] = two(task, log);
    // Two of two are all of them: one content, one key.
    let pick = if task.pick.value == Some(Pick::One) { Pick::One } else { Pick::All };
    let seed = seed(task, pick != Pick::All, log);
    Some(Form::Pair { prompt: task.prompt.value.clone(), chosen: chosen?, rejected: rejected?, pick, seed })
}

fn seed(task: &Task, throws: bool, log: &Log<'_>) -> u64 {
    if !throws && task.seed.line.is_some() {
        log.add(task.seed.line, "task.seed is not read: no coin is thrown for these rows");
    }
    task.seed.value.unwrap_or(0)
}

fn text(task: &Task, log: &Log<'_>) -> Option<String> {
    if let Some(text) = task.text.value.as_ref().filter(|text| !text.contains("{{") && !text.contains("{%")) {
        let way_out = "it is a template, write {{ NAME }} where a column belongs";
        log.add(task.text.line, format!("task.text = {text:?} is the same for every row: {way_out}"));
    }
    needed(task, "text", &task.text, "a template such as text = \"{{ sentence }}\"", log)
}

fn needed<T: Clone>(
    task: &Task,
    key: &str,
    field: &Field<Option<T>>,
    example: &str,
    log: &Log<'_>,
) -> Option<T> {
    if field.value.is_none() {
        log.add(task.line, format!("task.{key} is missing: write {example}"));
    }
    field.value.clone()
}
