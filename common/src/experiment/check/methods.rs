//! `[methods]`, a section for each of them, and `[[method]]`.

use crate::{
    experiment::{
        Method, Tuning,
        keys::{self, Raw},
        method::Between,
        problem::Log,
        value::{ConfidenceForm, MethodName, Through},
    },
    plan::{Objective, Threshold},
};

pub(super) fn methods(raw: &Raw, log: &Log<'_>) -> Vec<Method> {
    let run = &raw.methods.run;
    let distinct = run.value.iter().enumerate().all(|(i, name)| !run.value[..i].contains(name));
    if (run.value.is_empty() && raw.made.is_empty()) || !distinct {
        log.add(run.line, "methods.run must name at least one method, none twice");
    }
    let losses: Vec<_> =
        run.value.iter().copied().chain(raw.made.iter().map(|made| made.loss.value)).collect();
    for (name, line) in sections(raw) {
        let word = name.word();
        if line.is_some() && !losses.contains(&name) {
            log.add(
                line,
                format!(
                    "methods.{word} is not read: {word:?} is not in methods.run, nor the loss of a [[method]]"
                ),
            );
        }
    }
    if losses.contains(&MethodName::Confidence) {
        check_confidence(raw, log);
    }
    for model in &raw.models {
        let line = model.confidence_weight.line;
        if line.is_some() && !losses.contains(&MethodName::Confidence) {
            log.add(line, "model.confidence_weight is not read: \"confidence\" is not in methods.run");
        }
    }
    let plain = run.value.iter().map(|&name| Method::direct(name.word(), objective(raw, name)));
    let mut methods: Vec<Method> = plain.collect();
    for made in &raw.made {
        let method = made_of_parts(made, raw, log);
        if methods.iter().any(|earlier| earlier.word == method.word) {
            log.add(made.name.line, format!("method.name = {:?} is taken by an earlier method", method.word));
        }
        methods.push(method);
    }
    methods
}

/// A hint has an ending for each class.
pub(super) fn hints(raw: &Raw, classes: usize, log: &Log<'_>) {
    for made in &raw.made {
        let endings = made.hint.value.len();
        if made.hint.line.is_some() && endings != classes {
            let problem = format!("method.hint has {endings} endings, but the task has {classes} classes");
            log.add(made.hint.line, problem);
        }
    }
}

fn made_of_parts(made: &keys::Method, raw: &Raw, log: &Log<'_>) -> Method {
    let name = &made.name.value.0;
    let probes = made.tuning.value != Tuning::Finetune;
    if made.probe_learning_rate.line.is_some() && !probes {
        let line = made.probe_learning_rate.line;
        log.add(line, format!("method.probe_learning_rate is not read: {name:?} trains no classifier alone"));
    }
    check_moments(made, raw, log);
    Method {
        moments: made.moments.value.0,
        stop: made.stop.value,
        between: between(made, raw, log),
        rounds: made.rounds.value,
        ensemble: made.ensemble.value.0,
        errors: made.errors.value,
        confident: made.confident.value.map(|share| share.0),
        hint: made.hint.value.clone(),
        generative: made.generative.value,
        tuning: made.tuning.value,
        probe_learning_rate: made.probe_learning_rate.value.map(|rate| rate.0),
        ..Method::direct(name.clone(), objective(raw, made.loss.value))
    }
}

/// There are steps between moments, and rows and moments to choose from.
fn check_moments(made: &keys::Method, raw: &Raw, log: &Log<'_>) {
    let (name, moments) = (&made.name.value.0, made.moments.value.0);
    let (split, train) = (&raw.split, &raw.train);
    let examples = split.weak_labels.value.0.saturating_mul(train.epochs.value.0);
    let steps = examples / train.batch.value.0;
    if moments > steps.max(1) {
        let problem = format!("method.moments = {moments} is more than the {steps} steps of {name:?}");
        log.add(made.moments.line, problem);
    }
    if made.stop.value.is_none() {
        return;
    }
    if moments < 2 {
        log.add(
            made.stop.line,
            format!("method.stop has nothing to choose from: give {name:?} moments = 2 or more"),
        );
    }
    if split.validation.value == 0 {
        let problem = format!("method.stop chooses by held-out rows: {name:?} needs task.split.validation");
        log.add(made.stop.line, problem);
    }
}

/// Who stands between supervisor and student.
fn between(made: &keys::Method, raw: &Raw, log: &Log<'_>) -> Between {
    let listed = match &made.through.value {
        None => return Between::Nobody,
        Some(Through::Intermediate) => return Between::Everybody,
        Some(Through::List(listed)) => listed,
    };
    let names: Vec<&str> = raw.models.iter().map(|model| model.name.value.0.as_str()).collect();
    let place = |name: &String| {
        let place = names.iter().position(|known| known == name);
        if place.is_none() {
            let known = names.join(", ");
            log.add(
                made.through.line,
                format!("method.through names {name:?}, which is no model; known: {known}"),
            );
        }
        place
    };
    Between::These(listed.iter().filter_map(place).collect())
}

/// Where the section of a method stands.
fn sections(raw: &Raw) -> [(MethodName, Option<usize>); 8] {
    [
        (MethodName::Naive, raw.naive.line),
        (MethodName::Confidence, raw.confidence.line),
        (MethodName::Kl, raw.kl.line),
        (MethodName::Product, raw.product.line),
        (MethodName::Entropy, raw.entropy.line),
        (MethodName::Window, raw.window.line),
        (MethodName::Generalized, raw.generalized.line),
        (MethodName::Smoothing, raw.smoothing.line),
    ]
}

fn objective(raw: &Raw, name: MethodName) -> Objective {
    match name {
        MethodName::Naive => Objective::CrossEntropy,
        MethodName::Confidence => confidence(raw),
        MethodName::Kl => Objective::Divergence,
        MethodName::Product => {
            Objective::Product { alpha: raw.product.alpha.value.0, beta: raw.product.beta.value.0 }
        }
        MethodName::Entropy => {
            Objective::Entropy { weight: raw.entropy.weight.value.0, warmup: raw.entropy.warmup.value.0 }
        }
        MethodName::Window => Objective::Window { radius: raw.window.radius.value.0 },
        MethodName::Generalized => Objective::Generalized { q: raw.generalized.q.value.0 },
        MethodName::Smoothing => Objective::Smoothing { amount: raw.smoothing.amount.value.0 },
    }
}

fn confidence(raw: &Raw) -> Objective {
    let raw = &raw.confidence;
    let (threshold, warmup, jumps) = match raw.form.value {
        ConfidenceForm::Paper => (Threshold::Median, 0.2, false),
        ConfidenceForm::Released => (Threshold::Prior, 0.1, true),
    };
    Objective::Confidence {
        weight: raw.weight.value.0,
        warmup: raw.warmup.value.map_or(warmup, |warmup| warmup.0),
        threshold: raw.threshold.value.unwrap_or(threshold),
        jumps,
    }
}

/// The loss hardens predictions at a quantile of a batch, into one of two classes.
fn check_confidence(raw: &Raw, log: &Log<'_>) {
    if raw.train.batch.value.0 < 2 {
        let line = raw.train.batch.line;
        log.add(line, "train.batch = 1 has no median: the confidence loss needs a batch of at least 2");
    }
    if raw.split.weak_labels.value.0 < 2 {
        log.add(
            raw.split.weak_labels.line,
            "task.split.weak_labels = 1 has no median: the confidence loss needs at least 2 rows",
        );
    }
    if raw.task.classes.value.len() > 2 {
        log.add(
            raw.task.classes.line,
            "task.classes must be two: the confidence loss is defined for two classes",
        );
    }
}
