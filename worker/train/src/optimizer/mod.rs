//! Optimizers: what they are told, and how they are driven.
//!
//! An optimizer knows [`Piece`]s, stretches of flat buffers of parameters and gradients, and nothing of models, ranks
//! or buckets. Once per step its driver sums the gradients over the gang, clips them ([`Clip`]) and calls
//! [`Optimizer::update`]. What it remembers between updates is handed out and taken back as [`State`].

mod adamw;
mod clip;
mod state;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use fulcrum_common::plan;
use tch::{Device, Kind, Tensor};

pub use clip::{Clip, norm};
pub use state::State;

use crate::{Error, schedule::setting};
use adamw::AdamW;

/// A stretch of parameters and its gradient: contiguous views of one shape into two flat buffers of f32. Rules that
/// work number by number take any stretch of any shape, so also the share of a rank.
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

    /// What it remembers, by name: flat tensors over all pieces in their order, which start as zeros.
    fn memory(&self) -> Vec<(&'static str, &Tensor)>;
}

impl Optimizer {
    /// Starts with an empty memory.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(settings: &plan::Optimizer, pieces: &[Piece]) -> Result<Self, Error> {
        let weight_decay = settings.weight_decay;
        setting("weight_decay", weight_decay, weight_decay >= 0.0, "0 or above")?;
        Ok(Self { rule: Box::new(AdamW::new(weight_decay, pieces)?), updates: 0 })
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

/// Zeros for every number of the pieces.
fn flat_like(pieces: &[Piece]) -> Result<Tensor, Error> {
    let length: usize = pieces.iter().map(|piece| piece.parameter.numel()).sum();
    let device = pieces.first().map_or(Device::Cpu, |piece| piece.parameter.device());
    Ok(Tensor::f_zeros([length as i64], (Kind::Float, device))?)
}

/// The parts of a flat tensor that belong to the pieces, in their order and shapes.
fn views(flat: &Tensor, pieces: &[Piece]) -> Vec<Tensor> {
    let mut at = 0;
    let view = |piece: &Piece| {
        let length = piece.parameter.numel() as i64;
        at += length;
        flat.narrow(0, at - length, length).view_as(&piece.parameter)
    };
    pieces.iter().map(view).collect()
}
