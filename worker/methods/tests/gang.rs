//! Published objectives on a gang: two ranks come to the losses of one.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{sync::Arc, thread, time::Duration};

use fulcrum_collective::{Collective, Gloo, Solo};
use fulcrum_common::{
    plan::{Architecture, Head, Optimizer, Rule, Schedule, Threshold},
    rng::Rng,
};
use fulcrum_methods::objectives::{Confidence, Ramp};
use fulcrum_models::Model;
use fulcrum_train::{Examples, Gang, StepLoss, Training, train};
use tch::Device;

const VOCABULARY: usize = 11;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Rows of 2 to 9 tokens with soft labels that lean to class 1 where large ids are in the majority.
fn examples() -> Examples {
    let mut rng = Rng::new(7, "test rows", 0);
    let (mut tokens, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..120 {
        let length = 2 + rng.index(8);
        let row: Vec<i64> = (0..length).map(|_| 1 + rng.index(VOCABULARY - 1) as i64).collect();
        let large = row.iter().filter(|&&id| id > 5).count() * 2 > row.len();
        labels.extend(if large { [0.2, 0.8] } else { [0.7, 0.3] });
        tokens.push(row);
    }
    Examples::new(tokens, 0).unwrap().with_targets(labels, 2).unwrap()
}

/// One rank's training of a decoder of two blocks, the same on every rank.
/// In the form of the paper.
fn confidence(weight: f64) -> Confidence {
    Confidence { ramp: Ramp { weight, warmup: 0.2, jumps: false }, threshold: Threshold::Median }
}

fn finetune(objective: Confidence, collective: Arc<dyn Collective>) -> Vec<StepLoss> {
    let shape = Architecture { layers: 2, hidden: 16, heads: 2, context: 16 };
    let model = Model::new(&shape, VOCABULARY, Default::default(), 3, Device::Cpu).unwrap();
    let model = model.with_head(&Head::Classifier { classes: 2 }.into(), 5).unwrap();
    let settings = Optimizer {
        passes: 3,
        batch: 12,
        micro_batch: 2,
        rule: Rule::default(),
        learning_rate: 3e-3,
        schedule: Schedule::Linear,
        warmup: 0.1,
        floor: 0.0,
        weight_decay: 0.01,
        no_decay: Vec::new(),
        clip: Some(0.5),
    };
    let objective = &objective;
    let examples = &examples();
    train(Training::new(&model, examples, objective, settings, 1, Gang::data(collective))).unwrap().losses
}

fn losses(steps: &[StepLoss]) -> Vec<f64> {
    steps.iter().map(|step| step.loss).collect()
}

#[test]
fn the_confidence_loss_is_the_same_on_one_rank_and_on_two() {
    tch::set_num_threads(1);
    let objective = confidence(0.75);
    let alone = losses(&finetune(objective, Arc::new(Solo::new())));
    let gang: Vec<Vec<f64>> = thread::scope(|scope| {
        let run = |end: Gloo| scope.spawn(move || losses(&finetune(objective, Arc::new(end))));
        let ranks: Vec<_> = Gloo::gang(2, TIMEOUT).unwrap().into_iter().map(run).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert_eq!((alone.len(), gang[0].len()), (30, 30));
    assert_eq!(gang[0], gang[1], "ranks differ");
    for (step, (one, two)) in alone.iter().zip(&gang[0]).enumerate() {
        assert!((one - two).abs() < 1e-5, "step {step}: {one} on one rank, {two} on two");
    }
    // The student's own predictions decide: without them the losses are others.
    let plain = losses(&finetune(confidence(0.0), Arc::new(Solo::new())));
    assert!((alone[29] - plain[29]).abs() > 1e-2, "{} with and {} without", alone[29], plain[29]);
}
