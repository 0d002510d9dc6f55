//! `training.json`: what became of a training beside its model, so that two of them can be compared.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{Error, StepLoss, checkpoint::Files, losses::digits};

/// What a training came to; the same on every rank but for its `state`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trained {
    /// Of every step.
    #[serde(skip)]
    pub losses: Vec<StepLoss>,
    /// Updates of the optimizer; steps that were skipped do not count.
    pub updates: u64,
    /// Digest of what the optimizer remembered in the end, by name and number: whoever held which.
    #[serde(serialize_with = "digits")]
    pub optimizer: u64,
    /// What the training goes on from, where this was a stretch of it with more to come; of rank 0 alone.
    #[serde(skip)]
    pub state: Option<Files>,
}

impl Trained {
    /// Writes everything but the losses, as JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string(self).map_err(std::io::Error::from);
        text.and_then(|text| fs::write(path, text + "\n"))
            .map_err(|source| Error::Write { path: path.to_owned(), source })
    }
}
