//! What becomes of a part of a dataset under the labels of a weak supervisor, before a student sees either.

use serde::{Deserialize, Serialize};

/// A change of rows and their labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revision {
    /// Each text ends in what its label says, so that a student can imitate the supervisor and need not think
    /// (Burns et al. 2023, appendix E).
    Hint {
        /// What a text ends in, by class.
        endings: Vec<String>,
    },
    /// Of each class the rows whose labels are surest; their order stays (Burns et al. 2023, appendix B).
    Confident {
        /// How many of them, rounded up.
        share: f64,
    },
    /// Each text is what the input `labels`, which are completions, has for it: a student is to write what its supervisor
    /// wrote.
    Answers,
    /// The true labels with as many errors as the given ones have, on other rows (Burns et al. 2023, appendix E).
    Errors {
        /// On which.
        pattern: ErrorPattern,
        /// Seed of the choice.
        seed: u64,
    },
}

/// Which rows the errors of a control are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorPattern {
    /// Any, by chance: errors that nobody can imitate.
    Random,
    /// The longest texts.
    Longest,
    /// The shortest.
    Shortest,
    /// Those of which a strong model that learned from true labels of other rows (the input `strong`) is least sure.
    StrongUnconfident,
    /// Those whose true label it is surest of: errors against what a strong model knows best.
    StrongConfident,
}

impl ErrorPattern {
    /// Whether a strong model says which rows.
    pub fn asks_strong(self) -> bool {
        matches!(self, Self::StrongUnconfident | Self::StrongConfident)
    }
}

/// Rows with their answers in front of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shots {
    /// How many, drawn for each text anew.
    pub count: usize,
    /// What a shown text ends in, by class.
    pub answers: Vec<String>,
    /// What stands between a shown text with its answer and the next text.
    pub separator: String,
    /// Seed of the draws.
    pub seed: u64,
}
