//! Rows that are vectors, and the models that read them: who goes with whom, and what needs texts.

use std::path::Path;

use super::task::with_spare;
use crate::{
    experiment::{
        Body, Rows, Seen, Task, Tuning, Vectors, held,
        keys::{self, Raw},
        problem::Log,
        value::{OverLong, TaskKind},
    },
    plan::{ErrorPattern, Format, Holds, Mixture, Source, SplitRule},
};

/// The points of `builtin:mixture`.
pub(super) fn mixture(raw: &Raw, split: &SplitRule, log: &Log<'_>) -> Task {
    let keys = &raw.mixture;
    let needed = split.rows();
    let rows = keys.rows.value.map_or(with_spare(needed), |count| count.0);
    if rows < needed {
        let problem = format!("task.mixture.rows = {rows} is less than the {needed} rows of task.split");
        log.add(keys.rows.line, problem);
    }
    let (classes, dimensions) = (keys.classes.value.0, keys.dimensions.value.0);
    let mixture = Mixture { rows, classes, dimensions, spread: keys.spread.value.0, seed: keys.seed.value };
    let format = Format::mixture(&mixture);
    Task {
        rows: Rows::Generated(Source::Mixture(mixture)),
        format,
        classes,
        questions: false,
        answer_tokens: None,
    }
}

fn holds(raw: &Raw) -> Holds {
    held(&raw.task.files.value.iter().map(|file| &file.0).collect::<Vec<_>>())
}

/// Whether the rows are images.
pub(super) fn has_images(raw: &Raw) -> bool {
    holds(raw) == Holds::Images
}

/// What a model of the ladder reads, where that is vectors, or images that become some.
pub(super) fn body(raw: &keys::Model, images: bool, folder: &Path, log: &Log<'_>) -> Option<Body> {
    let seen = match (&raw.features.value, raw.width.value) {
        (Some(name), width) => {
            if width.is_some() {
                log.add(raw.width.line, "model.width is not read: model.features names a file's tensor");
            }
            Seen::Given { name: name.0.clone() }
        }
        (None, Some(width)) => {
            Seen::Projected { width: width.0, noise: raw.noise.value.map_or(0.0, |noise| noise.0) }
        }
        (None, None) => Seen::Network { origin: raw.from.value.as_ref().filter(|_| images)?.below(folder) },
    };
    let name = &raw.name.value.0;
    let others = [
        ("adapter", raw.adapter.line),
        ("layers", raw.layers.line),
        ("hidden", raw.hidden.line),
        ("heads", raw.heads.line),
        ("context", raw.context.line),
        ("readout", raw.readout.line),
    ];
    let from = raw.from.line.filter(|_| !matches!(seen, Seen::Network { .. }));
    for (key, line) in others.into_iter().chain([("from", from)]).filter(|(_, line)| line.is_some()) {
        log.add(line, format!("model.{key} is not read: {name:?} is a classifier over vectors"));
    }
    if raw.noise.line.is_some() && raw.width.value.is_none() {
        log.add(raw.noise.line, "model.noise is not read without model.width");
    }
    if raw.own_classifier.value && matches!(seen, Seen::Projected { .. }) {
        log.add(raw.own_classifier.line, "model.own_classifier: what is generated came with no classifier");
    }
    Some(Body::Vectors(Vectors { seen, own_classifier: raw.own_classifier.value }))
}

/// Models read what the task has, and nothing is asked of vectors that needs texts.
pub(super) fn fit(raw: &Raw, task: &Task, log: &Log<'_>) {
    let generated = matches!(task.rows, Rows::Generated(_));
    let has = match task.has_vectors() {
        true if generated => "task.source generates points: give model.width",
        true if has_images(raw) => "task.files hold images: give model.from, a network that reads them",
        true => "task.files hold embeddings: give model.features",
        false => "",
    };
    for model in &raw.models {
        let name = &model.name.value.0;
        let fits = match task.has_vectors() {
            true if generated => model.width.value.is_some(),
            true if has_images(raw) => model.from.value.is_some() && model.features.value.is_none(),
            true => model.features.value.is_some(),
            false => model.width.line.or(model.features.line).or(model.own_classifier.line).is_none(),
        };
        let way_out = if has.is_empty() { "the rows of this task are texts: give model.from" } else { has };
        if !fits {
            log.add(model.line, format!("model {name:?} does not read what the task has: {way_out}"));
        }
    }
    if !has.is_empty() {
        refuse_texts(raw, log);
    }
}

/// What only texts have.
fn refuse_texts(raw: &Raw, log: &Log<'_>) {
    let refuse = |line: Option<usize>, key: &str| {
        log.add(line, format!("{key} needs texts, but the rows of this task are none: leave it out"));
    };
    for made in &raw.made {
        if !made.hint.value.is_empty() {
            refuse(made.hint.line, "method.hint");
        }
        if made.tuning.value == Tuning::Prompt {
            refuse(made.tuning.line, "method.tuning = \"prompt\"");
        }
        if made.generative.value > 0 {
            refuse(made.generative.line, "method.generative");
        }
        if matches!(made.errors.value, Some(ErrorPattern::Longest | ErrorPattern::Shortest)) {
            refuse(made.errors.line, "method.errors by length");
        }
    }
    if raw.task.kind.value != TaskKind::Classification {
        refuse(raw.task.kind.line, "another task.kind");
    }
    if raw.lora.line.is_some() {
        refuse(raw.lora.line, "train.lora");
    }
    if raw.split.over_long.value == OverLong::Drop {
        refuse(raw.split.over_long.line, "task.split.over_long = \"drop\"");
    }
}
