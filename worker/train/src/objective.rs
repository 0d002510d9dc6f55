//! What is minimized: the seam between the training loop and the published methods.
//!
//! Shape suffixes: b rows of a slot, t tokens, d residual width, c classes, v vocabulary, p predicted tokens, n rows of the
//! global batch.

use std::ops::Range;

use fulcrum_models::Model;
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

    /// The sum (not the mean) of the slot's terms: a scalar that carries gradient to [`Slot::output`].
    ///
    /// # Errors
    /// If the slot lacks what the objective reads, or libtorch fails.
    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error>;
}

/// What an objective sees of one forward pass.
#[derive(Debug)]
pub struct Slot<'a> {
    /// What the model gave; carries gradient.
    pub output: Output<'a>,
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

impl<'a> Slot<'a> {
    /// Logits f32 `[b, c]` of a classifier, or `[b, 1]` of a reward.
    ///
    /// # Errors
    /// If the model is a language model.
    pub fn logits(&self) -> Result<&'a Tensor, Error> {
        match self.output {
            Output::Logits(logits_bc) => Ok(logits_bc),
            Output::Speech(_) => {
                Err(Error::Objective("classification needs a model with a classifier head".into()))
            }
        }
    }

    /// What a language model says next.
    ///
    /// # Errors
    /// If the model is none.
    pub fn speech(&self) -> Result<Speech<'a>, Error> {
        match self.output {
            Output::Speech(speech) => Ok(speech),
            Output::Logits(_) => {
                Err(Error::Objective("language modelling needs a model with a language model head".into()))
            }
        }
    }
}

/// What a model gives at the end of a forward pass.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// f32, of a classifier or a reward.
    Logits(&'a Tensor),
    /// Of a language model.
    Speech(Speech<'a>),
}

/// A language model before its logits: those of a large vocabulary are too many to have at once.
#[derive(Clone, Copy, Debug)]
pub struct Speech<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its states `[b, t, d]`.
    pub states_btd: &'a Tensor,
    /// By what the loop multiplies the objective's sum: one over the terms of the global batch.
    pub factor: f64,
}

impl Speech<'_> {
    /// The sum over the tokens that are predicted (`ids_bt` and `predicted_bt` as in [`Slot`]) of the negative logarithm of
    /// their probability. It goes into the objective's sum as it is: see [`Model::cross_entropy`].
    ///
    /// # Errors
    /// If ids and states do not fit each other.
    pub fn cross_entropy(&self, ids_bt: &Tensor, predicted_bt: &Tensor) -> Result<Tensor, Error> {
        let (before_p, next_p) = predictions(ids_bt, predicted_bt)?;
        let states_pd = self.states_btd.f_flatten(0, 1)?.f_index_select(0, &before_p)?;
        Ok(self.model.cross_entropy(&states_pd, &next_p, self.factor)?)
    }
}

/// The tokens that are predicted, row after row, and where the states before them are among all rows' tokens; both
/// i64 `[p]`.
///
/// # Errors
/// If the two do not fit each other.
pub(crate) fn predictions(ids_bt: &Tensor, predicted_bt: &Tensor) -> Result<(Tensor, Tensor), Error> {
    let at_p = predicted_bt.f_flatten(0, 1)?.f_nonzero()?.f_squeeze_dim(1)?;
    let next_p = ids_bt.f_flatten(0, 1)?.f_index_select(0, &at_p)?;
    // No row predicts its first token, so the place before is one of the same row.
    Ok((at_p.f_sub_scalar(1)?, next_p))
}

/// The model's view of the whole global batch before the step, in global row order; without gradient.
#[derive(Debug)]
pub struct GlobalBatch {
    /// f32 `[n, c]`, the same bytes on every rank.
    pub logits_nc: Tensor,
    /// f32 `[n, c]`, where the examples have labels.
    pub targets_nc: Option<Tensor>,
}
