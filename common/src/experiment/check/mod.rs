//! Raw sections to a checked experiment: what no single key can tell.
//!
//! Every check goes through the log and on, so that one run names all problems.

mod format;
mod ladder;
mod task;
mod training;

use std::{collections::BTreeSet, path::Path};

use super::{
    Batches, Bootstrap, Cadence, Experiment, Method, Pair, Parallel,
    keys::{self, Raw},
    problem::Log,
    value::{MethodName, OverLong},
};
use crate::plan::SplitRule;

/// Accuracies that a bootstrap may hold at a time, one per draw and prediction: half a GiB.
const MOST_ACCURACIES: usize = 1 << 26;

pub(super) use training::training;

/// Makes an experiment of what the file says. What is wrong goes to the log; the experiment is only good if
/// the log stayed empty.
pub(super) fn check(raw: &Raw, folder: &Path, log: &Log<'_>) -> Option<Experiment> {
    let split = split(&raw.split);
    let task = task::task(raw, &split, folder, log);
    let ladder = ladder::ladder(raw, folder, log);
    if let Some(task) = &task {
        ladder::heads(raw, task.classes(), log);
    }
    let made_here = raw.models.iter().any(|model| model.from.value.is_none());
    if !made_here && let Some(line) = raw.pretrain.line {
        log.add(Some(line), "pretrain is not read: every model has `from`, so none is trained from scratch");
    }
    let pretrain = if made_here { training::pretrain(raw, log) } else { None };
    let pairs = ladder::pairs(raw, log);
    let methods = methods(raw, log);
    let train = training::train(raw, log);
    let bootstrap = bootstrap(raw, &pairs, &methods, log);
    let strategy = training::strategy(raw, log);
    let numerics = training::numerics(raw, log);
    Some(Experiment {
        name: raw.top.name.value.0.clone(),
        folder: folder.to_owned(),
        seeds: raw.top.seeds.value.0.clone(),
        task: task?,
        split,
        drop_over_long: raw.split.over_long.value == OverLong::Drop,
        ladder: ladder?,
        pretrain,
        methods,
        pairs,
        train: train?,
        infer: Batches { batch_tokens: raw.infer.batch_tokens.value.0, shard: raw.infer.shard.value.0 },
        bootstrap,
        parallel: Parallel {
            workers: raw.parallel.workers.value.map(|count| count.0),
            fewest: training::fewest(raw, log),
            threads: raw.parallel.threads.value.map(|count| count.0),
        },
        checkpoints: Cadence {
            steps: raw.checkpoint.steps.value.map_or(0, |count| count.0 as u64),
            seconds: raw.checkpoint.seconds.value.0 as u64,
        },
        numerics,
        strategy: strategy?,
        store: raw.store.path.value.clone().into(),
    })
}

fn split(raw: &keys::Split) -> SplitRule {
    SplitRule {
        ground_truth: raw.ground_truth.value.0,
        weak_labels: raw.weak_labels.value.0,
        validation: raw.validation.value,
        test: raw.test.value.0,
        balance: raw.balance.value.0,
        duplicates: raw.duplicates.value,
        seed: raw.seed.value,
    }
}

fn methods(raw: &Raw, log: &Log<'_>) -> Vec<Method> {
    let run = &raw.methods.run;
    let distinct = run.value.iter().enumerate().all(|(i, name)| !run.value[..i].contains(name));
    if run.value.is_empty() || !distinct {
        log.add(run.line, "methods.run must name at least one method, none twice");
    }
    let tables = [
        (MethodName::Naive, raw.naive.line, "naive"),
        (MethodName::Confidence, raw.confidence.line, "confidence"),
    ];
    for (name, line, word) in tables {
        if line.is_some() && !run.value.contains(&name) {
            log.add(line, format!("methods.{word} is not read: {word:?} is not in methods.run"));
        }
    }
    if run.value.contains(&MethodName::Confidence) {
        check_confidence(raw, log);
    }
    let method = |name: &MethodName| match name {
        MethodName::Naive => Method::Naive,
        MethodName::Confidence => Method::Confidence {
            weight: raw.confidence.weight.value.0,
            warmup: raw.confidence.warmup.value.0,
        },
    };
    run.value.iter().map(method).collect()
}

/// The loss hardens predictions at the median of a batch, into one of two classes.
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

/// Every draw judges every prediction, of which each seed has one per supervisor, ceiling and student.
fn bootstrap(raw: &Raw, pairs: &[Pair], methods: &[Method], log: &Log<'_>) -> Bootstrap {
    let draws = raw.report.draws.value.0;
    let distinct = |end: fn(&Pair) -> usize| pairs.iter().map(end).collect::<BTreeSet<_>>().len();
    let students = pairs.len().saturating_mul(methods.len());
    let models = students + distinct(|pair| pair.weak) + distinct(|pair| pair.strong);
    let predictions = models.saturating_mul(raw.top.seeds.value.0.len()).max(1);
    if draws.saturating_mul(predictions) > MOST_ACCURACIES {
        let most = MOST_ACCURACIES / predictions;
        log.add(
            raw.report.draws.line.or(raw.top.seeds.line),
            format!("report.draws = {draws} is too many for {predictions} predictions: take {most} at most"),
        );
    }
    Bootstrap { draws, seed: raw.report.seed.value }
}
