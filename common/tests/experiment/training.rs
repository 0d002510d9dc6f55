//! The keys of `[train]` and `[pretrain]` that exclude each other.

use crate::{GOOD, edited, parse, refused};

#[test]
fn what_is_trained_is_told_in_one_way() {
    for (train, expected) in [
        (
            "trainable = \"head\"\nfreeze = [\"*.wte.*\"]",
            "exp.toml:22: train.freeze is not read: train.trainable = \"head\" freezes all but the head",
        ),
        (
            "trainable = \"head\"\n[train.lora]",
            "exp.toml:21: train.trainable = \"head\" leaves nothing to train.lora: take one of the two",
        ),
        (
            "freeze = [\"*.wte.*\"]\n[train.lora]\nrank = 2",
            "exp.toml:21: train.freeze is not read: with train.lora, all but adapters and head is frozen",
        ),
        (
            "[train.lora]\ntargets = []",
            "exp.toml:22: train.lora.targets must name at least one linear map, or be left out",
        ),
        (
            "[train.lora]\nrank = 0",
            "exp.toml:22: train.lora.rank must be a whole number from 1 to 65536, not 0",
        ),
        (
            "[train.lora]\ndropout = 1",
            "exp.toml:22: train.lora.dropout must be a number from 0 to below 1, not 1",
        ),
        ("[train.lora]\nr = 8", "exp.toml:22: train.lora.r is not a key; did you mean train.lora.rank?"),
        ("trainable = \"none\"", "exp.toml:21: train.trainable must be \"all\" or \"head\", not \"none\""),
    ] {
        refused(&format!("{GOOD}{train}\n"), expected);
    }
}

#[test]
fn a_rule_reads_its_own_constants() {
    for (train, expected) in [
        (
            "optimizer = \"adam\"",
            "exp.toml:21: train.optimizer must be \"adamw\", \"sgd\" or \"adafactor\", not \"adam\"",
        ),
        (
            "momentum = 0.9",
            "exp.toml:21: train.momentum is not read: it is of \"sgd\", and train.optimizer is \"adamw\"",
        ),
        (
            "optimizer = \"sgd\"\nbeta2 = 0.9",
            "exp.toml:22: train.beta2 is not read: it is of \"adamw\", and train.optimizer is \"sgd\"",
        ),
        (
            "optimizer = \"adafactor\"\nnesterov = true",
            "exp.toml:22: train.nesterov is not read: it is of \"sgd\", and train.optimizer is \"adafactor\"",
        ),
        (
            "optimizer = \"sgd\"\nmomentum = 0\nnesterov = true",
            "exp.toml:23: train.nesterov needs train.momentum above 0",
        ),
        ("optimizer = \"sgd\"\nnesterov = 1", "exp.toml:22: train.nesterov must be true or false, not 1"),
        ("beta1 = 1", "exp.toml:21: train.beta1 must be a number from 0 to below 1, not 1"),
        (
            "schedule = \"constant\"\nfloor = 0.1",
            "exp.toml:22: train.floor is not read: a constant rate does not fall",
        ),
        ("no_decay = [\"*.wte.weight\"]", "exp.toml:21: train.no_decay is not read: train.weight_decay is 0"),
        (
            "[pretrain]\nmomentum = 0.9",
            "exp.toml:22: pretrain.momentum is not read: it is of \"sgd\", and pretrain.optimizer is \"adamw\"",
        ),
    ] {
        refused(&format!("{GOOD}{train}\n"), expected);
    }
    let whole = "optimizer = \"sgd\"\nmomentum = 0.5\nnesterov = true\nschedule = \"inverse_sqrt\"\nfloor = 0.1\n\
        weight_decay = 0.1\nno_decay = [\"*.wte.weight\"]";
    parse(&format!("{GOOD}{whole}\n")).unwrap();
}

#[test]
fn a_strategy_fits_the_gang_and_the_rule() {
    for (parallel, expected) in [
        (
            "strategy = \"hybrid\"",
            "exp.toml:22: parallel.strategy = \"hybrid\" needs parallel.shards: say how many workers share a model, such \
             as those of one machine",
        ),
        (
            "mode = \"deterministic\"\nwire = \"bf16\"",
            "exp.toml:23: parallel.wire = \"bf16\" rounds what parallel.mode = \"deterministic\" adds exactly: take wire = \
             \"fp32\" or mode = \"fast\"",
        ),
        ("shards = 2", "exp.toml:22: parallel.shards is not read: parallel.strategy is not \"hybrid\""),
        (
            "strategy = \"hybrid\"\nshards = 2\nworkers = 1",
            "exp.toml:23: parallel.shards = 2 does not divide parallel.workers = 1",
        ),
        (
            "precision = \"fp16\"",
            "exp.toml:22: parallel.precision must be \"fp32\" or \"bf16\", not \"fp16\"",
        ),
    ] {
        refused(&format!("{GOOD}[parallel]\n{parallel}\n"), expected);
    }
    refused(
        &format!("{GOOD}optimizer = \"adafactor\"\n[parallel]\nstrategy = \"zero1\"\n"),
        "exp.toml:21: train.optimizer = \"adafactor\" needs whole matrices: set parallel.strategy = \"data\"",
    );
}

#[test]
fn a_model_takes_no_more_workers_than_there_are_and_have_something_to_do() {
    let model = |workers: usize| edited("layers = 2", &format!("layers = 2\nworkers = {workers}"));
    for (text, expected) in [
        (
            model(3) + "[parallel]\nworkers = 2\n",
            "exp.toml:16: model.workers = 3 of \"large\" is more than parallel.workers = 2: take fewer",
        ),
        (
            model(3),
            "exp.toml:16: model.workers = 3 of \"large\" is more than the 2 micro-batches of a batch: take fewer workers or a \
             smaller train.micro_batch",
        ),
        (
            model(1) + "[parallel]\nstrategy = \"hybrid\"\nshards = 2\n",
            "exp.toml:16: model.workers = 1 of \"large\" is no multiple of parallel.shards = 2",
        ),
    ] {
        refused(&text, expected);
    }
    parse(&(model(1) + "[parallel]\nworkers = 2\n")).unwrap();
}
