//! Optimizers: what they are told, and how they are driven.
//!
//! An optimizer knows [`Piece`]s, stretches of flat buffers of parameters and gradients, and nothing of models, ranks
//! or buckets. Once per step its driver sums the gradients over the gang, clips them ([`Clip`]) and calls
//! [`Optimizer::update`]. What it remembers between updates is handed out and taken back as [`State`].

mod adafactor;
mod adamw;
mod clip;
mod decay;
#[cfg(test)]
mod parity;
mod sgd;
mod state;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use fulcrum_common::plan;
use fulcrum_torch_shim as shim;
use tch::Tensor;

pub use clip::{Clip, norm};
pub(crate) use decay::Decay;
pub use state::State;

use crate::{Error, schedule::setting};
use adafactor::Adafactor;
use adamw::AdamW;
use sgd::Sgd;

/// A stretch of parameters and its gradient: contiguous views of one shape into two flat buffers of f32. Rules that
/// are elementwise take any stretch, so also the share of a rank; others one whole parameter in its own shape.
#[derive(Debug)]
pub struct Piece {
    /// Updated in place.
    pub parameter: Tensor,
    /// Read by every update.
    pub gradient: Tensor,
    /// Whether weight decay applies.
    pub decays: bool,
}

/// A rule at work on its pieces.
#[derive(Debug)]
pub struct Optimizer {
    rule: Box<dyn Rule>,
    updates: u64,
}

/// How an update follows from the gradients before it. Whoever implements it holds the pieces and what it remembers
/// of them.
trait Rule: Debug {
    /// The update of this number, counted from 1.
    fn update(&mut self, number: u64, learning_rate: f64) -> Result<(), Error>;

    /// What it remembers, by name: contiguous tensors of f32, in the order of the pieces that they belong to.
    fn memory(&self) -> Vec<(&'static str, &[Tensor])>;
}

impl Optimizer {
    /// Starts with an empty memory.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(settings: &plan::Optimizer, pieces: &[Piece]) -> Result<Self, Error> {
        let weight_decay = settings.weight_decay;
        setting("weight_decay", weight_decay, weight_decay >= 0.0, "0 or above")?;
        let rule: Box<dyn Rule> = match settings.rule {
            plan::Rule::AdamW { beta1, beta2, epsilon } => {
                let constants = shim::AdamW { beta1, beta2, epsilon, weight_decay };
                Box::new(AdamW::new(constants, pieces)?)
            }
            plan::Rule::Sgd { momentum, nesterov } => {
                Box::new(Sgd::new(shim::Sgd { momentum, nesterov }, weight_decay, pieces)?)
            }
            plan::Rule::Adafactor => Box::new(Adafactor::new(weight_decay, pieces)?),
        };
        Ok(Self { rule, updates: 0 })
    }

    /// One update of all parameters from their gradients.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn update(&mut self, learning_rate: f64) -> Result<(), Error> {
        self.updates += 1;
        tch::no_grad(|| self.rule.update(self.updates, learning_rate))
    }
}
