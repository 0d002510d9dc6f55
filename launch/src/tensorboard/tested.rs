//! What the trained models of a run are worth on its test rows.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key,
    plan::{Measure, Plan, Role},
    results::{Point, Probabilistic, Results, Score, Student},
};

use super::event::Step;
use crate::predictions;

/// What one model is worth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tested {
    accuracy: f64,
    balanced_accuracy: f64,
    probabilistic: Option<Probabilistic>,
    /// Of a student.
    pgr: Option<f64>,
    /// On the way.
    points: Vec<Point>,
}

/// The results of a plan, by the stage that trained the model.
pub(super) fn tested(plan: &Plan, results: &Results) -> BTreeMap<Key, Tested> {
    let Some((spec, Measure::WeakToStrong { predictions, .. })) = predictions::measured(plan) else {
        return BTreeMap::new();
    };
    let ends = predictions.iter().filter(|one| one.progress.is_none());
    let found =
        ends.filter_map(|one| Some((spec.input(&one.model).ok()?, of(&one.role, one.seed, results)?)));
    found.collect()
}

fn of(role: &Role, seed: u64, results: &Results) -> Option<Tested> {
    match role {
        Role::Weak { model } => {
            let is_it = |score: &&Score| &score.model == model && score.seed == seed;
            results.supervisors.iter().find(is_it).map(Tested::from)
        }
        Role::Ceiling { model, method } => {
            let is_it =
                |score: &&Score| &score.model == model && &score.method == method && score.seed == seed;
            results.ceilings.iter().find(is_it).map(Tested::from)
        }
        Role::Student { method, weak, strong } => {
            let is_it = |student: &&Student| {
                (&student.method, &student.weak, &student.strong, student.seed)
                    == (method, weak, strong, seed)
            };
            results.students.iter().find(is_it).map(Tested::from)
        }
    }
}

impl From<&Score> for Tested {
    fn from(score: &Score) -> Self {
        let Score { accuracy, balanced_accuracy, probabilistic, .. } = *score;
        Self { accuracy, balanced_accuracy, probabilistic, pgr: None, points: Vec::new() }
    }
}

impl From<&Student> for Tested {
    fn from(student: &Student) -> Self {
        let Student { accuracy, balanced_accuracy, probabilistic, pgr, .. } = *student;
        Self { accuracy, balanced_accuracy, probabilistic, pgr, points: student.points.clone() }
    }
}

impl Tested {
    /// The numbers on the way, and those of the end, of a training of so many steps.
    pub(super) fn steps(&self, steps: u64) -> Vec<Step> {
        let last = steps.saturating_sub(1);
        let on_the_way = self.points.iter().map(|point| Step {
            step: (point.progress * last as f64).round() as u64,
            scalars: vec![("test/accuracy", point.accuracy)],
        });
        let worth = self.probabilistic;
        let scalars = [
            ("test/accuracy", Some(self.accuracy)),
            ("test/balanced_accuracy", Some(self.balanced_accuracy)),
            ("test/log_loss", worth.map(|worth| worth.log_loss)),
            ("test/auroc", worth.and_then(|worth| worth.auroc)),
            ("test/pgr", self.pgr),
        ];
        let scalars = scalars.into_iter().filter_map(|(tag, number)| Some((tag, number?))).collect();
        on_the_way.chain([Step { step: last, scalars }]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_on_the_way_come_before_that_of_the_end() {
        let points = vec![Point { progress: 0.5, accuracy: 0.6 }];
        let tested =
            Tested { accuracy: 0.75, balanced_accuracy: 0.7, probabilistic: None, pgr: Some(0.5), points };
        let end = vec![("test/accuracy", 0.75), ("test/balanced_accuracy", 0.7), ("test/pgr", 0.5)];
        let expected =
            [Step { step: 5, scalars: vec![("test/accuracy", 0.6)] }, Step { step: 10, scalars: end }];
        assert_eq!(tested.steps(11), expected);
        assert_eq!(Tested { points: vec![], ..tested }.steps(0)[0].step, 0);
    }
}
