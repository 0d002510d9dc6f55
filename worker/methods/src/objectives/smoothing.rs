//! Label smoothing: a part of every label is given to all classes alike (Szegedy et al. 2016, section 7; here of soft labels).
//!
//! ```text
//! L = sum over rows of CE( f, (1 - amount) y + amount / C )    with C classes
//! ```

use fulcrum_train::{Error, Objective, Slot};
use tch::Tensor;

use super::{cross_entropy_sum, mixed, targets};

/// Cross-entropy on smoothed labels; one term per row.
#[derive(Clone, Copy, Debug)]
pub struct Smoothing {
    /// The part that goes to all classes.
    pub amount: f64,
}

impl Objective for Smoothing {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let labels_bc = targets(slot)?;
        let classes = labels_bc.size().last().copied().unwrap_or(1).max(1);
        let even_bc = labels_bc.f_full_like(1.0 / classes as f64)?;
        cross_entropy_sum(slot.logits()?, &mixed(labels_bc, &even_bc, self.amount)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn it_is_cross_entropy_on_labels_that_were_mixed_by_hand() {
        close(mean(&Smoothing { amount: 0.1 }, &weak_bc()), 0.713_029);
        let by_hand = weak_bc() * 0.9 + 0.05;
        close(mean(&Smoothing { amount: 0.1 }, &weak_bc()), mean(&super::super::CrossEntropy, &by_hand));
        close(mean(&Smoothing { amount: 0.0 }, &weak_bc()), 0.668_779);
    }

    #[test]
    fn the_gradient_is_probability_less_smoothed_label() {
        let expected = logits_bc().softmax(-1, tch::Kind::Float) - (weak_bc() * 0.9 + 0.05);
        same_gradient(&Smoothing { amount: 0.1 }, &expected);
    }
}
