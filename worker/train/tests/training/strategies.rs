//! Every way to share a training gives the same result: to rounding, and in deterministic mode to the byte.

use std::thread;

use fulcrum_common::plan::{Head, Lora, Mode, Numerics, Optimizer, Precision, Rule, Wire};
use fulcrum_models::Model;
use fulcrum_train::{Objective, Snapshot, Training, train};

use crate::{
    job::{Job, Left, Sharing},
    support::{CrossEntropy, NextToken, examples, model, settings},
};

const CLASSIFIER: Head = Head::Classifier { classes: 2 };
pub(crate) const FAST: Numerics = Numerics { precision: Precision::Fp32, mode: Mode::Fast, wire: Wire::Fp32 };
pub(crate) const DETERMINISTIC: Numerics = Numerics { mode: Mode::Deterministic, ..FAST };

pub(crate) fn classifier() -> Model {
    model(CLASSIFIER)
}

fn adapted() -> Model {
    let targets = vec!["all-linear".to_owned()];
    classifier().with_lora(&Lora { rank: 4, alpha: 8.0, dropout: 0.3, targets }, 9).unwrap()
}

fn speaker() -> Model {
    model(Head::LanguageModel)
}

fn judge() -> Model {
    model(Head::Reward)
}

pub(crate) const THRESHOLD: CrossEntropy = CrossEntropy { threshold: true };
pub(crate) const NAIVE: CrossEntropy = CrossEntropy { threshold: false };

/// A model, and what it minimizes.
pub(crate) type Case = (fn() -> Model, &'static dyn Objective);

/// Models and objectives that differ in what a strategy must get right: a loss over the whole batch, dropout and frozen
/// weights, an output tied to the embedding, rows of two sequences.
pub(crate) const CASES: [Case; 4] =
    [(classifier, &THRESHOLD), (adapted, &NAIVE), (speaker, &NextToken), (judge, &THRESHOLD)];

#[test]
fn every_strategy_gives_the_losses_of_one_rank() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for (number, (model, objective)) in CASES.into_iter().enumerate() {
        let settings = Optimizer { passes: 2, ..settings() };
        let job = Job { model: &model, objective, settings, numerics: FAST, span: None };
        let expected = job.run(Data(1), None, 0).unwrap().losses;
        assert!(expected[9].loss < expected[0].loss, "case {number} learned nothing");
        for sharing in [Zero1(1), Zero1(3), Sharded(1), Sharded(3), Hybrid] {
            let losses = job.run(sharing, None, 0).unwrap().losses;
            for (found, expected) in losses.iter().zip(&expected) {
                let difference = (found.loss - expected.loss).abs();
                assert!(difference < 1e-5, "case {number}, {sharing:?}, step {}: {difference}", found.step);
            }
        }
    }
}

#[test]
fn sharded_training_keeps_no_gradient_beside_its_shares() {
    let kept = thread::scope(|scope| {
        let rank = |gang| {
            let (model, examples) = (classifier(), examples(60));
            train(Training::new(&model, &examples, &NAIVE, settings(), 1, gang)).unwrap();
            model.parameters().iter().filter(|(_, tensor)| tensor.grad().defined()).count()
        };
        let ranks: Vec<_> =
            Sharing::Sharded(2).gangs().into_iter().map(|gang| scope.spawn(move || rank(gang))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(kept, [0, 0], "buffers of blocks stay in memory as gradients of parameters");
}

#[test]
fn in_deterministic_mode_every_strategy_gives_the_same_bytes_on_any_number_of_ranks() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for (number, (model, objective)) in CASES.into_iter().enumerate() {
        let job = Job { model: &model, objective, settings: settings(), numerics: DETERMINISTIC, span: None };
        let steps = job.steps();
        let expected = job.run(Data(1), None, steps).unwrap();
        assert_eq!(expected.snapshots.len(), 1);
        for sharing in [Data(2), Data(4), Zero1(2), Sharded(1), Sharded(4), Hybrid] {
            let left = job.run(sharing, None, steps).unwrap();
            left.equals(&expected, &format!("case {number}, {sharing:?}"));
        }
    }
}

#[test]
fn a_training_that_changes_its_size_in_the_middle_ends_with_the_same_bytes() {
    use Sharing::{Data, Sharded, Zero1};
    for (first, second, third) in [(Data(4), Data(2), Data(4)), (Sharded(4), Zero1(2), Sharded(4))] {
        let job = Job {
            model: &adapted,
            objective: &THRESHOLD,
            settings: settings(),
            numerics: DETERMINISTIC,
            span: None,
        };
        let steps = job.steps();
        let expected = job.run(first, None, steps).unwrap();
        let begun = job.run(first, None, 2).unwrap();
        let smaller = job.run(second, Some(&begun.snapshots), 4).unwrap();
        let ended = job.run(third, Some(&smaller.snapshots), steps).unwrap();
        ended.equals(&expected, "resized");
        let resized = |snapshots: &[Snapshot]| snapshots.iter().all(|snapshot| snapshot.resized);
        assert!(!resized(&expected.snapshots) && resized(&smaller.snapshots) && resized(&ended.snapshots));
    }
}

#[test]
fn a_checkpoint_of_any_number_of_ranks_is_gone_on_from_by_any_other() {
    use Sharing::{Data, Sharded, Zero1};
    let job = Job {
        model: &classifier,
        objective: &NAIVE,
        settings: settings(),
        numerics: DETERMINISTIC,
        span: None,
    };
    let expected = job.run(Data(1), None, job.steps()).unwrap();
    let ways = |world: usize| [Data(world), Zero1(world), Sharded(world)];
    for from in 1..=8 {
        let begun = job.run(ways(from)[from % 3], None, 2).unwrap();
        for to in 1..=8 {
            let sharing = ways(to)[(from + to) % 3];
            let ended = job.run(sharing, Some(&begun.snapshots), job.steps()).unwrap();
            ended.equals(&expected, &format!("{from} ranks, then {sharing:?}"));
        }
    }
}

#[test]
fn in_fast_mode_a_training_that_is_resumed_on_as_many_ranks_ends_with_the_same_bytes() {
    use Sharing::{Data, Sharded, Zero1};
    let momentum = Rule::Sgd { momentum: 0.9, nesterov: false };
    for (sharing, rule) in [
        (Data(2), settings().rule),
        (Zero1(2), momentum),
        (Sharded(3), settings().rule),
        (Data(2), Rule::Adafactor),
    ] {
        let settings = Optimizer { rule, ..settings() };
        let job = Job { model: &classifier, objective: &NAIVE, settings, numerics: FAST, span: None };
        let expected = job.run(sharing, None, 3).unwrap();
        let resumed = job.run(sharing, Some(&expected.snapshots), 0).unwrap();
        assert!(resumed.weights == expected.weights, "{sharing:?}, {rule:?}");
        assert_eq!((resumed.losses, resumed.optimizer), (expected.losses, expected.optimizer));
    }
}

#[test]
fn bf16_follows_f32_and_leaves_f32_weights_that_all_ranks_share() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for mode in [Mode::Fast, Mode::Deterministic] {
        let settings = Optimizer { passes: 4, ..settings() };
        let job = |numerics| Job {
            model: &classifier,
            objective: &NAIVE,
            settings: settings.clone(),
            numerics,
            span: None,
        };
        let expected = job(FAST).run(Data(1), None, 0).unwrap().losses;
        let bf16 = job(Numerics { precision: Precision::Bf16, mode, ..FAST });
        let mut first: Option<Left> = None;
        for sharing in [Data(1), Data(2), Zero1(2), Sharded(2), Hybrid] {
            let left = bf16.run(sharing, None, 0).unwrap();
            for (found, expected) in left.losses.iter().zip(&expected) {
                let difference = (found.loss - expected.loss).abs();
                assert!(difference < 0.02, "{sharing:?}, step {}: {difference}", found.step);
            }
            let fine = |bits: &u32| bits & 0xFFFF != 0;
            assert!(left.weights.iter().flatten().any(fine), "weights are updated in f32");
            match &first {
                Some(first) if mode == Mode::Deterministic => {
                    assert!(left.weights == first.weights, "{sharing:?}")
                }
                _ => first = Some(left),
            }
        }
    }
}

#[test]
fn what_no_rank_could_go_on_from_is_refused() {
    let job = Job { model: &classifier, objective: &NAIVE, settings: settings(), numerics: FAST, span: None };
    let refused =
        |snapshots: &[Snapshot]| job.run(Sharing::Data(1), Some(snapshots), 0).err().unwrap().to_string();
    let mut halves = job.run(Sharing::Sharded(2), None, 2).unwrap().snapshots;
    let lost = halves.pop().unwrap();
    assert!(refused(&halves).starts_with("the snapshots do not have the numbers"), "{}", refused(&halves));
    assert!(refused(&[]).contains("no snapshots"));
    let other = Job {
        settings: Optimizer { rule: Rule::Sgd { momentum: 0.9, nesterov: false }, ..settings() },
        ..job
    };
    halves.push(lost);
    let error = other.run(Sharing::Data(1), Some(&halves), 0).err().unwrap().to_string();
    assert!(error.contains("momentum"), "{error}");
}

#[test]
fn adafactor_is_refused_where_no_rank_has_whole_matrices() {
    let settings = Optimizer { rule: Rule::Adafactor, ..settings() };
    let job = Job { model: &classifier, objective: &NAIVE, settings, numerics: FAST, span: None };
    let error = job.run(Sharing::Zero1(2), None, 0).err().unwrap().to_string();
    assert!(error.contains("needs whole parameters"), "{error}");
}
