//! A method: how students learn from weak labels.

use std::collections::BTreeSet;

use super::{Model, Pair};
use crate::plan::{ErrorPattern, Objective};

/// How students learn from weak labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Method {
    /// The word of the experiment file and the report.
    pub word: String,
    pub(super) objective: Objective,
    /// Who stands between supervisor and student.
    pub(super) between: Between,
    /// Copies of the student that learn from the one before.
    pub(super) rounds: usize,
    /// Whether each of those who learn in turn has rows of its own.
    pub fresh: bool,
    /// Supervisors whose labels are averaged; at least one.
    pub ensemble: usize,
    /// What becomes of the supervisor's labels before the first lesson.
    pub errors: Option<ErrorPattern>,
    /// The share of each class, with the surest labels, that is learned from; none for all rows.
    pub confident: Option<f64>,
    /// What a text ends in, by class; empty where nothing is told.
    pub hint: Vec<String>,
    /// Passes over the texts as language before any labels.
    pub generative: usize,
    /// What learns, and in which order.
    pub tuning: Tuning,
    /// What a model that learns nothing is shown.
    pub prompting: Prompting,
    /// Peak learning rate of a classifier that is trained alone; none for the model's.
    pub probe_learning_rate: Option<f64>,
    /// At how many moments of its training a student is looked at, the end included; at least one.
    pub moments: usize,
    /// Which of them it is taken from; none for the end.
    pub stop: Option<Stop>,
}

/// What says at which moment of its training a student is best, on rows that are held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The supervisor's labels.
    WeakLabels,
    /// True labels, which nobody has in earnest.
    GroundTruth,
}

/// What of a student learns, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// All that the experiment trains.
    Finetune,
    /// A new classifier alone.
    Probe,
    /// A new classifier alone, then all.
    ProbeThenFinetune,
    /// All, then a new classifier alone from true labels.
    FinetuneThenProbe,
    /// Nothing: it is asked.
    Prompt,
}

/// What a model is shown before it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prompting {
    /// How many texts with their answers.
    pub shots: usize,
    /// Whether the answers are true ones; else they are the supervisor's.
    pub truth: bool,
    /// What stands between them.
    pub separator: String,
}

/// Who stands between supervisor and student.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Nobody,
    /// Every model of the ladder that does.
    Everybody,
    /// Those of these places of the ladder that do.
    These(BTreeSet<usize>),
}

impl Prompting {
    /// An empty line.
    pub(crate) const SEPARATOR: &str = "\n\n";
}

impl Method {
    /// The supervisor teaches the student, by cross-entropy or what else the objective says.
    pub(super) fn direct(word: String, objective: Objective) -> Self {
        Self {
            word,
            objective,
            between: Between::Nobody,
            rounds: 0,
            fresh: false,
            ensemble: 1,
            errors: None,
            confident: None,
            hint: Vec::new(),
            generative: 0,
            tuning: Tuning::Finetune,
            prompting: Prompting { shots: 0, truth: false, separator: Prompting::SEPARATOR.to_owned() },
            probe_learning_rate: None,
            moments: 1,
            stop: None,
        }
    }

    /// How supervisors and ceilings learn.
    pub(crate) fn truthful() -> Self {
        Self::direct("truth".to_owned(), Objective::CrossEntropy)
    }

    /// The same steps, on true labels.
    pub(crate) fn with_truth(&self) -> Self {
        let prompting = Prompting { truth: true, ..self.prompting.clone() };
        Self { objective: Objective::CrossEntropy, moments: 1, stop: None, prompting, ..self.clone() }
    }

    /// What a student minimizes.
    pub(crate) fn objective(&self, student: &Model) -> Objective {
        match (self.objective, student.confidence_weight) {
            (Objective::Confidence { warmup, threshold, jumps, .. }, Some(weight)) => {
                Objective::Confidence { weight, warmup, threshold, jumps }
            }
            (objective, _) => objective,
        }
    }

    /// The places of the models that learn in turn, each from the one before and the first from the supervisor; the
    /// last is the student. None where nobody stands between the two although somebody should: that student would be
    /// another method's.
    pub(crate) fn path(&self, Pair { weak, strong }: Pair) -> Option<Vec<usize>> {
        let stands = |place: &usize| match &self.between {
            Between::Nobody => false,
            Between::Everybody => true,
            Between::These(places) => places.contains(place),
        };
        let between: Vec<usize> = (weak + 1..strong).filter(stands).collect();
        if between.is_empty() && self.between != Between::Nobody {
            return None;
        }
        let student = std::iter::repeat_n(strong, 1 + self.rounds);
        Some(between.into_iter().chain(student).collect())
    }

    /// Whether its students saw true labels, so that they show what could be had and are none.
    pub(crate) fn sees_truth(&self) -> bool {
        let shown = self.tuning == Tuning::Prompt && self.prompting.shots > 0 && self.prompting.truth;
        shown || self.stop == Some(Stop::GroundTruth) || self.tuning == Tuning::FinetuneThenProbe
    }

    /// How often one of its students is tested.
    pub(crate) fn tests(&self) -> usize {
        if self.stop.is_some() { 1 } else { self.moments }
    }

    /// Whether its students are compared with ceilings that learned as they did, and not with those of the experiment.
    pub(crate) fn has_own_ceiling(&self) -> bool {
        let shown = self.tuning == Tuning::Prompt && self.prompting.shots > 0;
        shown || self.generative > 0 || self.tuning == Tuning::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_travel_upward_and_then_from_copy_to_copy() {
        let of = |between, rounds| Method {
            between,
            rounds,
            ..Method::direct("m".into(), Objective::CrossEntropy)
        };
        let (wide, narrow) = (Pair { weak: 0, strong: 3 }, Pair { weak: 1, strong: 2 });
        for (method, expected) in [
            (of(Between::Nobody, 0), [Some(vec![3]), Some(vec![2])]),
            (of(Between::Nobody, 2), [Some(vec![3, 3, 3]), Some(vec![2, 2, 2])]),
            (of(Between::Everybody, 0), [Some(vec![1, 2, 3]), None]),
            (of(Between::These([0, 2, 3].into()), 1), [Some(vec![2, 3, 3]), None]),
        ] {
            assert_eq!([wide, narrow].map(|pair| method.path(pair)), expected, "{method:?}");
        }
        assert_eq!(of(Between::Nobody, 0).path(Pair { weak: 1, strong: 1 }), Some(vec![1]));
    }
}
