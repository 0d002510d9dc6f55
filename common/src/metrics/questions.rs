//! Questions: of the answers to one, the most probable is named (Burns et al. 2023, appendix A.1, has the rows by themselves).

use super::{Bootstrap, MetricsError, Predicted, weak_to_strong::measured};
use crate::results::Results;

/// What [`super::weak_to_strong`] says of the rows, said of questions. A question is a list of places of its answers' rows, at
/// least one right (class 1) and one wrong. A model is right on it where a right answer has more probability than every
/// wrong one; chance is the share of right answers, averaged over questions.
///
/// # Errors
/// As [`super::weak_to_strong`]; if a question names no row, or lacks a right or a wrong answer, or a model gives no
/// probabilities of two classes.
pub fn per_question(
    ladder: &[String],
    labels: &[i32],
    predicted: &[Predicted],
    questions: &[Vec<usize>],
    bootstrap: Bootstrap,
) -> Result<Results, MetricsError> {
    let right = |&place: &usize| labels.get(place) == Some(&1);
    let mut truth = Vec::with_capacity(questions.len());
    for (number, places) in questions.iter().enumerate() {
        let named = places.iter().position(right);
        let whole = places.iter().all(|&place| place < labels.len()) && !places.iter().all(right);
        match named.filter(|_| whole) {
            Some(named) => truth.push(named as i32),
            None => return Err(MetricsError::Question(number)),
        }
    }
    let shares = questions
        .iter()
        .map(|places| places.iter().filter(|&place| right(place)).count() as f64 / places.len() as f64);
    let chance = shares.sum::<f64>() / questions.len().max(1) as f64;
    let named = |prediction: &Predicted| -> Result<Predicted, MetricsError> {
        let probabilities = prediction.probabilities.as_ref().filter(|rows| rows.len() == labels.len());
        let of_right: Option<Vec<f32>> =
            probabilities.into_iter().flatten().map(|row| row.get(1).copied()).collect();
        let of_right = of_right.filter(|rows| rows.len() == labels.len()).ok_or(MetricsError::Unscored)?;
        let classes = questions.iter().zip(&truth).map(|(places, &truth)| {
            let best = best(places.iter().map(|&place| (of_right[place], right(&place))));
            if right(&places[best]) { truth } else { best as i32 }
        });
        let classes = classes.collect();
        Ok(Predicted { role: prediction.role.clone(), classes, probabilities: None, ..*prediction })
    };
    let named = predicted.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    measured(ladder, &truth, &named, bootstrap, chance)
}

/// Where the most probable answer stands: of equal ones a wrong one, so that a model that tells nothing apart is right on
/// nothing.
fn best(answers: impl Iterator<Item = (f32, bool)>) -> usize {
    let better = |a: &(usize, (f32, bool)), b: &(usize, (f32, bool))| {
        a.1.0.total_cmp(&b.1.0).then((!a.1.1).cmp(&!b.1.1)).then(b.0.cmp(&a.0))
    };
    answers.enumerate().max_by(better).map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Role;

    const BOOTSTRAP: Bootstrap = Bootstrap { draws: 100, seed: 0 };

    /// Three questions: of four answers, of two, and of three of which two are right.
    const LABELS: [i32; 9] = [0, 0, 1, 0, 1, 0, 1, 1, 0];

    fn questions() -> Vec<Vec<usize>> {
        vec![vec![0, 1, 2, 3], vec![4, 5], vec![6, 7, 8]]
    }

    fn ladder() -> Vec<String> {
        vec!["small".into(), "large".into()]
    }

    fn predicted(role: Role, of_right: [f32; 9]) -> Predicted {
        Predicted::of(role, 0, 10, of_right.iter().map(|&p| vec![1.0 - p, p]).collect())
    }

    fn all(student: [f32; 9]) -> Vec<Predicted> {
        let student_role =
            Role::Student { method: "naive".into(), weak: "small".into(), strong: "large".into() };
        let ceiling = Role::Ceiling { model: "large".into(), method: None };
        vec![
            predicted(Role::Weak { model: "small".into() }, [0.1, 0.6, 0.5, 0.2, 0.4, 0.3, 0.1, 0.2, 0.3]),
            predicted(student_role, student),
            predicted(ceiling, [0.1, 0.2, 0.3, 0.2, 0.9, 0.3, 0.1, 0.4, 0.3]),
        ]
    }

    #[test]
    fn the_most_probable_answer_of_a_question_is_named() {
        let student = [0.1, 0.4, 0.5, 0.2, 0.4, 0.3, 0.6, 0.2, 0.7];
        let found = per_question(&ladder(), &LABELS, &all(student), &questions(), BOOTSTRAP).unwrap();
        assert_eq!(found.test_rows, 3);
        assert!((found.chance - (0.25 + 0.5 + 2.0 / 3.0) / 3.0).abs() < 1e-12, "{}", found.chance);
        let accuracies =
            [found.supervisors[0].accuracy, found.students[0].accuracy, found.ceilings[0].accuracy];
        assert_eq!(accuracies, [1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert!((found.students[0].pgr.unwrap() - 0.5).abs() < 1e-12);
        // Both name the right answer of the second question and the same wrong one of the third.
        assert_eq!(found.students[0].agreement.overall, 2.0 / 3.0);
        assert_eq!((found.students[0].probabilistic, &found.summary[0].auroc), (None, &None));
    }

    #[test]
    fn what_is_not_above_every_wrong_answer_is_not_right() {
        let found = per_question(&ladder(), &LABELS, &all([0.5; 9]), &questions(), BOOTSTRAP).unwrap();
        assert_eq!(found.students[0].accuracy, 0.0);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let of = |questions: Vec<Vec<usize>>| {
            per_question(&ladder(), &LABELS, &all([0.5; 9]), &questions, BOOTSTRAP).unwrap_err()
        };
        for wrong in [vec![0, 1], vec![6, 7], vec![2, 3, 9], vec![]] {
            assert_eq!(of(vec![vec![4, 5], wrong]), MetricsError::Question(1));
        }
        assert_eq!(of(vec![]), MetricsError::NoRows);
        let mut unscored = all([0.5; 9]);
        unscored[1].probabilities = None;
        let refused = per_question(&ladder(), &LABELS, &unscored, &questions(), BOOTSTRAP);
        assert_eq!(refused.unwrap_err(), MetricsError::Unscored);
    }
}
