//! What each kind of stage is told. Everything that changes the result is a field here, and nothing else is.
//!
//! Roles of inputs, and what each kind leaves in its artifact:
//!
//! | work | inputs | files | facts |
//! |---|---|---|---|
//! | prepare dataset | - | `ground_truth.parquet`, `weak_labels.parquet`, `validation.parquet`, `test.parquet`, `split.json` | `rows/<split>` |
//! | prepare corpus | - | `corpus.parquet` | `rows/corpus` |
//! | prepare rows | - | `rows.parquet` | `rows/rows` |
//! | prepare model | - | `config.json`, `model.safetensors`, `tokenizer.json` | `parameters` |
//! | train | `model`, `data`, and `labels` for weak labels | a model as above, `losses.jsonl` | `parameters`, `steps` |
//! | infer | `model`, `data` | `part-00000.parquet`, ... | `rows` |
//! | merge | `model/0`, `model/1`, ... | a model as above | `parameters` |
//! | measure | `data`, and one per prediction | `results.json` | - |
//!
//! Row tables hold `row` (i64, position in the source), `text` (utf8) and, where known, `label` (i32).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Key;

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Bring something from outside into the store. One worker.
    Prepare(Prepare),
    /// Finetune a model. A gang of workers in lockstep.
    Train(Train),
    /// Run a model over rows. Shards, leased one by one.
    Infer(Infer),
    /// Combine models. One worker.
    Merge(Merge),
    /// Compute numbers from predictions. One worker, no device.
    Measure(Measure),
}

impl Work {
    /// The word people read.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "prepare",
            Self::Train(_) => "train",
            Self::Infer(_) => "infer",
            Self::Merge(_) => "merge",
            Self::Measure(_) => "measure",
        }
    }
}

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

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Generated on the spot: claims such as `37+45=082`, right or nearly right, in a column `text`, with a column
    /// `label` that says `right` or `wrong`.
    Arithmetic(Arithmetic),
    /// One or more files (location roles `file/0`, `file/1`, ...), read in this order.
    Files {
        /// BLAKE3 of each file's bytes, with the name that decides its format.
        files: Vec<FileDigest>,
    },
}

/// One file of a [`Source::Files`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// File name without folders, e.g. `train.tsv.zst`: its endings name format and compression.
    pub name: String,
    /// BLAKE3 of the bytes as they lie on disk.
    pub digest: Key,
}

/// Parameters of `builtin:arithmetic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// How many rows to generate.
    pub rows: usize,
    /// Seed of the generator.
    pub seed: u64,
    /// Operands are below this.
    pub below: u32,
    /// For a corpus: the share of marks (right or wrong) that are flipped.
    pub noise: f64,
}

impl Arithmetic {
    /// Every character that claims and corpus lines are written in.
    pub const ALPHABET: &str = "0123456789+=TF";

    /// Operands are of two digits at most.
    pub const LARGEST_BELOW: u32 = 100;

    /// Tokens of a corpus line: the mark of the beginning, the nine characters of a claim, and its mark.
    pub const LINE_TOKENS: usize = 11;

    /// How many different claims there are: a right one for each pair of operands, and as many wrong ones at least.
    pub fn most_rows(&self) -> usize {
        2 * self.below as usize * self.below as usize
    }

    /// The values of the generated `label` column, in class order.
    pub const CLASSES: [&str; 2] = ["wrong", "right"];
}

/// How a source row becomes text and label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// A minijinja template over the row's columns.
    pub text: String,
    /// The column with the label; none where rows carry no label.
    pub label: Option<String>,
    /// The label values in class order, as text; a row with any other value is an error.
    pub classes: Vec<String>,
    /// Names of the columns of files without a header line; empty where the files name them.
    pub columns: Vec<String>,
    /// Rows with the same value of this column, or of this template, stay in one part of a split.
    pub group_by: Option<String>,
}

impl Format {
    /// The format of the rows that [`Source::Arithmetic`] generates.
    pub fn arithmetic() -> Self {
        Self {
            text: "{{ text }}".into(),
            label: Some("label".into()),
            classes: Arithmetic::CLASSES.map(str::to_owned).into(),
            columns: Vec::new(),
            group_by: None,
        }
    }

    /// The format of rows that only carry text, given by a template over their columns.
    pub fn unlabelled(text: &str) -> Self {
        Self { text: text.to_owned(), label: None, classes: Vec::new(), columns: Vec::new(), group_by: None }
    }
}

/// Which rows go where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRule {
    /// Rows for the weak supervisor.
    pub ground_truth: usize,
    /// Rows that the weak supervisor labels for the student; the ceiling trains on them too.
    pub weak_labels: usize,
    /// Rows held out during development.
    pub validation: usize,
    /// Rows that every model is tested on.
    pub test: usize,
    /// Largest share of one class in any part; rows of the majority are dropped at random beyond it.
    pub balance: f64,
    /// Seed of the assignment.
    pub seed: u64,
}

impl SplitRule {
    /// Rows over all parts.
    pub fn rows(&self) -> usize {
        self.ground_truth
            .saturating_add(self.weak_labels)
            .saturating_add(self.validation)
            .saturating_add(self.test)
    }
}

/// A part of a prepared table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Rows for the weak supervisor.
    GroundTruth,
    /// Rows that the weak supervisor labels.
    WeakLabels,
    /// Rows held out during development.
    Validation,
    /// Rows that every model is tested on.
    Test,
    /// Unlabelled text.
    Corpus,
    /// A whole table.
    Rows,
}

impl Part {
    /// The word used in file names and facts.
    pub fn word(self) -> &'static str {
        match self {
            Self::GroundTruth => "ground_truth",
            Self::WeakLabels => "weak_labels",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Corpus => "corpus",
            Self::Rows => "rows",
        }
    }

    /// The part's file in a prepared artifact.
    pub fn file(self) -> String {
        format!("{}.parquet", self.word())
    }

    /// The fact that counts the part's rows.
    pub fn fact(self) -> String {
        format!("rows/{}", self.word())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A finetuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// Rows that are trained on.
    pub part: Part,
    /// What the model ends in.
    pub head: Head,
    /// What is minimized.
    pub objective: Objective,
    /// How.
    pub optimizer: Optimizer,
    /// Sequences are cut to this many tokens.
    pub max_tokens: usize,
    /// Seed of the row order and of a fresh head.
    pub seed: u64,
}

/// What a model ends in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Next-token logits.
    LanguageModel,
    /// One logit per class.
    Classifier {
        /// Number of classes.
        classes: usize,
    },
}

/// What is minimized. Labels are the input `labels` (soft, from a weak supervisor) where the stage has one,
/// else the rows' own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Mean next-token cross-entropy.
    LanguageModel,
    /// Mean cross-entropy against hard or soft labels.
    CrossEntropy,
    /// The auxiliary confidence loss in paper form (Burns et al. 2023, section 4.3).
    Confidence {
        /// Largest weight of the auxiliary term.
        weight: f64,
        /// Share of the steps over which the weight rises from 0.
        warmup: f64,
    },
}

/// AdamW and its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// Passes over the rows.
    pub passes: usize,
    /// Rows per step over all workers.
    pub batch: usize,
    /// Rows per slot: one slot is one forward and backward pass.
    pub micro_batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Share of the steps over which the rate rises from 0.
    pub warmup: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; none for no clipping.
    pub clip: Option<f64>,
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// In a line that would reach zero one step after the last.
    #[default]
    Linear,
    /// Along half a cosine that would reach zero one step after the last.
    Cosine,
}

/// A run of a model over rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Infer {
    /// Rows that are read.
    pub part: Part,
    /// What is written per row.
    pub output: Output,
    /// Rows per forward pass.
    pub batch: usize,
    /// Rows per shard; a multiple of `batch`.
    pub shard: usize,
    /// Sequences are cut to this many tokens.
    pub max_tokens: usize,
}

/// What inference writes per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// `row` (i64) and `probabilities` (list of f32, one per class).
    Probabilities,
    /// `row` (i64), `tokens` (i64) and `log_probability` (f64), summed over all tokens but the first.
    LogProbability,
}

/// A combination of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The unweighted mean of every tensor.
    Average,
}

/// Numbers from predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Accuracy of every model of a weak-to-strong run, and the performance gap recovered.
    WeakToStrong {
        /// The models of the ladder, weakest first, as the report names them.
        ladder: Vec<String>,
        /// Every prediction and its place in the table.
        predictions: Vec<Prediction>,
        /// Draws of the bootstrap.
        draws: usize,
        /// Seed of the bootstrap.
        seed: u64,
    },
    /// Accuracy of one prediction on rows that carry labels.
    Accuracy {
        /// Rows that were predicted.
        part: Part,
    },
}

/// One prediction: the probabilities that one trained model gave to the test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The stage's input that holds it.
    pub input: String,
    /// The stage's input that holds the trained model (for its size).
    pub model: String,
    /// What the model is in the experiment.
    pub role: Role,
    /// Seed of the training.
    pub seed: u64,
}

/// What a trained model is in a weak-to-strong experiment. Names are those of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Trained on ground truth, first half.
    Weak {
        /// The model.
        model: String,
    },
    /// Trained on ground truth, second half.
    Ceiling {
        /// The model.
        model: String,
    },
    /// Trained on weak labels of the second half.
    Student {
        /// The method, e.g. `naive`.
        method: String,
        /// The supervisor.
        weak: String,
        /// The student.
        strong: String,
    },
}
