//! All seeds of one pair and method taken together.

use serde::{Deserialize, Serialize};

use super::Legality;

/// The students of one (method, weak, strong) over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Method of the training, e.g. `naive`.
    pub method: String,
    /// Name of the supervisor's model.
    pub weak: String,
    /// Name of the student's model.
    pub strong: String,
    /// How many seeds are taken together.
    pub seeds: u64,
    /// Accuracy of the supervisor.
    pub weak_accuracy: Interval,
    /// Accuracy of the student.
    pub student_accuracy: Interval,
    /// Accuracy of the strong ceiling.
    pub ceiling_accuracy: Interval,
    /// Ceiling accuracy less weak accuracy, paired.
    pub gap: Interval,
    /// Performance gap recovered; none where the interval of `gap` is not above zero.
    pub pgr: Option<Interval>,
    /// The same numbers of the area under the ROC curve; none unless all three have one for every seed.
    pub auroc: Option<Recovered>,
    /// How often the students say what their supervisors say.
    pub agreement: AgreementIntervals,
    /// Of answers that are chess moves: how many can be made, over all seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legality: Option<Legality>,
    /// What to know before reading the numbers; in the order of [`Flag`].
    pub flags: Vec<Flag>,
}

/// A measure of supervisor, student and ceiling, and how much of the gap the student recovers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// Of the supervisor.
    pub weak: Interval,
    /// Of the student.
    pub student: Interval,
    /// Of the strong ceiling.
    pub ceiling: Interval,
    /// Ceiling less weak, paired.
    pub gap: Interval,
    /// Performance gap recovered; none where the interval of `gap` is not above zero.
    pub pgr: Option<Interval>,
}

/// [`super::Agreement`] over all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementIntervals {
    /// Over all test rows.
    pub overall: Interval,
    /// Over the rows on which the supervisor is right; none where a seed has no such row.
    pub supervisor_right: Option<Interval>,
    /// Over the rows on which the supervisor is wrong; none where a seed has no such row.
    pub supervisor_wrong: Option<Interval>,
}

/// A number with its 95 % bootstrap interval over test rows and seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The estimate from all rows and seeds (for PGR: the ratio of the means over seeds).
    pub mean: f64,
    /// The 2.5 % point of the draws.
    pub low: f64,
    /// The 97.5 % point of the draws.
    pub high: f64,
}

/// What to know before reading the numbers of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The ceiling is not above the supervisor: there is no gap to recover, and no PGR.
    CeilingBelowWeak,
    /// The gap's interval is not above zero, so no share of it can be named: no PGR.
    GapWithinNoise,
    /// The interval of the ceiling reaches down to chance: the task was not learned, and a PGR says nothing.
    CeilingAtChance,
    /// The interval of the supervisor reaches down to chance: its labels may hold nothing.
    WeakAtChance,
    /// True labels had a part in the student's training: an oracle.
    SawTruth,
}

impl Flag {
    /// What it says, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::CeilingBelowWeak => "the ceiling is not above the weak supervisor",
            Self::GapWithinNoise => "the gap between weak and ceiling is not above noise",
            Self::CeilingAtChance => "the ceiling is not above chance",
            Self::WeakAtChance => "the weak supervisor is not above chance",
            Self::SawTruth => "true labels had a part in the student's training: an oracle",
        }
    }

    /// Whether a pair with it has no PGR.
    pub fn withholds_pgr(self) -> bool {
        matches!(self, Self::CeilingBelowWeak | Self::GapWithinNoise)
    }
}
