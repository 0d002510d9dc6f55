//! Answers that are chess moves.

use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// Answers to chess positions, by what they are as moves. The three add up to the rows that were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moves {
    /// Moves that can be made.
    pub legal: u64,
    /// Written as a move, but none that can be made, or not one alone.
    pub illegal: u64,
    /// No move in either notation.
    pub unreadable: u64,
}

impl Moves {
    /// The share of legal moves, from 0 to 1; 0 where there is no answer.
    pub fn share_legal(self) -> f64 {
        let answers = self.legal + self.illegal + self.unreadable;
        if answers == 0 { 0.0 } else { self.legal as f64 / answers as f64 }
    }
}

impl Sum for Moves {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            legal: sum.legal + one.legal,
            illegal: sum.illegal + one.illegal,
            unreadable: sum.unreadable + one.unreadable,
        })
    }
}

/// The moves of supervisor, student and ceiling, counted over all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Legality {
    /// Of the supervisors.
    pub weak: Moves,
    /// Of the students.
    pub student: Moves,
    /// Of the ceilings.
    pub ceiling: Moves,
}
