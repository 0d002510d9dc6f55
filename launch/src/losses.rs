//! The losses that a training leaves beside its model.

use anyhow::{Context, Result};
use fulcrum_common::store::{Manifest, Store};
use serde::Deserialize;

/// The file of a trained model's artifact that has them.
const LOSSES: &str = "losses.jsonl";

/// One step of a training.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct StepLoss {
    /// From 0.
    pub(crate) step: u64,
    /// Mean over the batch, before the step's update; none where it was not finite.
    pub(crate) loss: Option<f64>,
    /// The step's.
    pub(crate) learning_rate: f64,
}

/// The losses of a training that is done, in the order of its steps.
///
/// # Errors
/// If the artifact has none, or they are damaged.
pub(crate) async fn read(store: &Store, made: &Manifest) -> Result<Vec<StepLoss>> {
    let bytes = store.read(made, LOSSES).await?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let losses = lines.map(serde_json::from_slice).collect::<Result<_, serde_json::Error>>();
    losses.with_context(|| format!("{LOSSES} of {} is not what a training writes", made.name))
}
