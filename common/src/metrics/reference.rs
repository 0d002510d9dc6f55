//! Every measure against numbers that numpy computed by other roads: `tests/fixtures/measures/make.py`.

use serde::Deserialize;

use super::*;
use crate::results::Contradiction;

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: Vec<i32>,
    student: Vec<Vec<f32>>,
    weak: Vec<Vec<f32>>,
    student_measures: Measures,
    weak_measures: Measures,
    contradiction: Contradiction,
}

#[derive(Deserialize)]
struct Measures {
    accuracy: f64,
    balanced_accuracy: f64,
    log_loss: f64,
    ece: f64,
    ece_sweep: Option<f64>,
    auroc: Option<f64>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../tests/fixtures/measures/measures.json")).unwrap()
}

fn close(what: &str, found: Option<f64>, expected: Option<f64>) {
    match (found, expected) {
        (Some(found), Some(expected)) if (found - expected).abs() < 1e-7 => {}
        (None, None) => {}
        _ => panic!("{what}: {found:?}, numpy has {expected:?}"),
    }
}

#[test]
fn measures_are_those_of_numpy() {
    for case in cases() {
        let both = [(&case.student, &case.student_measures), (&case.weak, &case.weak_measures)];
        for (probabilities, expected) in both {
            let what = |measure: &str| format!("{} of {}", measure, case.name);
            let classes: Vec<i32> = probabilities.iter().map(|row| argmax(row) as i32).collect();
            let labels = &case.labels;
            let some = |value: f64| Some(value);
            close(&what("accuracy"), some(accuracy(&classes, labels)), some(expected.accuracy));
            let balanced = balanced_accuracy(&classes, labels);
            close(&what("balanced accuracy"), some(balanced), some(expected.balanced_accuracy));
            close(&what("log-loss"), some(log_loss(probabilities, labels)), some(expected.log_loss));
            close(&what("ece"), some(ece(probabilities, labels)), some(expected.ece));
            close(&what("swept ece"), ece_sweep(probabilities, labels), expected.ece_sweep);
            close(&what("auroc"), auroc(probabilities, labels), expected.auroc);
        }
    }
}

#[test]
fn contradictions_are_those_of_numpy() {
    for case in cases() {
        let found = contradiction(&case.student, &case.weak, &case.labels);
        let expected = case.contradiction;
        close("confident", Some(found.confident), Some(expected.confident));
        close("rate", found.rate, expected.rate);
        close("overconfidence", Some(found.overconfidence), Some(expected.overconfidence));
        close("errors copied", found.errors_copied, expected.errors_copied);
    }
}

#[test]
fn an_area_of_weighted_rows_is_that_of_the_rows_repeated() {
    let case = &cases()[0];
    let times: Vec<u32> = (0..case.labels.len() as u32).map(|row| row % 4).collect();
    let repeated = |row: usize| std::iter::repeat_n(row, times[row] as usize);
    let rows: Vec<usize> = (0..times.len()).flat_map(repeated).collect();
    let probabilities: Vec<Vec<f32>> = rows.iter().map(|&row| case.student[row].clone()).collect();
    let labels: Vec<i32> = rows.iter().map(|&row| case.labels[row]).collect();
    let weighted = Ranking::new(&case.student, &case.labels).unwrap().auroc(&times);
    assert_eq!(weighted, auroc(&probabilities, &labels));
    assert_ne!(weighted, auroc(&case.student, &case.labels));
}

#[test]
fn rows_that_say_nothing_have_their_numbers_at_the_edge() {
    let sure = vec![vec![1.0, 0.0], vec![1.0, 0.0]];
    assert_eq!(auroc(&sure, &[0, 1]), Some(0.5), "equal probabilities");
    assert_eq!(auroc(&sure, &[0, 0]), None, "one class alone");
    assert_eq!(auroc(&[vec![0.2, 0.3, 0.5]], &[1]), None, "three classes");
    assert_eq!(log_loss(&sure, &[1, 7]), -f64::from(f32::EPSILON).ln(), "a probability of zero");
    assert_eq!((ece(&sure, &[0, 0]), ece(&sure, &[0, 1])), (0.0, 0.5));
    assert_eq!(balanced_accuracy(&[0, 0, 0, 0], &[0, 0, 0, 1]), 0.5);
    let perfect: Vec<Vec<f32>> =
        (0..3000).map(|row| if row < 1500 { [1.0, 0.0] } else { [0.0, 1.0] }.to_vec()).collect();
    let labels: Vec<i32> = (0..3000).map(|row| i32::from(row >= 1500)).collect();
    assert_eq!(ece_sweep(&perfect, &labels), Some(0.0));
    assert_eq!(ece_sweep(&[], &[]), None);
}
