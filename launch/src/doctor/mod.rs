//! Whether a machine is fit for runs: one finding for each thing that goes wrong in practice.

mod bucket;
mod machine;
mod storage;

use std::path::Path;

use serde::Serialize;

pub(crate) use bucket::bucket;
pub(crate) use machine::{addresses, gpus, limits, processor, programs};
pub(crate) use storage::storage;

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) what: &'static str,
    /// Whether that will do.
    pub(crate) verdict: Verdict,
    /// What was found, one line, with the way out where it will not do.
    pub(crate) said: String,
}

/// Whether something will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It will.
    Good,
    /// It will, and may disappoint.
    Doubtful,
    /// Runs will fail.
    Bad,
}

impl Verdict {
    /// As people read it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "BAD",
        }
    }
}

impl Finding {
    fn good(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Good, said: said.into() }
    }

    fn doubtful(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Doubtful, said: said.into() }
    }

    fn bad(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Bad, said: said.into() }
    }

    /// What could not be looked at.
    pub(crate) fn unseen(what: &'static str, error: &anyhow::Error) -> Self {
        Self::bad(what, format!("{error:#}"))
    }
}

/// Bytes as people read them.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// A folder as people read it.
fn shown(folder: &Path) -> std::path::Display<'_> {
    folder.display()
}
