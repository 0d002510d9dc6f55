//! What each kind of stage is told. Everything that changes the result is a field here, and nothing else is.
//!
//! Roles of inputs, and what each kind leaves in its artifact:
//!
//! | work | inputs | files | facts |
//! |---|---|---|---|
//! | prepare dataset | `model/0`, `model/1`, ... where long rows are dropped | `ground_truth.parquet`, `weak_labels.parquet`, `validation.parquet`, `test.parquet`, where it has rows `fresh.parquet`, and `split.json` | `rows/<part>`, `duplicates`, `dropped/pairs`, `dropped/duplicates`, `dropped/balance`, `dropped/over_long` |
//! | prepare corpus | - | `corpus.parquet` | `rows/corpus` |
//! | prepare rows | - | `rows.parquet` | `rows/rows`, `dropped/pairs` |
//! | prepare model | - | `config.json`, `model.safetensors`, `tokenizer.json` | `parameters` |
//! | prepare tokens | `model`, `data` | `tokens.bin`, `offsets.bin`, and `prompts.bin` for rows with prompts | `rows`, `tokens`, `truncated`; of pairs `sequences` too |
//! | prepare share | `data` | `<part>.parquet` | `rows/<part>` |
//! | prepare prompted | `data`, `model`, and `labels` where answers are not true | `<part>.parquet` | `rows/<part>`, `shots`, `shortened` |
//! | prepare head | `model` | a model as above | `parameters` |
//! | prepare features | `data` | `features-00000.f32`: f32, the vectors of a part's rows one after the other | `rows` |
//! | prepare images | `data` | `images.u8`: red, green and blue of each pixel of a part's rows | `rows`, `height`, `width` |
//! | infer features | `model`, `data`, `images` | `features-00000.f32`, ... | `rows` |
//! | prepare probe | `features`, or `model` of a network for images | `config.json`, `model.safetensors` | `parameters` |
//! | prepare revised | `data`, `labels` | `<part>.parquet`, and its labels in `part-00000.parquet` | `rows/<part>`, `rows` |
//! | train | `model`, `data`, `tokens` or `features`, and `labels` for weak labels | a model as above, `losses.jsonl`, `training.json`; before another span of steps, `state.bin` and `state.safetensors`, which that one has as `before`; of adapters, `adapter_config.json` and `adapter_model.safetensors` too | `parameters`, `steps` |
//! | infer | `model`, `data`, `tokens` or `features` | `part-00000.parquet`, ... | `rows`, `left_out`, `left_out/<row>` |
//! | infer completions | `model`, `data` | `part-00000.parquet`, ... | `rows`, `completions`, `cut` (prompts), `left_out`, `left_out/<row>` |
//! | merge average | `model/0`, `model/1`, ... | a model as above | `parameters` |
//! | merge predictions | `labels/0`, `labels/1`, ... | `part-00000.parquet` | `rows`, `left_out`, `left_out/<row>` |
//! | measure | `data`, and one per prediction | `results.json` | - |
//!
//! Row tables hold `row` (i64, position in the source), `text` (utf8) and, where known, `label` (i32), `group` (i64: rows
//! with the same number belong together), `prompt` (utf8: what is given before the text) and `other` (utf8: the second
//! text of a pair, which the label 1 prefers).

mod date;
mod format;
mod formatter;
mod infer;
mod measure;
mod parallel;
mod prepare;
mod revision;
mod source;
mod train;
mod vectors;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use date::*;
pub use format::*;
pub use formatter::*;
pub use infer::*;
pub use measure::*;
pub use parallel::*;
pub use prepare::*;
pub use revision::*;
pub use source::*;
pub use train::*;
pub use vectors::*;

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
    /// Rows for the rounds of a chain before its last.
    Fresh,
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
            Self::Fresh => "fresh",
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
