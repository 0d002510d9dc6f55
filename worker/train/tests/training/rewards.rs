//! Preferences: a reward model against transformers, and who reads pairs.

use std::{fs, path::Path, sync::Arc};

use fulcrum_collective::Solo;
use fulcrum_common::plan::{Head, Optimizer, Rule, Schedule};
use fulcrum_models::{Model, ModelFiles};
use fulcrum_train::{Examples, Gang, Objective, Trained, Training, log_probabilities, probabilities, train};
use serde_json::Value;
use tch::Device;

use crate::support::{CrossEntropy, NextToken, examples, examples_for, model, settings};

const NAIVE: CrossEntropy = CrossEntropy { threshold: false };

fn fixture() -> (Model, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rewards");
    let expected = serde_json::from_slice(&fs::read(folder.join("rewards.json")).unwrap()).unwrap();
    (Model::load(&ModelFiles::in_folder(&folder), Device::Cpu).unwrap(), expected)
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f64::max);
    assert!(largest < bound, "{largest}: {found:?} is not {expected:?}");
}

/// What the second text has more than the first, of each row: the logit of its probability.
fn margins(model: &Model, pairs: &Examples) -> Vec<f64> {
    let found = probabilities(model, pairs, 40, &()).unwrap();
    found.iter().map(|row| (f64::from(row[1]) / f64::from(row[0])).ln()).collect()
}

fn trained(
    model: &Model,
    examples: &Examples,
    objective: &dyn Objective,
    settings: Optimizer,
) -> Result<Trained, String> {
    let training = Training::new(model, examples, objective, settings, 1, Gang::data(Arc::new(Solo::new())));
    train(training).map_err(|error| error.to_string())
}

#[test]
fn steps_over_preferences_are_those_of_transformers() {
    let (model, expected) = fixture();
    assert_eq!(model.head(), Some(Head::Reward));
    let pairs: Vec<[Vec<i64>; 2]> = serde_json::from_value(expected["pairs"].clone()).unwrap();
    let labels = numbers(&expected["labels"]);
    let soft = labels.iter().flat_map(|&second| [1.0 - second as f32, second as f32]).collect();
    let examples = Examples::new(pairs.concat(), 0).unwrap().in_pairs().unwrap();
    let examples = examples.with_targets(soft, 2).unwrap();
    assert_eq!(examples.len(), labels.len());
    close(&margins(&model, &examples), &numbers(&expected["before"]), 1e-5);

    let losses = numbers(&expected["losses"]);
    let momentum = expected["momentum"].as_f64().unwrap();
    let settings = Optimizer {
        passes: losses.len(),
        batch: labels.len(),
        micro_batch: 3,
        rule: Rule::Sgd { momentum, nesterov: false },
        learning_rate: expected["rate"].as_f64().unwrap(),
        schedule: Schedule::Constant,
        warmup: 0.0,
        weight_decay: 0.0,
        clip: None,
        ..settings()
    };
    let found = trained(&model, &examples, &NAIVE, settings).unwrap().losses;
    close(&found.iter().map(|step| step.loss).collect::<Vec<_>>(), &losses, 1e-5);
    close(&margins(&model, &examples), &numbers(&expected["after"]), 1e-4);
}

#[test]
fn the_rows_of_a_step_are_told_alike_in_slots_of_any_size() {
    let rows = |micro_batch| {
        let model = model(Head::Reward);
        let settings = Optimizer { micro_batch, ..settings() };
        let losses = trained(&model, &examples_for(&model, 24), &NAIVE, settings).unwrap().losses;
        losses.iter().map(|step| step.rows).collect::<Vec<_>>()
    };
    assert_eq!(rows(1), rows(5));
}

#[test]
fn a_language_model_learns_to_write_both_texts_of_a_pair() {
    let whole = |rows| Optimizer { passes: 4, batch: rows, micro_batch: 2, ..settings() };
    let losses = |examples: &Examples| {
        let model = model(Head::LanguageModel);
        let losses = trained(&model, examples, &NextToken, whole(examples.len())).unwrap().losses;
        losses.iter().map(|step| step.loss).collect::<Vec<_>>()
    };
    let pairs = examples(24).in_pairs().unwrap();
    assert_eq!(pairs.len(), 12);
    close(&losses(&pairs), &losses(&examples(24)), 1e-5);
}

#[test]
fn pairs_and_single_texts_are_not_mixed_up() {
    let (singles, pairs) = (examples(12), || examples(12).in_pairs().unwrap());
    let refused = |head, examples: &Examples| {
        let model = model(head);
        let inferred = probabilities(&model, examples, 40, &()).unwrap_err().to_string();
        assert_eq!(trained(&model, examples, &NAIVE, settings()).err().as_deref(), Some(&*inferred));
        inferred
    };
    let reward = refused(Head::Reward, &singles);
    assert!(reward.contains("a reward model compares pairs, and the rows are single texts"), "{reward}");
    let classifier = refused(Head::Classifier { classes: 2 }, &pairs());
    assert!(classifier.contains("only a reward model compares the pairs"), "{classifier}");
    let language = log_probabilities(&model(Head::LanguageModel), &pairs(), 40, &()).unwrap_err().to_string();
    assert!(language.contains("of single texts, and the rows are pairs"), "{language}");
    let odd = examples(11).in_pairs().map(|_| ()).unwrap_err().to_string();
    assert!(odd.contains("11 sequences are no whole number of pairs"), "{odd}");
}
