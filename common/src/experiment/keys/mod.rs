//! The one table of all sections and keys: it gives the raw types their fields, the reader its
//! defaults and known names, and `docs/experiment.md` its text.

mod methods;
mod running;
mod task;

pub(super) use methods::*;
pub(super) use running::*;
pub(super) use task::*;

use super::{
    read::Table,
    value::{Fraction, NonNegative, OptimizerName, Positive, Share, Value},
};
use crate::plan::Schedule;

/// A section of the file, as read.
pub(super) trait Section: Sized {
    /// Dotted name; empty for the keys before the first header.
    const PATH: &'static str;

    /// Reads the keys; none if one of them is wrong (the table's log says which).
    fn read(table: &Table<'_>) -> Option<Self>;

    /// What the section is, for people.
    fn describe() -> Description;
}

/// A section for the reference and for guesses at misspelt keys.
pub(super) struct Description {
    pub path: &'static str,
    pub doc: &'static str,
    pub keys: Vec<KeyDescription>,
}

/// A key for the reference.
pub(super) struct KeyDescription {
    pub name: &'static str,
    pub kind: String,
    pub default: Default,
    pub doc: &'static str,
}

/// What holds where the file does not have a key.
pub(super) enum Default {
    /// Nothing: the key must be given.
    Required,
    /// A value, as one would write it.
    Value(String),
    /// What follows from other keys, in words.
    Words(&'static str),
}

/// Every section, in the order of the reference.
pub(super) fn all() -> Vec<Description> {
    [task::sections(), methods::sections(), running::sections()].into_iter().flatten().collect()
}

/// The value of a key, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field<T> {
    pub value: T,
    /// Line of the key; none for a default.
    pub line: Option<usize>,
}

group! {
    /// How a gradient becomes an update.
    Update {
        /// The rule: AdamW, stochastic gradient descent, or Adafactor, which remembers rows and columns of a matrix in
        /// place of its numbers. Weight decay is decoupled in all three.
        optimizer: OptimizerName = OptimizerName::AdamW;
        /// Of AdamW: decay rate of the gradient's running mean.
        beta1: Option<Fraction> = None, else "0.9 of `adamw`";
        /// Of AdamW: decay rate of the running mean of its square.
        beta2: Option<Fraction> = None, else "0.999 of `adamw`";
        /// Of AdamW: added to the root of that mean.
        epsilon: Option<Positive> = None, else "1e-8 of `adamw`";
        /// Of stochastic gradient descent: the share of the last direction that is kept.
        momentum: Option<Fraction> = None, else "0.9 of `sgd`";
        /// Of stochastic gradient descent: whether the gradient counts as if the momentum had been followed already.
        nesterov: Option<bool> = None, else "false of `sgd`";
        /// How the learning rate falls after the warm-up.
        schedule: Schedule = Schedule::Linear;
        /// Where a falling learning rate ends, as a share of its peak.
        floor: Share = Share(0.0);
        /// Matrices without weight decay, by Hugging Face name; `*` stands for any characters, e.g. `"*.wte.weight"`.
        /// Vectors (biases, gains of norms) never decay.
        no_decay: Vec<String> = Vec::new();
        /// Largest global norm of the gradient; 0 for no clipping.
        clip: NonNegative = NonNegative(1.0);
    }
}

/// The whole file, as read.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub top: Top,
    pub task: Task,
    pub split: Split,
    pub arithmetic: Arithmetic,
    pub mixture: Mixture,
    pub mates: MateInOne,
    pub models: Vec<Model>,
    pub pretrain: Pretrain,
    pub methods: Methods,
    pub naive: Naive,
    pub confidence: Confidence,
    pub kl: Kl,
    pub product: Product,
    pub entropy: Entropy,
    pub window: Window,
    pub generalized: Generalized,
    pub smoothing: Smoothing,
    pub made: Vec<Method>,
    pub train: Train,
    pub lora: Lora,
    pub grid: Grid,
    pub infer: Infer,
    pub parallel: Parallel,
    pub checkpoint: Checkpoint,
    pub cluster: Cluster,
    pub store: Store,
    pub report: Report,
}
