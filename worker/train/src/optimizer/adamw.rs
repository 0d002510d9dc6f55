//! AdamW (Loshchilov & Hutter 2019, algorithm 2), fused.

use fulcrum_torch_shim::{self as shim, Moments, fused_adamw};
use tch::Tensor;

use super::{Piece, Rule, flat_like, views};
use crate::Error;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Two running means per parameter: of the gradient and of its square.
#[derive(Debug)]
pub(super) struct AdamW {
    means: Tensor,
    squares: Tensor,
    groups: [Group; 2],
}

/// The pieces that share their constants.
#[derive(Debug)]
struct Group {
    constants: shim::AdamW,
    parameters: Vec<Tensor>,
    gradients: Vec<Tensor>,
    moments: Moments,
}

impl AdamW {
    pub(super) fn new(weight_decay: f64, pieces: &[Piece]) -> Result<Self, Error> {
        let (means, squares) = (flat_like(pieces)?, flat_like(pieces)?);
        let group = |decays: bool| {
            let chosen = |tensors: Vec<Tensor>| {
                let members = tensors.into_iter().zip(pieces).filter(|(_, piece)| piece.decays == decays);
                members.map(|(tensor, _)| tensor).collect()
            };
            let of = |tensor: fn(&Piece) -> &Tensor| {
                chosen(pieces.iter().map(|piece| tensor(piece).shallow_clone()).collect())
            };
            let weight_decay = if decays { weight_decay } else { 0.0 };
            Group {
                constants: shim::AdamW { beta1: BETA1, beta2: BETA2, epsilon: EPSILON, weight_decay },
                parameters: of(|piece| &piece.parameter),
                gradients: of(|piece| &piece.gradient),
                moments: Moments {
                    means: chosen(views(&means, pieces)),
                    squares: chosen(views(&squares, pieces)),
                },
            }
        };
        let groups = [group(true), group(false)];
        Ok(Self { means, squares, groups })
    }
}

impl Rule for AdamW {
    fn update(&mut self, number: u64, learning_rate: f64) -> Result<(), Error> {
        for Group { constants, parameters, gradients, moments } in &self.groups {
            fused_adamw(parameters, gradients, moments, number, learning_rate, constants)?;
        }
        Ok(())
    }

    fn memory(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("means", &self.means), ("squares", &self.squares)]
    }
}
