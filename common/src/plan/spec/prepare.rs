//! What is brought into the store.

use serde::{Deserialize, Serialize};

use super::{Format, Source, SplitRule};
use crate::Key;

/// What is brought into the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prepare {
    /// A labelled table, split into the four parts of an experiment.
    Dataset {
        /// Where the rows come from.
        source: Source,
        /// How a row becomes text and label.
        format: Format,
        /// Which rows go where.
        split: SplitRule,
    },
    /// Unlabelled text for language modelling.
    Corpus {
        /// Where the text comes from.
        source: Source,
    },
    /// A table taken whole, for one-off training and inference.
    Rows {
        /// Where the rows come from.
        source: Source,
        /// How a row becomes text and label.
        format: Format,
    },
    /// A pretrained checkpoint directory (location role `model`), optionally cut to its first layers.
    Model {
        /// BLAKE3 over the directory's `config.json`, `model.safetensors` and `tokenizer.json`, see `source::model_digest`.
        digest: Key,
        /// Keep only the first layers.
        layers: Option<usize>,
    },
    /// A decoder with seeded random weights and a character tokenizer.
    NewModel {
        /// Its shape.
        architecture: Architecture,
        /// Every character the tokenizer knows.
        alphabet: String,
        /// Seed of the weights.
        seed: u64,
    },
}

/// Shape of a decoder trained from scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
}

impl Architecture {
    /// What is believed of a model, from `config.json` and experiment file alike.
    pub const MOST_LAYERS: usize = 1 << 10;
    /// See [`Self::MOST_LAYERS`].
    pub const MOST_HIDDEN: usize = 1 << 17;
    /// See [`Self::MOST_LAYERS`].
    pub const MOST_HEADS: usize = 1 << 10;
    /// See [`Self::MOST_LAYERS`].
    pub const MOST_CONTEXT: usize = 1 << 22;
}
