//! What can go wrong while a model trains or infers.

use tch::TchError;

/// A failure of training or inference.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The monitor asked to stop; nothing was lost that a rerun does not redo.
    #[error("cancelled after step {step}")]
    Cancelled {
        /// Steps that were finished.
        step: usize,
    },
    /// Steps in a row had a loss or a gradient that is infinite or not a number.
    #[error(
        "{skipped} steps in a row up to step {step} had no finite loss and gradient (loss {loss}): lower learning_rate, or set clip"
    )]
    NotFinite {
        /// The last of them, counted from 0.
        step: usize,
        /// How many.
        skipped: usize,
        /// The loss of the last.
        loss: f64,
    },
    /// A device does not hold a slot of one row.
    #[error(
        "out of memory at step {step} with slots of one row: shorten max_tokens, or shard the model over workers"
    )]
    Memory {
        /// The step, counted from 0.
        step: usize,
    },
    /// Groups of a gang that are no rows and columns of it.
    #[error("groups of {shards} shards and {copies} copies do not make up a gang of {world}")]
    Groups {
        /// Members of the gang.
        world: usize,
        /// Members that share.
        shards: usize,
        /// Members that hold copies.
        copies: usize,
    },
    /// The rule needs whole parameters, and no rank has them.
    #[error("{0:?} needs whole parameters: set parallel.strategy = \"data\", or another optimizer")]
    Sharded(fulcrum_common::plan::Rule),
    /// Sums cannot be exact over numbers that are rounded on their way.
    #[error("bf16 on the wire rounds what deterministic mode adds exactly: set parallel.wire = \"fp32\"")]
    Wire,
    /// The examples do not fit the request.
    #[error("{0}")]
    Examples(String),
    /// A file of tokens is not as a prepare stage leaves it.
    #[error("{}: {what}", path.display())]
    Tokens {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A hyperparameter is out of its range.
    #[error("{name} is {value}: it must be {range}")]
    Setting {
        /// The key, as in the experiment file.
        name: &'static str,
        /// The value.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// A pattern of what does not decay says nothing of this model.
    #[error("no_decay: {pattern:?} matches no name; the nearest are {nearest}")]
    NoDecay {
        /// The pattern.
        pattern: String,
        /// Names like it.
        nearest: String,
    },
    /// A state of an optimizer does not fit.
    #[error("{0}")]
    State(String),
    /// An objective lacks what it reads.
    #[error("{0}")]
    Objective(String),
    /// Nothing of the model would change.
    #[error("every parameter of the model is frozen: freeze fewer, or give it a head or adapters to train")]
    Frozen,
    /// There are no batches to train on.
    #[error(transparent)]
    Order(#[from] fulcrum_common::order::OrderError),
    /// The model refused a batch.
    #[error(transparent)]
    Model(#[from] fulcrum_models::ModelError),
    /// The gang lost a member, or a collective operation failed.
    #[error(transparent)]
    Collective(#[from] fulcrum_collective::Error),
    /// The parts of libtorch that tch lacks.
    #[error(transparent)]
    Shim(#[from] fulcrum_torch_shim::Error),
    /// A test made it fail.
    #[error(transparent)]
    Injected(#[from] fulcrum_common::fault::Injected),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// A file could not be written.
    #[error("cannot write {path}: {source}{}", fulcrum_common::store::way_out(source))]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether every rank of the gang comes to this error at the same step by itself.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Cancelled { .. } | Self::NotFinite { .. } | Self::Memory { .. })
    }
}
