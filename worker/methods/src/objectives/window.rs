//! The confidence window: only rows that the student is not sure of yet teach it, so that it does not unlearn what it knows
//! (`window` of EleutherAI/w2s).
//!
//! ```text
//! L = sum over rows with max_c f_c < 1/2 + radius of CE( f, y )
//! ```
//!
//! It is divided by all rows of the batch, so that surer batches move the student less.

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

use super::{cross_entropy_sum, targets};

/// Cross-entropy of rows within the window; one term per row, within or not.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How much above one half the student's largest probability may be.
    pub radius: f64,
}

impl Objective for Window {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let (logits_bc, labels_bc) = (slot.logits()?, targets(slot)?);
        let sure_b1 = logits_bc.f_detach()?.f_softmax(-1, Kind::Float)?.f_amax([-1i64], true)?;
        let within_b1 = sure_b1.f_lt(0.5 + self.radius)?.f_to_kind(labels_bc.kind())?;
        cross_entropy_sum(logits_bc, &labels_bc.f_mul(&within_b1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn the_test_vector_of_the_specification_holds() {
        close(mean(&Window { radius: 0.15 }, &weak_bc()), 0.191_089);
    }

    #[test]
    fn a_window_of_everything_is_cross_entropy_and_one_of_nothing_is_nothing() {
        close(mean(&Window { radius: 0.51 }, &weak_bc()), 0.668_779);
        close(mean(&Window { radius: 0.0 }, &weak_bc()), 0.0);
    }

    #[test]
    fn rows_outside_of_it_have_no_gradient() {
        let within = Tensor::from_slice2(&[[0.0f32], [1.0], [0.0], [0.0]]);
        let expected = (logits_bc().softmax(-1, Kind::Float) - weak_bc()) * within;
        same_gradient(&Window { radius: 0.15 }, &expected);
    }
}
