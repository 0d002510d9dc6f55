//! What is brought into the store.

use serde::{Deserialize, Serialize};

use super::{Format, HeadSpec, Part, ProbeHead, Revision, Shots, Source, SplitRule, View, train::is_default};
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
        /// Rows that the tokenizer of any of the inputs `model/0`, `model/1`, ... makes longer than this are left out.
        drop_over: Option<usize>,
        /// Whether the test rows are answers to questions, which are written down.
        #[serde(default, skip_serializing_if = "is_default")]
        questions: bool,
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
    /// Labels that stand in a column of a source: a probability for each class, of the rows of the input `data` that was
    /// made of the same source.
    SoftLabels {
        /// Where the rows come from.
        source: Source,
        /// The column.
        column: String,
        /// Classes.
        classes: usize,
    },
    /// A pretrained checkpoint directory (location role `model`), optionally with adapters merged into it (location
    /// role `adapter`), then optionally cut to its first layers.
    Model {
        /// BLAKE3 over the directory's configuration, weights and tokenizer files, see `source::model_digest`.
        digest: Key,
        /// Keep only the first layers.
        layers: Option<usize>,
        /// BLAKE3 over the adapters, see `source::adapter_digest`.
        adapter: Option<Key>,
    },
    /// A decoder with seeded random weights and a character tokenizer.
    NewModel {
        /// Its shape.
        architecture: Architecture,
        /// Every character the tokenizer knows.
        alphabet: String,
        /// Whether what it writes has an end, which it marks by the token that begins a text.
        #[serde(default, skip_serializing_if = "is_default")]
        ends: bool,
        /// Seed of the weights.
        seed: u64,
    },
    /// Every `of`-th row of a part of the input `data`, from the `index`-th on.
    Share {
        /// Rows that are read.
        part: Part,
        /// The first, from 0.
        index: usize,
        /// How many shares there are.
        of: usize,
    },
    /// A part of the input `data` and the labels that the input `labels` gives to its rows, as a student gets them.
    Revised {
        /// Rows that are read.
        part: Part,
        /// What becomes of them.
        revision: Revision,
    },
    /// A part of the input `data`, each text after others of the weak-label rows with their answers (few-shot prompting;
    /// Brown et al. 2020): the likeliest classes of the input `labels` where there is one, else the true ones. The
    /// tokenizer of the input `model` says how many fit.
    Prompted {
        /// Rows that are read.
        part: Part,
        /// How the others are chosen and laid out.
        shots: Shots,
        /// Sequences have this many tokens at most, and what the model takes.
        max_tokens: usize,
    },
    /// The input `model` with a head that nothing has trained.
    Head {
        /// The head, and how it begins.
        head: HeadSpec,
    },
    /// The rows of a part of the input `data` as token ids of the input `model`. Every training and inference of a
    /// model (or of what was made of it) over a part reads these same tokens.
    Tokens {
        /// Rows that are read.
        part: Part,
        /// Sequences are cut to this many tokens, and to what the model takes.
        max_tokens: usize,
        /// How a row's text is laid out.
        style: Style,
    },
    /// What a model sees of the rows of a part of the input `data`, where that are vectors. Every training and inference
    /// of the model over the part reads these same vectors.
    Features {
        /// Rows that are read.
        part: Part,
        /// What is seen of them.
        view: View,
    },
    /// The pixels of the rows of a part of the input `data`, which are images.
    Images {
        /// Rows that are read.
        part: Part,
        /// The files, which the data was made of too.
        source: Source,
    },
    /// A model that is nothing but a head over vectors as wide as those of the input `features`, or as those that the
    /// input `model` makes of images.
    Probe {
        /// What it begins with.
        head: ProbeHead,
    },
}

impl Prepare {
    /// The fact that counts the rows of a source that give no example: pairs whose texts are equal, or one empty.
    pub const DROPPED_PAIRS: &'static str = "dropped/pairs";
}

/// How the text of a row is laid out before it becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As it is, after its prompt where it has one.
    #[default]
    Plain,
    /// Two texts in a row, each a sequence of its own after the row's prompt. What is too long loses its beginning, so that
    /// the end of a dialogue stays.
    Pair,
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
