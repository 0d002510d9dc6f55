//! Raw sections to a checked experiment: what no single key can tell.
//!
//! Every check goes through the log and on, so that one run names all problems.

use std::{collections::BTreeSet, path::Path};

use super::{
    Batches, Body, Bootstrap, DataFile, Experiment, Method, Model, Origin, Pair, Parallel, Pretrain, Task,
    Training,
    keys::{self, Field, Raw},
    problem::Log,
    value::{Count, MethodName, ModelSource, NonNegative, Pairs, Positive, Share, TaskSource},
};
use crate::plan::{Architecture, Arithmetic, Format, Optimizer, Schedule, SplitRule};

/// Makes an experiment of what the file says. What is wrong goes to the log; the experiment is only good if
/// the log stayed empty.
pub(super) fn check(raw: &Raw, folder: &Path, log: &Log<'_>) -> Option<Experiment> {
    let split = split(&raw.split);
    let task = task(raw, &split, folder, log);
    let ladder = ladder(raw, folder, log);
    let made_here = raw.models.iter().any(|model| model.from.value.is_none());
    if !made_here && let Some(line) = raw.pretrain.line {
        log.add(Some(line), "pretrain is not read: every model has `from`, so none is trained from scratch");
    }
    let pretrain = if made_here { pretrain(raw, log) } else { None };
    let pairs = pairs(raw, log);
    let methods = methods(raw, log);
    let train = train(raw, log);
    let infer = infer(raw, log);
    Some(Experiment {
        name: raw.top.name.value.0.clone(),
        folder: folder.to_owned(),
        seeds: raw.top.seeds.value.0.clone(),
        task: task?,
        split,
        ladder: ladder?,
        pretrain,
        methods,
        pairs,
        train: train?,
        infer,
        bootstrap: Bootstrap { draws: raw.report.draws.value.0, seed: raw.report.seed.value },
        parallel: Parallel {
            workers: raw.parallel.workers.value.map(|count| count.0),
            threads: raw.parallel.threads.value.map(|count| count.0),
        },
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
        seed: raw.seed.value,
    }
}

fn task(raw: &Raw, split: &SplitRule, folder: &Path, log: &Log<'_>) -> Option<Task> {
    let task = &raw.task;
    let root = match &task.source.value {
        TaskSource::Arithmetic => {
            refuse_file_keys(task, log);
            return Some(Task::Arithmetic(arithmetic(raw, split, log)));
        }
        TaskSource::Hub(_) => None,
        TaskSource::Folder(path) => Some(folder.join(path)),
    };
    if let Some(line) = raw.arithmetic.line {
        log.add(Some(line), "task.arithmetic is not read: task.source is not \"builtin:arithmetic\"");
    }
    let locate = |file: &str| match &root {
        Some(root) => DataFile::At(root.join(file)),
        None => DataFile::BelowDataRoot(file.to_owned()),
    };
    let files: Vec<_> = task.files.value.iter().map(|file| locate(&file.0)).collect();
    if files.is_empty() {
        log.add(task.files.line.or(task.line), "task.files is missing: name the files to read");
    }
    let format = format(task, log)?;
    Some(Task::Files { files, format })
}

/// The keys that say how files are read mean nothing to generated rows.
fn refuse_file_keys(task: &keys::Task, log: &Log<'_>) {
    let keys = [
        ("files", task.files.line),
        ("columns", task.columns.line),
        ("text", task.text.line),
        ("label", task.label.line),
        ("classes", task.classes.line),
        ("group_by", task.group_by.line),
    ];
    for (key, line) in keys.into_iter().filter(|(_, line)| line.is_some()) {
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
    Arithmetic { rows, seed: keys.seed.value, below: keys.below.value.0, noise: 0.0 }
}

fn format(task: &keys::Task, log: &Log<'_>) -> Option<Format> {
    let needed = |key: &str, field: &Field<Option<String>>, example: &str| {
        if field.value.is_none() {
            log.add(task.line, format!("task.{key} is missing: write {example}"));
        }
        field.value.clone()
    };
    let text = needed("text", &task.text, "a template such as text = \"{{ sentence }}\"");
    let label = needed("label", &task.label, "the name of the label column");
    let classes = &task.classes;
    let distinct = classes.value.iter().collect::<BTreeSet<_>>().len();
    if distinct < 2 || distinct < classes.value.len() {
        let line = classes.line.or(task.line);
        log.add(line, "task.classes must name at least two values of the label column, none twice");
    }
    Some(Format {
        text: text?,
        label: Some(label?),
        classes: classes.value.clone(),
        columns: task.columns.value.clone(),
        group_by: task.group_by.value.clone(),
    })
}

fn ladder(raw: &Raw, folder: &Path, log: &Log<'_>) -> Option<Vec<Model>> {
    if raw.models.len() < 2 {
        let line = raw.models.first().and_then(|model| model.line);
        log.add(line, "the ladder needs at least two models: write a [[model]] for each, weakest first");
    }
    let mut names = BTreeSet::new();
    for model in &raw.models {
        if !names.insert(&model.name.value.0) {
            let name = &model.name.value.0;
            log.add(model.name.line, format!("model.name = {name:?} is taken by an earlier model"));
        }
    }
    let models: Vec<_> = raw.models.iter().map(|model| rung(model, folder, log)).collect();
    models.into_iter().collect()
}

fn rung(raw: &keys::Model, folder: &Path, log: &Log<'_>) -> Option<Model> {
    let name = &raw.name.value.0;
    let body = match &raw.from.value {
        Some(source) => {
            for (key, field) in [("hidden", &raw.hidden), ("heads", &raw.heads), ("context", &raw.context)] {
                if field.line.is_some() {
                    log.add(
                        field.line,
                        format!("model.{key} is not read: {name:?} has its shape `from` elsewhere"),
                    );
                }
            }
            let origin = match source {
                ModelSource::Pypi(package) => Origin::Pypi(package.clone()),
                ModelSource::Hub(id) => Origin::Hub(id.clone()),
                ModelSource::Folder(path) => Origin::Folder(folder.join(path)),
            };
            Body::Pretrained { origin, layers: raw.layers.value.map(|count| count.0) }
        }
        None => Body::New(architecture(raw, log)?),
    };
    Some(Model { name: name.clone(), body, learning_rate: raw.learning_rate.value.map(|rate| rate.0) })
}

fn architecture(raw: &keys::Model, log: &Log<'_>) -> Option<Architecture> {
    let name = &raw.name.value.0;
    let needed = |key: &str, field: &Field<Option<Count>>| {
        if field.value.is_none() {
            let way_out = "a model made here has layers, hidden, heads and context, any other has from";
            log.add(raw.line, format!("model.{key} is missing for {name:?}: {way_out}"));
        }
        field.value.map(|count| count.0)
    };
    let (layers, hidden) = (needed("layers", &raw.layers), needed("hidden", &raw.hidden));
    let (heads, context) = (needed("heads", &raw.heads), needed("context", &raw.context));
    let (hidden, heads) = (hidden?, heads?);
    if !hidden.is_multiple_of(heads) {
        log.add(raw.heads.line, format!("model.heads = {heads} does not divide model.hidden = {hidden}"));
    }
    Some(Architecture { layers: layers?, hidden, heads, context: context? })
}

fn pretrain(raw: &Raw, log: &Log<'_>) -> Option<Pretrain> {
    let keys = &raw.pretrain;
    if raw.task.source.value != TaskSource::Arithmetic {
        let model = raw.models.iter().find(|model| model.from.value.is_none());
        let line = model.and_then(|model| model.line);
        log.add(
            line,
            "model.from is missing: only with task.source = \"builtin:arithmetic\" are models made here",
        );
    }
    let optimizer = optimizer(
        "pretrain",
        log,
        32,
        OptimizerKeys {
            epochs: &keys.epochs,
            batch: &keys.batch,
            micro_batch: &keys.micro_batch,
            learning_rate: &keys.learning_rate,
            schedule: &keys.schedule,
            warmup: &keys.warmup,
            weight_decay: &keys.weight_decay,
            clip: &keys.clip,
        },
    )?;
    Some(Pretrain {
        corpus: Arithmetic {
            rows: keys.rows.value.0,
            seed: keys.seed.value,
            below: raw.arithmetic.below.value.0,
            noise: keys.noise.value.0,
        },
        seed: keys.seed.value,
        optimizer,
    })
}

fn train(raw: &Raw, log: &Log<'_>) -> Option<Training> {
    let training = training(&raw.train, log)?;
    let slots = training.optimizer.batch / training.optimizer.micro_batch;
    let workers = &raw.parallel.workers;
    if let Some(Count(count)) = workers.value
        && count > slots
    {
        let way_out = "take fewer workers or a smaller train.micro_batch";
        let problem = format!("parallel.workers = {count} is more than the {slots} micro-batches of a batch");
        log.add(workers.line, format!("{problem}: {way_out}"));
    }
    Some(training)
}

/// The keys of `[train]` by themselves.
pub(super) fn training(keys: &keys::Train, log: &Log<'_>) -> Option<Training> {
    let optimizer = optimizer(
        "train",
        log,
        8,
        OptimizerKeys {
            epochs: &keys.epochs,
            batch: &keys.batch,
            micro_batch: &keys.micro_batch,
            learning_rate: &keys.learning_rate,
            schedule: &keys.schedule,
            warmup: &keys.warmup,
            weight_decay: &keys.weight_decay,
            clip: &keys.clip,
        },
    )?;
    Some(Training { optimizer, max_tokens: keys.max_tokens.value.0 })
}

/// The keys that `[pretrain]` and `[train]` have in common.
struct OptimizerKeys<'a> {
    epochs: &'a Field<Count>,
    batch: &'a Field<Count>,
    micro_batch: &'a Field<Option<Count>>,
    learning_rate: &'a Field<Positive>,
    schedule: &'a Field<Schedule>,
    warmup: &'a Field<Share>,
    weight_decay: &'a Field<NonNegative>,
    clip: &'a Field<NonNegative>,
}

fn optimizer(
    section: &str,
    log: &Log<'_>,
    largest_slot: usize,
    keys: OptimizerKeys<'_>,
) -> Option<Optimizer> {
    let batch = keys.batch.value.0;
    let divisor = || (1..=largest_slot.min(batch)).rev().find(|slot| batch.is_multiple_of(*slot));
    let micro_batch = keys.micro_batch.value.map(|count| count.0).or_else(divisor)?;
    if !batch.is_multiple_of(micro_batch) {
        let line = keys.micro_batch.line;
        log.add(
            line,
            format!("{section}.micro_batch = {micro_batch} does not divide {section}.batch = {batch}"),
        );
        return None;
    }
    Some(Optimizer {
        passes: keys.epochs.value.0,
        batch,
        micro_batch,
        learning_rate: keys.learning_rate.value.0,
        schedule: keys.schedule.value,
        warmup: keys.warmup.value.0,
        weight_decay: keys.weight_decay.value.0,
        clip: Some(keys.clip.value.0).filter(|clip| *clip > 0.0),
    })
}

fn pairs(raw: &Raw, log: &Log<'_>) -> Vec<Pair> {
    let names: Vec<&str> = raw.models.iter().map(|model| model.name.value.0.as_str()).collect();
    let listed = match &raw.methods.pairs.value {
        Pairs::List(listed) => listed,
        Pairs::WeakerToStronger => {
            let above = |weak| (weak + 1..names.len()).map(move |strong| Pair { weak, strong });
            return (0..names.len()).flat_map(above).collect();
        }
    };
    let line = raw.methods.pairs.line;
    let place = |name: &String| {
        let place = names.iter().position(|known| known == name);
        if place.is_none() {
            log.add(
                line,
                format!("methods.pairs names {name:?}, which is no model; known: {}", names.join(", ")),
            );
        }
        place
    };
    let mut pairs = Vec::new();
    for (weak_name, strong_name) in listed {
        let (Some(weak), Some(strong)) = (place(weak_name), place(strong_name)) else { continue };
        let pair = Pair { weak, strong };
        if weak >= strong {
            let way_out = "a pair is [weak, strong], and the ladder is listed weakest first";
            log.add(line, format!("methods.pairs has [{weak_name:?}, {strong_name:?}]: {way_out}"));
        } else if pairs.contains(&pair) {
            log.add(line, format!("methods.pairs has [{weak_name:?}, {strong_name:?}] twice"));
        } else {
            pairs.push(pair);
        }
    }
    for (place, model) in raw.models.iter().enumerate() {
        if !pairs.iter().any(|pair| pair.weak == place || pair.strong == place) {
            let name = &model.name.value.0;
            log.add(
                model.line,
                format!("model {name:?} is in none of methods.pairs: add a pair or drop the model"),
            );
        }
    }
    pairs
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
    if raw.task.classes.value.len() > 2 {
        log.add(
            raw.task.classes.line,
            "task.classes must be two: the confidence loss is defined for two classes",
        );
    }
}

fn infer(raw: &Raw, log: &Log<'_>) -> Batches {
    let (batch, shard) = (raw.infer.batch.value.0, raw.infer.shard.value.0);
    if !shard.is_multiple_of(batch) {
        let line = raw.infer.shard.line.or(raw.infer.batch.line);
        log.add(line, format!("infer.shard = {shard} is no multiple of infer.batch = {batch}"));
    }
    Batches { batch, shard }
}
