//! `[pretrain]` and `[train]`: the optimizer's keys, and how they fit the gang.

use crate::{
    experiment::{
        Pretrain, Training,
        keys::{self, Field, Raw, Update},
        problem::Log,
        value::{
            Count, NonNegative, OptimizerName, Positive, Share, StrategyName, TaskSource, TrainableName,
            Value,
        },
    },
    plan::{
        Arithmetic, Lora, MateInOne, Mode, Numerics, Optimizer, Rule, Schedule, Source, Strategy, Trainable,
    },
};

pub(super) fn pretrain(raw: &Raw, log: &Log<'_>) -> Option<Pretrain> {
    let keys = &raw.pretrain;
    let made_here = matches!(raw.task.source.value, TaskSource::Arithmetic | TaskSource::MateInOne);
    if !made_here {
        let model = raw.models.iter().find(|model| model.from.value.is_none());
        let line = model.and_then(|model| model.line);
        log.add(line, "model.from is missing: only with task.source = \"builtin:arithmetic\" or \"builtin:mate-in-one\" are models made here");
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
            warmup: &keys.warmup,
            weight_decay: &keys.weight_decay,
            update: &keys.update,
        },
    )?;
    Some(Pretrain { corpus: corpus(raw), rows: keys.rows.value.0, seed: keys.seed.value, optimizer })
}

/// Text of the same kind as the task.
fn corpus(raw: &Raw) -> Source {
    let keys = &raw.pretrain;
    let (rows, seed, noise) = (keys.rows.value.0, keys.seed.value, keys.noise.value.0);
    match raw.task.source.value {
        TaskSource::MateInOne => {
            Source::MateInOne(MateInOne { rows, seed, plies: raw.mates.plies.value.0, noise })
        }
        _ => Source::Arithmetic(Arithmetic { rows, seed, below: raw.arithmetic.below.value.0, noise }),
    }
}

pub(super) fn train(raw: &Raw, log: &Log<'_>) -> Option<Training> {
    let training = training(&raw.train, &raw.lora, log)?;
    let slots = training.optimizer.batch / training.optimizer.micro_batch;
    let workers = &raw.parallel.workers;
    if let Some(Count(count)) = workers.value
        && count > slots
    {
        let way_out = "take fewer workers or a smaller train.micro_batch";
        let problem = format!("parallel.workers = {count} is more than the {slots} micro-batches of a batch");
        log.add(workers.line, format!("{problem}: {way_out}"));
    }
    gangs(raw, slots, log);
    Some(training)
}

/// How many workers train each model, where it says so.
fn gangs(raw: &Raw, slots: usize, log: &Log<'_>) {
    let keys = &raw.parallel;
    for model in &raw.models {
        let Some(Count(workers)) = model.workers.value else { continue };
        let (name, line) = (&model.name.value.0, model.workers.line);
        let wrong =
            |problem: String| log.add(line, format!("model.workers = {workers} of {name:?} {problem}"));
        if let Some(Count(all)) = keys.workers.value.filter(|all| all.0 < workers) {
            wrong(format!("is more than parallel.workers = {all}: take fewer"));
        } else if workers > slots {
            wrong(format!(
                "is more than the {slots} micro-batches of a batch: take fewer workers or a smaller train.micro_batch"
            ));
        }
        if let Some(Count(shards)) = keys.shards.value.filter(|shards| !workers.is_multiple_of(shards.0)) {
            wrong(format!("is no multiple of parallel.shards = {shards}"));
        }
    }
}

/// With how few workers a training goes on. Where that changes no byte, any number will do.
pub(super) fn fewest(raw: &Raw, log: &Log<'_>) -> Option<usize> {
    let keys = &raw.parallel;
    let default = (keys.mode.value == Mode::Deterministic).then_some(1);
    let fewest = keys.fewest.value.map(|count| count.0).or(default);
    if let (Some(fewest), Some(Count(workers))) = (fewest, keys.workers.value)
        && fewest > workers
    {
        let problem = format!("parallel.fewest = {fewest} is more than parallel.workers = {workers}");
        log.add(keys.fewest.line, format!("{problem}: take fewer"));
    }
    fewest
}

/// Who holds what, as `[parallel]` says.
pub(super) fn strategy(raw: &Raw, log: &Log<'_>) -> Option<Strategy> {
    let keys = &raw.parallel;
    let (name, shards) = (keys.strategy.value, keys.shards.value.map(|count| count.0));
    let trainings = [(&raw.train.update.optimizer, "train"), (&raw.pretrain.update.optimizer, "pretrain")];
    for (optimizer, section) in trainings {
        if optimizer.value == OptimizerName::Adafactor && name != StrategyName::Data {
            let problem = format!("{section}.optimizer = \"adafactor\" needs whole matrices");
            log.add(
                optimizer.line.or(keys.strategy.line),
                format!("{problem}: set parallel.strategy = \"data\""),
            );
        }
    }
    if let (Some(Count(workers)), Some(shards)) = (keys.workers.value, shards)
        && !workers.is_multiple_of(shards)
    {
        log.add(
            keys.shards.line,
            format!("parallel.shards = {shards} does not divide parallel.workers = {workers}"),
        );
    }
    match (name, shards) {
        (StrategyName::Hybrid, Some(shards)) => Some(Strategy::Hybrid { shards }),
        (StrategyName::Hybrid, None) => {
            let way_out = "say how many workers share a model, such as those of one machine";
            log.add(
                keys.strategy.line,
                format!("parallel.strategy = \"hybrid\" needs parallel.shards: {way_out}"),
            );
            None
        }
        (_, Some(_)) => {
            log.add(keys.shards.line, "parallel.shards is not read: parallel.strategy is not \"hybrid\"");
            None
        }
        (StrategyName::Data, None) => Some(Strategy::Data),
        (StrategyName::Zero1, None) => Some(Strategy::Zero1),
        (StrategyName::Sharded, None) => Some(Strategy::Sharded),
    }
}

/// In which numbers, as `[parallel]` says.
pub(super) fn numerics(raw: &Raw, log: &Log<'_>) -> Numerics {
    let keys = &raw.parallel;
    let (precision, mode, wire) = (keys.precision.value, keys.mode.value, keys.wire.value);
    let numerics = Numerics { precision, mode, wire };
    if numerics.contradicts_itself() {
        let problem = "parallel.wire = \"bf16\" rounds what parallel.mode = \"deterministic\" adds exactly";
        log.add(keys.wire.line, format!("{problem}: take wire = \"fp32\" or mode = \"fast\""));
    }
    numerics
}

/// The keys of `[train]` by themselves.
pub(in crate::experiment) fn training(
    keys: &keys::Train,
    lora: &keys::Lora,
    log: &Log<'_>,
) -> Option<Training> {
    let optimizer = optimizer(
        "train",
        log,
        8,
        OptimizerKeys {
            epochs: &keys.epochs,
            batch: &keys.batch,
            micro_batch: &keys.micro_batch,
            learning_rate: &keys.learning_rate,
            warmup: &keys.warmup,
            weight_decay: &keys.weight_decay,
            update: &keys.update,
        },
    )?;
    let (trainable, lora) = (trainable(keys, log), adapters(keys, lora, log));
    Some(Training { optimizer, trainable, lora, max_tokens: keys.max_tokens.value.0 })
}

fn trainable(keys: &keys::Train, log: &Log<'_>) -> Trainable {
    let patterns = &keys.freeze.value;
    match keys.trainable.value {
        TrainableName::All if patterns.is_empty() => Trainable::All,
        TrainableName::All => Trainable::Except(patterns.clone()),
        TrainableName::Head => {
            if !patterns.is_empty() {
                let problem = "train.freeze is not read: train.trainable = \"head\" freezes all but the head";
                log.add(keys.freeze.line, problem);
            }
            Trainable::Head
        }
    }
}

/// The adapters, where the file has their section. They and the head are what is trained then.
fn adapters(keys: &keys::Train, lora: &keys::Lora, log: &Log<'_>) -> Option<Lora> {
    lora.line?;
    if keys.trainable.value == TrainableName::Head {
        let problem = "train.trainable = \"head\" leaves nothing to train.lora: take one of the two";
        log.add(keys.trainable.line, problem);
    }
    if !keys.freeze.value.is_empty() {
        let problem = "train.freeze is not read: with train.lora, all but adapters and head is frozen";
        log.add(keys.freeze.line, problem);
    }
    if lora.targets.value.is_empty() {
        log.add(lora.targets.line, "train.lora.targets must name at least one linear map, or be left out");
    }
    Some(Lora {
        rank: lora.rank.value.0,
        alpha: lora.alpha.value.0,
        dropout: lora.dropout.value.0,
        targets: lora.targets.value.clone(),
    })
}

/// The keys that `[pretrain]` and `[train]` have in common.
struct OptimizerKeys<'a> {
    epochs: &'a Field<Count>,
    batch: &'a Field<Count>,
    micro_batch: &'a Field<Option<Count>>,
    learning_rate: &'a Field<Positive>,
    warmup: &'a Field<Share>,
    weight_decay: &'a Field<NonNegative>,
    update: &'a Update,
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
    let (update, weight_decay) = (keys.update, keys.weight_decay.value.0);
    if update.schedule.value == Schedule::Constant && update.floor.value.0 > 0.0 {
        let problem = format!("{section}.floor is not read: a constant rate does not fall");
        log.add(update.floor.line, problem);
    }
    if weight_decay == 0.0 && !update.no_decay.value.is_empty() {
        let problem = format!("{section}.no_decay is not read: {section}.weight_decay is 0");
        log.add(update.no_decay.line, problem);
    }
    Some(Optimizer {
        passes: keys.epochs.value.0,
        batch,
        micro_batch,
        rule: rule(section, update, log),
        learning_rate: keys.learning_rate.value.0,
        schedule: update.schedule.value,
        warmup: keys.warmup.value.0,
        floor: update.floor.value.0,
        weight_decay,
        no_decay: update.no_decay.value.clone(),
        clip: Some(update.clip.value.0).filter(|clip| *clip > 0.0),
    })
}

/// The rule with its constants. A constant of another rule is refused.
fn rule(section: &str, keys: &Update, log: &Log<'_>) -> Rule {
    let (adamw, sgd) = (OptimizerName::AdamW, OptimizerName::Sgd);
    let constants = [
        ("beta1", keys.beta1.line, adamw),
        ("beta2", keys.beta2.line, adamw),
        ("epsilon", keys.epsilon.line, adamw),
        ("momentum", keys.momentum.line, sgd),
        ("nesterov", keys.nesterov.line, sgd),
    ];
    let chosen = keys.optimizer.value;
    for (key, line, of) in constants.into_iter().filter(|(_, line, of)| line.is_some() && *of != chosen) {
        let (of, chosen) = (of.show(), chosen.show());
        log.add(
            line,
            format!("{section}.{key} is not read: it is of {of}, and {section}.optimizer is {chosen}"),
        );
    }
    match chosen {
        OptimizerName::AdamW => Rule::AdamW {
            beta1: keys.beta1.value.map_or(Rule::BETA1, |beta| beta.0),
            beta2: keys.beta2.value.map_or(Rule::BETA2, |beta| beta.0),
            epsilon: keys.epsilon.value.map_or(Rule::EPSILON, |epsilon| epsilon.0),
        },
        OptimizerName::Sgd => {
            let momentum = keys.momentum.value.map_or(Rule::MOMENTUM, |momentum| momentum.0);
            let nesterov = keys.nesterov.value.unwrap_or(false);
            if nesterov && momentum == 0.0 {
                log.add(keys.nesterov.line, format!("{section}.nesterov needs {section}.momentum above 0"));
            }
            Rule::Sgd { momentum, nesterov }
        }
        OptimizerName::Adafactor => Rule::Adafactor,
    }
}
