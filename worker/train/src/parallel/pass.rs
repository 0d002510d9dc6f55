//! A slot's way through the network in pieces, each of which is computed or not.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use fulcrum_models::{Model, Walk};
use tch::{Kind, Tensor};

use super::{Passed, Share};
use crate::{Error, memory};

/// A walk through the network, until memory is used up; none for a rank without a slot.
pub(super) struct Pass<'w> {
    walk: Option<Walk<'w>>,
    used_up: bool,
}

impl<'w> Pass<'w> {
    pub(super) fn new(model: &'w Model, share: Option<&Share>) -> Result<Self, Error> {
        let walk = |share: &Share| {
            let Share { padded, noise, .. } = share;
            model.walk(padded.given(), Some(noise))
        };
        Ok(Self { walk: share.map(walk).transpose()?, used_up: false })
    }

    /// Computes a piece, unless there is nothing to compute.
    pub(super) fn compute(
        &mut self,
        piece: impl FnOnce(&Walk<'w>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(walk) = &self.walk else { return Ok(()) };
        if memory::survive(|| piece(walk))?.is_none() {
            (self.walk, self.used_up) = (None, true);
        }
        Ok(())
    }

    pub(super) fn conclude(self, gave: Option<Tensor>) -> Passed {
        match gave {
            _ if self.used_up => Passed::OutOfMemory,
            Some(tensor) => Passed::Gave(tensor),
            None => Passed::Nothing,
        }
    }
}

/// A leaf with the value of `x`, which gathers the gradient that goes on from it.
pub(super) fn leaf(x_btd: &Tensor) -> Tensor {
    x_btd.detach().set_requires_grad(true)
}

/// The backward pass from `y`, whose gradient is known.
pub(super) fn backward_from(y_btd: &Tensor, gradient_btd: &Tensor) -> Result<(), Error> {
    // The gradient of this sum by `y` is that gradient to the bit: it is multiplied by one.
    Ok(y_btd.f_mul(&gradient_btd.detach())?.f_sum(Kind::Float)?.f_backward()?)
}
