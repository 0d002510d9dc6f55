//! From the predictions of a weak-to-strong experiment to its results.

mod group;
mod places;

use super::{
    Bootstrap, MetricsError, accuracy, agreement, argmax, auroc, balanced_accuracy, chance, contradiction,
    ece, ece_sweep, log_loss, pgr,
};
use crate::{
    plan::Role,
    results::{Moves, Point, Probabilistic, Results, SCHEMA, Score, Student},
};
use group::{Drawn, Group};
use places::{Places, strong_of};

/// What one trained model says about the test rows.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// What the model is in the experiment.
    pub role: Role,
    /// Seed of its training.
    pub seed: u64,
    /// Share of its training that was done, above 0 and below 1; none at the end.
    pub progress: Option<f64>,
    /// Whether its training used true labels although it is a student.
    pub oracle: bool,
    /// How many numbers were trained.
    pub parameters: u64,
    /// What it names, per test row: a class, or the number of an answer.
    pub classes: Vec<i32>,
    /// One probability per class, per test row; none where the task has no classes.
    pub probabilities: Option<Vec<Vec<f32>>>,
    /// Where answers are chess moves: how many can be made.
    pub moves: Option<Moves>,
}

impl Predicted {
    /// The end of a training whose predictions are probabilities: it names the likeliest class.
    pub fn of(role: Role, seed: u64, parameters: u64, probabilities: Vec<Vec<f32>>) -> Self {
        let classes = probabilities.iter().map(|row| argmax(row) as i32).collect();
        Self {
            role,
            seed,
            progress: None,
            oracle: false,
            parameters,
            classes,
            probabilities: Some(probabilities),
            moves: None,
        }
    }
}

/// Every number of every model, and accuracy, agreement and PGR by (method, weak, strong) with 95 % intervals.
/// Methods keep the order in which they first come. Models that predict nothing are left out of the ladder.
///
/// # Errors
/// If predictions do not fit the rows or the ladder, come twice, or lack their partners.
pub fn weak_to_strong(
    ladder: &[String],
    labels: &[i32],
    predicted: &[Predicted],
    bootstrap: Bootstrap,
) -> Result<Results, MetricsError> {
    measured(ladder, labels, predicted, bootstrap, chance(labels))
}

/// The same, where chance is as good as `luck`.
pub(super) fn measured(
    ladder: &[String],
    labels: &[i32],
    predicted: &[Predicted],
    bootstrap: Bootstrap,
    luck: f64,
) -> Result<Results, MetricsError> {
    if labels.is_empty() {
        return Err(MetricsError::NoRows);
    }
    if bootstrap.draws == 0 {
        return Err(MetricsError::NoDraws);
    }
    let places = Places::new(ladder, labels, predicted)?;
    let groups = places.groups()?;
    let drawn = Drawn::new(&places, &groups, labels, bootstrap);
    Ok(Results {
        schema: SCHEMA,
        test_rows: labels.len() as u64,
        left_out: 0,
        chance: luck,
        ladder: places.models(),
        supervisors: scores(&places, labels, |role| matches!(role, Role::Weak { .. })),
        ceilings: scores(&places, labels, |role| matches!(role, Role::Ceiling { .. })),
        students: groups.iter().flat_map(|group| students(group, &places, labels)).collect(),
        summary: groups
            .iter()
            .enumerate()
            .map(|(at, group)| group.summary(at, &places, &drawn, luck))
            .collect(),
        per_question: None,
    })
}

fn scores(places: &Places<'_>, labels: &[i32], wanted: fn(&Role) -> bool) -> Vec<Score> {
    let wanted = places.iter().filter(|prediction| wanted(&prediction.role));
    wanted
        .map(|prediction| Score {
            model: strong_of(&prediction.role).clone(),
            method: match &prediction.role {
                Role::Ceiling { method, .. } => method.clone(),
                _ => None,
            },
            seed: prediction.seed,
            accuracy: accuracy(&prediction.classes, labels),
            balanced_accuracy: balanced_accuracy(&prediction.classes, labels),
            probabilistic: probabilistic(prediction, labels),
            moves: prediction.moves,
        })
        .collect()
}

fn students(group: &Group, places: &Places<'_>, labels: &[i32]) -> Vec<Student> {
    let accuracy_of = |prediction: &Predicted| accuracy(&prediction.classes, labels);
    let student = |trio: &[usize; 3]| {
        let [weak, student, ceiling] = trio.map(|at| places.at(at));
        let both = student.probabilities.as_ref().zip(weak.probabilities.as_ref());
        let point = |progress, at: &Predicted| Point { progress, accuracy: accuracy_of(at) };
        Student {
            method: group.method.clone(),
            weak: group.weak.clone(),
            strong: group.strong.clone(),
            seed: student.seed,
            accuracy: accuracy_of(student),
            balanced_accuracy: balanced_accuracy(&student.classes, labels),
            probabilistic: probabilistic(student, labels),
            agreement: agreement(&student.classes, &weak.classes, labels),
            contradiction: both.map(|(student, weak)| contradiction(student, weak, labels)),
            pgr: pgr(accuracy_of(weak), accuracy_of(student), accuracy_of(ceiling)),
            points: places.on_the_way(student).map(|(progress, at)| point(progress, at)).collect(),
            moves: student.moves,
        }
    };
    group.trios.iter().map(student).collect()
}

fn probabilistic(prediction: &Predicted, labels: &[i32]) -> Option<Probabilistic> {
    let probabilities = prediction.probabilities.as_ref()?;
    Some(Probabilistic {
        log_loss: log_loss(probabilities, labels),
        ece: ece(probabilities, labels),
        ece_sweep: ece_sweep(probabilities, labels),
        auroc: auroc(probabilities, labels),
    })
}

#[cfg(test)]
mod tests;
