//! What is minimized: the seam between the training loop and the published methods.
//!
//! Shape suffixes: b rows of a slot, t tokens, c classes, v vocabulary, n rows of the global batch.

use std::ops::Range;

use tch::Tensor;

use crate::Error;

/// A loss that is a sum of terms over the rows of the global batch. The loop divides by the number of
/// terms in the global batch, so the result does not depend on how rows lie in slots or on ranks.
pub trait Objective: Sync {
    /// How many terms a row adds to the sum of which a language model predicts `predicted` tokens: 1 for a classifier,
    /// those tokens for a language model. Every rank counts the whole global batch with it.
    fn terms(&self, predicted: usize) -> usize;

    /// Whether [`Slot::global`] must be there. It costs one forward pass more per step.
    fn wants_global_batch(&self) -> bool {
        false
    }

    /// The sum (not the mean) of the slot's terms: a scalar that carries gradient to [`Slot::logits`].
    ///
    /// # Errors
    /// If the slot lacks what the objective reads, or libtorch fails.
    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error>;
}

/// What an objective sees of one forward pass.
#[derive(Debug)]
pub struct Slot<'a> {
    /// f32 `[b, c]` from a classifier, `[b, t, v]` from a language model; carries gradient.
    pub logits: &'a Tensor,
    /// Token ids, i64 `[b, t]`, padded to the longest row of the slot.
    pub ids_bt: &'a Tensor,
    /// 1 for a token, 0 for padding, i64 `[b, t]`.
    pub mask_bt: &'a Tensor,
    /// 1 for a token that a language model predicts, i64 `[b, t]`: not the first of a row, and not of its prompt.
    pub predicted_bt: &'a Tensor,
    /// Hard (one-hot) or soft labels of the slot's rows, f32 `[b, c]`, where the examples have labels.
    pub targets_bc: Option<&'a Tensor>,
    /// Where the slot's rows stand in the global batch.
    pub rows: Range<usize>,
    /// The step, counted from 0.
    pub step: usize,
    /// How many steps the training has.
    pub steps: usize,
    /// The global batch, for objectives that ask for it.
    pub global: Option<&'a GlobalBatch>,
}

/// The model's view of the whole global batch before the step, in global row order; without gradient.
#[derive(Debug)]
pub struct GlobalBatch {
    /// f32 `[n, c]`, the same bytes on every rank.
    pub logits_nc: Tensor,
    /// f32 `[n, c]`, where the examples have labels.
    pub targets_nc: Option<Tensor>,
}
