//! What can be wrong with a model directory, or with what a model is asked to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use fulcrum_common::{source::CheckpointError, store::way_out};

/// Every error names the file, field or tensor at fault.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the model cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A model that was only outlined is asked to compute.
    #[error("{absent} weights of the model have not been read: it was only outlined")]
    Absent {
        /// How many.
        absent: usize,
    },
    /// A file of the model cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file, or a part of it, is longer than any honest one.
    #[error("{} has {bytes} bytes of {what}, more than the {limit} that are read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// `config.json` is not JSON, or a field has the wrong type.
    #[error("{} is no model configuration: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: serde_json::Error,
    },
    /// A field of `config.json`, or of an architecture from an experiment file, has a value that this
    /// program cannot follow.
    #[error("{field} = {value} of a model configuration is not supported: {reason}")]
    Field {
        /// The field, as Hugging Face names it.
        field: &'static str,
        /// Its value, as JSON.
        value: String,
        /// What is expected instead.
        reason: String,
    },
    /// The files that hold the weights are at fault.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor is not there.
    #[error("{} has no tensor {name:?}, which its config.json calls for", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor is there that has no place in the model.
    #[error(
        "{} has a tensor {name:?} that a model of its config.json does not have: are the two files of one model?",
        path.display()
    )]
    Extra {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor is there under two names, and the two must not differ.
    #[error("tensor {name:?} of {} differs from {other:?}, which must be the same", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The one.
        name: String,
        /// The other.
        other: String,
    },
    /// A tensor has another shape than the configuration gives it.
    #[error("tensor {name:?} of {} has shape {found:?}, but config.json makes it {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// By the configuration.
        expected: Vec<usize>,
    },
    /// A tensor holds numbers of a kind that is not read.
    #[error("tensor {name:?} of {} holds {found} numbers: convert them to F32, F16 or BF16", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// In the file.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor {name:?} of {} holds a number that is not finite: the model is broken, or its training diverged",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The family has no such head.
    #[error("a {family} model cannot end in {head}")]
    Head {
        /// The model type.
        family: &'static str,
        /// The head.
        head: String,
    },
    /// The model is asked for next tokens and has no output to the vocabulary.
    #[error("this {family} model does not end in a language model head: it gives no next tokens")]
    NoTokens {
        /// The model type.
        family: &'static str,
    },
    /// A new head cannot begin as it was told.
    #[error("a new head cannot begin so: {0}")]
    Init(String),
    /// A choice of parameters to train is empty, or names what is not there.
    #[error("these parameters cannot be chosen to be trained: {0}")]
    Trainable(String),
    /// A truncation keeps nothing, or more than there is.
    #[error("cannot keep the first {keep} layers of a model with {layers}: give a number from 1 to {layers}")]
    Layers {
        /// Layers wanted.
        keep: usize,
        /// Layers there.
        layers: usize,
    },
    /// Adapters do not fit the model, or were told what makes no sense.
    #[error("the adapters do not fit the model: {0}")]
    Adapter(String),
    /// `adapter_config.json` is not JSON, lacks a setting, or one has the wrong type.
    #[error("{} is no adapter configuration: {reason}", path.display())]
    AdapterConfig {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: serde_json::Error,
    },
    /// Adapters are set to compute what this program does not.
    #[error("{}: {field} = {value} is not supported: {reason}", path.display())]
    AdapterSetting {
        /// The file.
        path: PathBuf,
        /// The setting, as PEFT names it.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// The way out.
        reason: String,
    },
    /// The tensors of a batch do not fit the model or each other.
    #[error("the model cannot read this batch: {0}")]
    Batch(String),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    /// A [`ModelError::Write`]; where the operating system refused, with a way out.
    pub(crate) fn unwritten<E: std::error::Error + 'static>(path: &Path) -> impl FnOnce(E) -> Self {
        move |error| {
            let system = (&error as &dyn std::error::Error).downcast_ref::<io::Error>();
            let way_out = system.or_else(|| error.source()?.downcast_ref()).map_or("", way_out);
            Self::Write { path: path.to_owned(), reason: format!("{error}{way_out}") }
        }
    }

    /// A [`ModelError::Field`].
    pub(crate) fn field(field: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self::Field { field, value: value.to_string(), reason: reason.into() }
    }
}
