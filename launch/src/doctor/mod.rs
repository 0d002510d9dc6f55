//! Whether a machine is fit for runs: one finding for each thing that goes wrong in practice.

mod bucket;
mod hosts;
mod links;
mod machine;
mod storage;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use bucket::bucket;
pub(crate) use hosts::Elsewhere;
pub(crate) use links::{across, here};
pub(crate) use machine::{addresses, gpus, limits, processor, programs};
pub(crate) use storage::{shared, storage};

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The host; none for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// What was looked at.
    pub(crate) what: String,
    /// Whether that will do.
    pub(crate) verdict: Verdict,
    /// What was found, one line, with the way out where it will not do.
    pub(crate) said: String,
}

/// Whether something will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    fn new(what: &str, verdict: Verdict, said: impl Into<String>) -> Self {
        Self { host: None, what: what.to_owned(), verdict, said: said.into() }
    }

    fn good(what: &str, said: impl Into<String>) -> Self {
        Self::new(what, Verdict::Good, said)
    }

    fn doubtful(what: &str, said: impl Into<String>) -> Self {
        Self::new(what, Verdict::Doubtful, said)
    }

    fn bad(what: &str, said: impl Into<String>) -> Self {
        Self::new(what, Verdict::Bad, said)
    }

    /// What could not be looked at.
    fn unseen(what: &str, error: &anyhow::Error) -> Self {
        Self::bad(what, format!("{error:#}"))
    }

    /// The same of a host.
    fn of(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
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
