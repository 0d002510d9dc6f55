//! `[methods]`, a section for each of them, and `[[method]]`.

use std::collections::BTreeSet;

use crate::{
    experiment::{
        Method, Pair, Prompting, Tuning,
        keys::{self, Raw},
        method::Between,
        problem::Log,
        value::{ConfidenceForm, MethodName, ShotLabels, TaskKind, Through, Value as _},
    },
    plan::{HeadInit, Objective, Readout, Threshold},
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
    if raw.split.fresh.value > 0 && !raw.made.iter().any(|made| made.fresh.value) {
        log.add(raw.split.fresh.line, "task.split.fresh is not read: no [[method]] has fresh = true");
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

/// Models that write learn as language models do, from what another one wrote: labels that are probabilities mean nothing to
/// them.
pub(super) fn written(raw: &Raw, log: &Log<'_>) {
    let run = &raw.methods.run;
    if run.value.iter().any(|name| *name != MethodName::Naive) {
        log.add(run.line, "methods.run: models of task.kind = \"generation\" learn by \"naive\" alone");
    }
    for made in &raw.made {
        let parts = [
            ("loss", made.loss.line),
            ("ensemble", made.ensemble.line),
            ("errors", made.errors.line),
            ("confident", made.confident.line),
            ("hint", made.hint.line),
            ("generative", made.generative.line),
            ("tuning", made.tuning.line),
            ("stop", made.stop.line),
        ];
        for (part, line) in parts.into_iter().filter(|(_, line)| line.is_some()) {
            let why = "it is about labels, and models of task.kind = \"generation\" write";
            log.add(line, format!("method.{part} is not read: {why}"));
        }
    }
    if raw.grid.line.is_some() {
        log.add(raw.grid.line, "grid is not read: it chooses by labels, and models of \"generation\" write");
    }
    for model in &raw.models {
        for (key, line) in [("head_init", model.head_init.line), ("readout", model.readout.line)] {
            if line.is_some() {
                log.add(
                    line,
                    format!("model.{key} is not read: models of \"generation\" end in their words"),
                );
            }
        }
    }
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
    check_prompt(made, raw, log);
    let probes = !matches!(made.tuning.value, Tuning::Finetune | Tuning::Prompt);
    if made.probe_learning_rate.line.is_some() && !probes {
        let line = made.probe_learning_rate.line;
        log.add(line, format!("method.probe_learning_rate is not read: {name:?} trains no classifier alone"));
    }
    check_moments(made, raw, log);
    check_fresh(made, raw, log);
    Method {
        moments: made.moments.value.0,
        stop: made.stop.value,
        between: between(made, raw, log),
        rounds: made.rounds.value,
        fresh: made.fresh.value,
        ensemble: made.ensemble.value.0,
        errors: made.errors.value,
        confident: made.confident.value.map(|share| share.0),
        hint: made.hint.value.clone(),
        generative: made.generative.value,
        tuning: made.tuning.value,
        prompting: Prompting {
            shots: made.shots.value,
            truth: made.shot_labels.value == ShotLabels::Truth,
            separator: made.separator.value.clone().unwrap_or_else(|| Prompting::SEPARATOR.to_owned()),
        },
        probe_learning_rate: made.probe_learning_rate.value.map(|rate| rate.0),
        ..Method::direct(name.clone(), objective(raw, made.loss.value))
    }
}

/// What is asked learns nothing, and what learns is shown nothing.
fn check_prompt(made: &keys::Method, raw: &Raw, log: &Log<'_>) {
    let name = &made.name.value.0;
    let shown = [
        ("shots", made.shots.line),
        ("shot_labels", made.shot_labels.line),
        ("separator", made.separator.line),
    ];
    let learned = [
        ("loss", made.loss.line),
        ("through", made.through.line),
        ("rounds", made.rounds.line),
        ("fresh", made.fresh.line),
        ("errors", made.errors.line),
        ("confident", made.confident.line),
        ("hint", made.hint.line),
        ("generative", made.generative.line),
        ("moments", made.moments.line),
        ("stop", made.stop.line),
    ];
    let (prompts, shots) = (made.tuning.value == Tuning::Prompt, made.shots.value);
    let unread = if prompts { &learned[..] } else { &shown };
    let why = if prompts { "learns nothing" } else { "is not prompted" };
    for (key, line) in unread.iter().filter(|(_, line)| line.is_some()) {
        log.add(*line, format!("method.{key} is not read: {name:?} {why}"));
    }
    if prompts && shots == 0 {
        for (key, line) in shown[1..].iter().filter(|(_, line)| line.is_some()) {
            log.add(*line, format!("method.{key} is not read: {name:?} has no shots"));
        }
    }
    if prompts && raw.task.kind.value == TaskKind::Preference {
        let problem = "method.tuning = \"prompt\" asks for the class of a text, and preferences have none";
        log.add(made.tuning.line, format!("{problem}: leave {name:?} out"));
    }
    if prompts && shots > raw.split.weak_labels.value.0 {
        let rows = raw.split.weak_labels.value.0;
        log.add(
            made.shots.line,
            format!("method.shots = {shots} is more than the {rows} rows of weak_labels"),
        );
    }
}

/// A model that is asked answers with the tokens that its classes begin with.
pub(super) fn answers(raw: &Raw, pairs: &[Pair], methods: &[Method], log: &Log<'_>) {
    if methods.iter().all(|method| method.tuning != Tuning::Prompt) {
        return;
    }
    let strong: BTreeSet<usize> = pairs.iter().map(|pair| pair.strong).collect();
    for model in strong.into_iter().filter_map(|place| raw.models.get(place)) {
        if !matches!(model.head_init.value, HeadInit::Unembedding(_)) {
            let name = &model.name.value.0;
            let problem = format!("model {name:?} has no answers to give: name them by its head_init");
            log.add(model.head_init.line.or(model.name.line), problem);
        }
        if let Some(readout) = model.readout.value.filter(|readout| *readout != Readout::Last) {
            let problem = format!("model.readout = {} is not read by a method that asks", readout.show());
            log.add(model.readout.line, format!("{problem}: what comes after the last token is the answer"));
        }
    }
}

/// Rows of their own are for those who learn in turn, and there are as many shares as there may be rounds before the last.
fn check_fresh(made: &keys::Method, raw: &Raw, log: &Log<'_>) {
    if !made.fresh.value {
        return;
    }
    let (name, line, between) = (&made.name.value.0, made.fresh.line, made.through.value.is_some());
    let rounds = made.rounds.value + if between { raw.models.len().saturating_sub(2) } else { 0 };
    if rounds == 0 {
        log.add(line, format!("method.fresh is not read: {name:?} has neither rounds nor through"));
    } else if raw.split.fresh.value < rounds {
        let rows = raw.split.fresh.value;
        log.add(line, format!("method.fresh of {name:?} needs rows: task.split.fresh = {rows} is too few"));
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

/// The loss hardens predictions at a quantile of a batch.
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
}
