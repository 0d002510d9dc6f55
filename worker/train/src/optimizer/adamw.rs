//! AdamW (Loshchilov & Hutter 2019, algorithm 2), fused.

use fulcrum_torch_shim::{self as shim, Moments, fused_adamw};
use tch::Tensor;

use super::{Piece, Rule};
use crate::{Error, schedule::setting};

/// Two running means per parameter: of the gradient and of its square.
#[derive(Debug)]
pub(super) struct AdamW {
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
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
    /// # Errors
    /// If a constant is out of range.
    pub(super) fn new(constants: shim::AdamW, pieces: &[Piece]) -> Result<Self, Error> {
        let shim::AdamW { beta1, beta2, epsilon, .. } = constants;
        for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
            setting(name, beta, (0.0..1.0).contains(&beta), "from 0 to below 1")?;
        }
        setting("epsilon", epsilon, epsilon > 0.0, "above 0")?;
        let mut groups = [constants, shim::AdamW { weight_decay: 0.0, ..constants }].map(Group::new);
        let (mut means, mut squares) = (Vec::new(), Vec::new());
        for Piece { parameter, gradient, decays } in pieces {
            let (mean, square) = (parameter.f_zeros_like()?, parameter.f_zeros_like()?);
            let group = &mut groups[usize::from(!decays)];
            group.parameters.push(parameter.shallow_clone());
            group.gradients.push(gradient.shallow_clone());
            group.moments.means.push(mean.shallow_clone());
            group.moments.squares.push(square.shallow_clone());
            means.push(mean);
            squares.push(square);
        }
        Ok(Self { means, squares, groups })
    }
}

impl Group {
    fn new(constants: shim::AdamW) -> Self {
        let moments = Moments { means: Vec::new(), squares: Vec::new() };
        Self { constants, parameters: Vec::new(), gradients: Vec::new(), moments }
    }
}

impl Rule for AdamW {
    fn update(&mut self, number: u64, learning_rate: f64) -> Result<(), Error> {
        for Group { constants, parameters, gradients, moments } in &self.groups {
            fused_adamw(parameters, gradients, moments, number, learning_rate, constants)?;
        }
        Ok(())
    }

    fn memory(&self) -> Vec<(&'static str, &[Tensor])> {
        vec![("means", &self.means), ("squares", &self.squares)]
    }
}
