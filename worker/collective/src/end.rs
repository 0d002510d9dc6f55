//! How a gang ended, in one member's eyes.

use std::sync::OnceLock;

use crate::Error;

/// Why the gang is no more; the first reasons stand.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// This member aborted.
    aborted: OnceLock<String>,
    /// An operation failed.
    failed: OnceLock<String>,
}

impl End {
    /// This member aborts; false where it has before.
    pub(crate) fn abort(&self, reason: &str) -> bool {
        self.aborted.set(reason.to_owned()).is_ok()
    }

    /// An operation failed; returns what to say of it.
    pub(crate) fn fail(&self, operation: &'static str, rank: usize, reason: String) -> Error {
        let _ = self.failed.set(reason.clone());
        match self.aborted.get() {
            Some(reason) => Error::Aborted { rank, reason: reason.clone() },
            None => Error::Broken { operation, rank, reason },
        }
    }

    /// Whether the gang goes on, as far as this tells.
    pub(crate) fn check(&self, rank: usize) -> Result<(), Error> {
        match (self.aborted.get(), self.failed.get()) {
            (Some(reason), _) => Err(Error::Aborted { rank, reason: reason.clone() }),
            (None, Some(reason)) => Err(Error::Broken { operation: "health", rank, reason: reason.clone() }),
            (None, None) => Ok(()),
        }
    }
}
