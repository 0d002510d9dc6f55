//! The confidence loss without hardening: a growing share of the target is the student's own prediction as it is, which makes it
//! surer of whatever it leans to (`entropy` of EleutherAI/w2s).
//!
//! ```text
//! L       = sum over rows of CE( f, (1 - a) y + a f ),   the f of the target without gradient
//! a(step) = weight * min(1, (step / steps) / warmup)
//! ```

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

use super::{Ramp, cross_entropy_sum, mixed, targets};

/// The entropy variant of the confidence loss; one term per row.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// How much of the target is the student's own.
    pub ramp: Ramp,
}

impl Objective for Entropy {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let logits_bc = slot.logits()?;
        let own_bc = logits_bc.f_detach()?.f_softmax(-1, Kind::Float)?;
        cross_entropy_sum(logits_bc, &mixed(targets(slot)?, &own_bc, self.ramp.at(slot.step, slot.steps))?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    fn entropy(weight: f64) -> Entropy {
        Entropy { ramp: Ramp { weight, warmup: 0.0, jumps: false } }
    }

    #[test]
    fn the_test_vector_of_the_specification_holds() {
        close(mean(&entropy(0.5), &weak_bc()), 0.544_699);
        close(mean(&entropy(0.0), &weak_bc()), 0.668_779);
    }

    #[test]
    fn the_students_own_part_pulls_nowhere() {
        let expected = (logits_bc().softmax(-1, Kind::Float) - weak_bc()) * 0.5;
        same_gradient(&entropy(0.5), &expected);
    }
}
