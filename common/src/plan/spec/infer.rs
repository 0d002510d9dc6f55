//! A run of a model over rows.

use serde::{Deserialize, Serialize};

use super::Part;

/// A run of a model over rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Infer {
    /// Rows that are read.
    pub part: Part,
    /// What is written per row.
    pub output: Output,
    /// Most tokens of a forward pass, padding counted; a row that is longer has one of its own.
    pub batch_tokens: usize,
    /// Rows per shard. Rows of about one length share a forward pass, within a shard only.
    pub shard: usize,
}

/// What inference writes per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// `row` (i64) and `probabilities` (list of f32, one per class).
    Probabilities,
    /// `row` (i64), `tokens` (i64) and `log_probability` (f64), summed over all tokens but the first. Of rows with a
    /// prompt both count what follows the prompt alone.
    LogProbability,
}

/// How completions are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Most tokens of a completion.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token (greedy).
    pub temperature: f64,
    /// Only this many of the likeliest tokens; none for all.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together hold this probability; 1 for all.
    pub top_p: f64,
    /// Completions end before any of these texts, beside the model's own end of text.
    pub stop: Vec<String>,
    /// Completions per prompt.
    pub samples: usize,
    /// Seed; the draw of a token is keyed by (seed, row, sample, position) alone.
    pub seed: u64,
}
