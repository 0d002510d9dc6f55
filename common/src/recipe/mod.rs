//! Recipes: what an experiment, or a single command, is compiled to.

mod one_off;
mod weak_to_strong;

pub use one_off::{Finetuning, infer, train};

use crate::{
    experiment::Experiment,
    plan::{Estimate, Plan},
    source::Sources,
};

/// Why something cannot be compiled although its description is sound: the outside does not fit it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// More layers are asked for than a checkpoint has.
    #[error(
        "model.layers = {asked} for {model:?}, but the checkpoint has {layers}: ask for fewer, or leave the key out"
    )]
    Layers {
        /// The model's name.
        model: String,
        /// Layers asked for.
        asked: usize,
        /// Layers there are.
        layers: usize,
    },
    /// The sources are those of another experiment.
    #[error("the source of model {model:?} was not resolved: resolve the sources of this experiment first")]
    Unresolved {
        /// The model's name.
        model: String,
    },
    /// Rows without labels can only train a language model.
    #[error(
        "{model} is no language model, so it needs labels to learn from: name the label column and its classes"
    )]
    NoLabel {
        /// The folder.
        model: String,
    },
    /// A checkpoint whose hidden states alone say nothing about a row.
    #[error("{model} is neither a classifier nor a language model: finetune it first with `fulcrum train`")]
    NoHead {
        /// The folder.
        model: String,
    },
}

/// Compiles an experiment to a plan whose last stage is its result.
///
/// # Errors
/// If the sources do not fit the experiment, e.g. a checkpoint has too few layers.
pub fn compile(experiment: &Experiment, sources: &Sources) -> Result<Plan, RecipeError> {
    weak_to_strong::compile(experiment, sources)
}

/// The cost of so many examples of at most `max_tokens` each.
fn estimate(examples: usize, max_tokens: usize) -> Estimate {
    let examples = examples as u64;
    Estimate { examples, tokens: examples.saturating_mul(max_tokens as u64) }
}
