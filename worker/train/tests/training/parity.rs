//! The same training on one, two and three ranks.

use fulcrum_common::plan::{Head, Optimizer, Rule};
use fulcrum_train::Objective;

use crate::support::{CrossEntropy, Job, Left, NextToken, settings};

const CLASSIFIER: Head = Head::Classifier { classes: 2 };

/// Trains on every world size; each time all ranks must agree to the byte.
fn on_worlds(job: &Job<'_>, worlds: &[usize]) -> Vec<Left> {
    let run = |&world: &usize| {
        let mut ranks: Vec<Left> = job.run_on(world).into_iter().map(Result::unwrap).collect();
        let first = ranks.swap_remove(0);
        assert!(ranks.iter().all(|rank| *rank == first), "ranks differ in a world of {world}");
        first
    };
    worlds.iter().map(run).collect()
}

fn largest_difference(a: &Left, b: &Left) -> f64 {
    assert_eq!(a.0.len(), b.0.len());
    let pairs = a.0.iter().zip(&b.0);
    pairs.map(|(a, b)| (a.loss - b.loss).abs()).fold(0.0, f64::max)
}

#[test]
fn fifty_steps_give_the_losses_of_one_rank_on_two_and_three() {
    let objectives: [(Head, &dyn Objective); 3] = [
        (CLASSIFIER, &CrossEntropy { threshold: false }),
        (CLASSIFIER, &CrossEntropy { threshold: true }),
        (Head::LanguageModel, &NextToken),
    ];
    for (number, (head, objective)) in objectives.into_iter().enumerate() {
        // 200 rows in batches of 12 over 3 passes are 50 steps.
        let job = Job { head, objective, settings: Optimizer { passes: 3, ..settings() }, rows: 200 };
        let left = on_worlds(&job, &[1, 2, 3]);
        assert_eq!(left[0].0.len(), 50);
        let (first, last) = (left[0].0[0].loss, left[0].0[49].loss);
        assert!(last < 0.95 * first, "objective {number} learned nothing: {first} to {last}");
        for other in &left[1..] {
            let difference = largest_difference(&left[0], other);
            assert!(difference < 1e-5, "objective {number}: losses differ by {difference}");
        }
    }
}

#[test]
fn the_same_training_gives_the_same_bytes() {
    let objective = CrossEntropy { threshold: true };
    let job = Job { head: CLASSIFIER, objective: &objective, settings: settings(), rows: 60 };
    for world in [1, 2, 3] {
        assert_eq!(on_worlds(&job, &[world]), on_worlds(&job, &[world]), "a world of {world}");
    }
}

#[test]
fn the_size_of_a_slot_does_not_change_the_result() {
    let objective = CrossEntropy { threshold: true };
    let run = |micro_batch| {
        let settings = Optimizer { micro_batch, ..settings() };
        let job = Job { head: CLASSIFIER, objective: &objective, settings, rows: 60 };
        on_worlds(&job, &[1]).remove(0)
    };
    // Slots of 5 leave a short one; slots of 20 are larger than the batch.
    let whole = run(12);
    for micro_batch in [1, 5, 20] {
        let difference = largest_difference(&whole, &run(micro_batch));
        assert!(difference < 1e-5, "slots of {micro_batch} rows: losses differ by {difference}");
    }
}

#[test]
fn a_rank_without_a_slot_keeps_in_step() {
    let objective = CrossEntropy { threshold: true };
    // Two slots for three ranks.
    let settings = Optimizer { micro_batch: 6, ..settings() };
    let job = Job { head: CLASSIFIER, objective: &objective, settings, rows: 60 };
    let left = on_worlds(&job, &[1, 3]);
    assert!(largest_difference(&left[0], &left[1]) < 1e-5);
}

#[test]
fn every_rule_learns_and_agrees_on_one_and_two_ranks() {
    let objective = CrossEntropy { threshold: false };
    let sgd = |momentum, nesterov| (Rule::Sgd { momentum, nesterov }, 0.3);
    for (rule, learning_rate) in [sgd(0.0, false), sgd(0.9, true), (Rule::Adafactor, 0.05)] {
        let settings = Optimizer { rule, learning_rate, passes: 4, clip: None, ..settings() };
        let job = Job { head: CLASSIFIER, objective: &objective, settings, rows: 120 };
        let left = on_worlds(&job, &[1, 2]);
        let losses = &left[0].0;
        let (first, last) = (losses[0].loss, losses[losses.len() - 1].loss);
        assert!(last < 0.95 * first, "{rule:?} learned nothing: {first} to {last}");
        let difference = largest_difference(&left[0], &left[1]);
        assert!(difference < 1e-5, "{rule:?}: losses differ by {difference}");
    }
}
