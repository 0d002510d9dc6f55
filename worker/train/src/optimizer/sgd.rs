//! Stochastic gradient descent with momentum (Sutskever et al. 2013, section 2), fused, with decoupled weight decay
//! (Loshchilov & Hutter 2019, algorithm 1).

use fulcrum_torch_shim::{self as shim, fused_sgd};
use tch::Tensor;

use super::{Piece, Rule};
use crate::{Error, schedule::setting};

/// One number per parameter where there is momentum, else nothing.
#[derive(Debug)]
pub(super) struct Sgd {
    constants: shim::Sgd,
    weight_decay: f64,
    decayed: Vec<Tensor>,
    parameters: Vec<Tensor>,
    gradients: Vec<Tensor>,
    directions: Vec<Tensor>,
}

impl Sgd {
    /// # Errors
    /// If a constant is out of range.
    pub(super) fn new(constants: shim::Sgd, weight_decay: f64, pieces: &[Piece]) -> Result<Self, Error> {
        let share = constants.momentum;
        setting("momentum", share, (0.0..1.0).contains(&share), "from 0 to below 1")?;
        let remembering = pieces.iter().filter(|_| share > 0.0);
        let directions = remembering.map(|piece| piece.parameter.f_zeros_like()).collect::<Result<_, _>>()?;
        let parameters = |piece: &Piece| piece.parameter.shallow_clone();
        Ok(Self {
            constants,
            weight_decay,
            decayed: pieces.iter().filter(|piece| piece.decays).map(parameters).collect(),
            parameters: pieces.iter().map(parameters).collect(),
            gradients: pieces.iter().map(|piece| piece.gradient.shallow_clone()).collect(),
            directions,
        })
    }
}

impl Rule for Sgd {
    fn update(&mut self, _number: u64, learning_rate: f64) -> Result<(), Error> {
        if self.weight_decay > 0.0 {
            for parameter in &mut self.decayed {
                let _ = parameter.f_mul_scalar_(1.0 - learning_rate * self.weight_decay)?;
            }
        }
        fused_sgd(&self.parameters, &self.gradients, &self.directions, learning_rate, &self.constants)?;
        Ok(())
    }

    fn memory(&self) -> Vec<(&'static str, &[Tensor])> {
        if self.directions.is_empty() { Vec::new() } else { vec![("momentum", &self.directions)] }
    }
}
