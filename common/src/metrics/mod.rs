//! Numbers from predictions: accuracy, agreement, performance gap recovered, and how sure they are.

mod bootstrap;
mod calibration;
mod contradiction;
mod discrimination;
mod over_tasks;
mod questions;
#[cfg(test)]
mod reference;
mod weak_to_strong;

pub use bootstrap::{Bootstrap, hits, percentiles};
pub use calibration::{ece, ece_sweep};
pub use contradiction::contradiction;
pub use discrimination::{Ranking, auroc, balanced_accuracy, log_loss};
pub use over_tasks::{median, over_tasks};
pub use questions::per_question;
pub use weak_to_strong::{Predicted, weak_to_strong};

use crate::results::Agreement;

/// Predictions that no number can be computed from.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// No row to test on.
    #[error("there is no test row: give the split a test part")]
    NoRows,
    /// A question that cannot be answered right and wrong.
    #[error("question {0} of the test rows has no right answer, no wrong one, or one that is no test row")]
    Question(usize),
    /// Answers without probabilities.
    #[error("a model gives the answers of questions no probability to be right")]
    Unscored,
    /// A bootstrap needs draws.
    #[error("the bootstrap needs at least one draw")]
    NoDraws,
    /// A prediction of another table.
    #[error("{prediction} covers {found} rows, the test part has {expected}")]
    Rows {
        /// Role and seed of the prediction.
        prediction: String,
        /// Rows predicted.
        found: usize,
        /// Rows of the test part.
        expected: usize,
    },
    /// A model that the ladder does not name.
    #[error("model {0:?} is not in the ladder")]
    Model(String),
    /// Two predictions for one place.
    #[error("{0} comes twice")]
    Twice(String),
    /// Probabilities that are not those of the rows.
    #[error("{prediction} has {found} rows of probabilities for {expected} rows")]
    Probabilities {
        /// Role and seed of the prediction.
        prediction: String,
        /// Rows with probabilities.
        found: usize,
        /// Rows predicted.
        expected: usize,
    },
    /// A point of a training that is none.
    #[error("{prediction} stands at {progress} of its training: a point is above 0 and below 1")]
    Progress {
        /// Role and seed of the prediction.
        prediction: String,
        /// The share named.
        progress: String,
    },
    /// A student without its supervisor or ceiling, a point on the way without the end.
    #[error("{student} has no {partner}: measure needs all of them")]
    Partner {
        /// Role and seed of the student.
        student: String,
        /// What is missing.
        partner: String,
    },
}

/// The class with the highest probability; the lowest such class where several share it.
pub fn argmax(probabilities: &[f32]) -> usize {
    let mut best = 0;
    for (class, &probability) in probabilities.iter().enumerate() {
        if probability > probabilities[best] {
            best = class;
        }
    }
    best
}

/// Share of rows on which `predicted` is the label; 0 where there is no row.
pub fn accuracy(predicted: &[i32], labels: &[i32]) -> f64 {
    share(predicted.iter().zip(labels).map(|(predicted, label)| predicted == label)).unwrap_or(0.0)
}

/// Accuracy of always naming the most frequent label; 0 where there is no row.
pub fn chance(labels: &[i32]) -> f64 {
    let mut counts = std::collections::BTreeMap::<i32, u64>::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    counts.values().max().map_or(0.0, |&most| most as f64 / labels.len() as f64)
}

/// How often a student names the class that its supervisor names (Burns et al. 2023, section 5.1.3): a student
/// that copies the supervisor's errors agrees as much where the supervisor is wrong as where it is right.
pub fn agreement(student: &[i32], supervisor: &[i32], labels: &[i32]) -> Agreement {
    let rows = || student.iter().zip(supervisor).zip(labels);
    let same_where =
        |right: bool| share(rows().filter(|((_, w), y)| (w == y) == right).map(|((s, w), _)| s == w));
    Agreement {
        overall: share(rows().map(|((s, w), _)| s == w)).unwrap_or(0.0),
        supervisor_right: same_where(true),
        supervisor_wrong: same_where(false),
    }
}

/// Performance gap recovered, (student - weak) / (ceiling - weak) (Burns et al. 2023, section 3): 1 where the
/// student is as good as the ceiling, 0 where it is no better than its supervisor. None where there is
/// no gap to recover.
pub fn pgr(weak: f64, student: f64, ceiling: f64) -> Option<f64> {
    let gap = ceiling - weak;
    (gap > 0.0).then(|| (student - weak) / gap)
}

fn share(hits: impl Iterator<Item = bool>) -> Option<f64> {
    let (hits, all) = hits.fold((0u64, 0u64), |(hits, all), hit| (hits + u64::from(hit), all + 1));
    (all > 0).then(|| hits as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [i32; 4] = [0, 0, 1, 1];
    const WEAK: [i32; 4] = [0, 1, 1, 0];
    const STUDENT: [i32; 4] = [0, 0, 1, 0];

    #[test]
    fn accuracies_agreement_and_pgr_are_those_of_the_hand_computation() {
        assert_eq!((accuracy(&WEAK, &LABELS), accuracy(&STUDENT, &LABELS)), (0.5, 0.75));
        let found = agreement(&STUDENT, &WEAK, &LABELS);
        let by_hand = Agreement { overall: 0.75, supervisor_right: Some(1.0), supervisor_wrong: Some(0.5) };
        assert_eq!(found, by_hand);
        assert_eq!(agreement(&WEAK, &LABELS, &LABELS).supervisor_wrong, None);
    }

    #[test]
    fn pgr_is_a_share_of_the_gap_and_none_without_one() {
        let table = [
            (0.5, 0.75, 1.0, Some(0.5)),
            (0.5, 0.5, 1.0, Some(0.0)),
            (0.5, 1.0, 1.0, Some(1.0)),
            (0.5, 0.25, 1.0, Some(-0.5)),
            (0.5, 1.0, 0.75, Some(2.0)),
            (0.5, 0.75, 0.5, None),
            (0.75, 0.75, 0.5, None),
        ];
        for (weak, student, ceiling, expected) in table {
            assert_eq!(pgr(weak, student, ceiling), expected, "{weak} {student} {ceiling}");
        }
    }

    #[test]
    fn a_tie_goes_to_the_lowest_class_and_chance_is_the_majority() {
        assert_eq!([argmax(&[0.5, 0.5]), argmax(&[0.2, 0.4, 0.4]), argmax(&[1.0])], [0, 1, 0]);
        assert_eq!([chance(&[1, 1, 0, 2]), chance(&[3]), chance(&[])], [0.5, 1.0, 0.0]);
    }
}
