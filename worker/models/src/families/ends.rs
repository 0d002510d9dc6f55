//! `eos_token_id`, which is one id or several.

use serde::{Deserialize, Serialize};

/// The ids that end a text, as one or as a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ends {
    /// The usual.
    One(i64),
    /// The end of a text and that of a turn, above all.
    Many(Vec<i64>),
}

impl Ends {
    /// The first and the others.
    pub(super) fn split(ends: Option<Self>) -> (Option<i64>, Vec<i64>) {
        let mut ids = ends.map(Self::ids).unwrap_or_default().into_iter();
        (ids.next(), ids.collect())
    }

    /// The inverse of [`Ends::split`].
    pub(super) fn joined(first: Option<i64>, others: &[i64]) -> Option<Self> {
        match (first, others) {
            (Some(first), []) => Some(Self::One(first)),
            (Some(first), others) => Some(Self::Many([&[first], others].concat())),
            (None, _) => None,
        }
    }

    /// All of them, in the order of the file.
    pub(crate) fn ids(self) -> Vec<i64> {
        match self {
            Self::One(end) => vec![end],
            Self::Many(ends) => ends,
        }
    }
}
