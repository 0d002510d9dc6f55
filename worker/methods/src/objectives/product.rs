//! The product loss: the target is the weak label times the student's own prediction, each to a power, so that both must agree
//! on a class for it to count (`product` of the code that was released with Burns et al. 2023; the paper has no word of it).
//!
//! ```text
//! L = sum over rows of CE( f, g ),   g_c proportional to y_c^alpha f_c^beta, without gradient
//! ```
//!
//! With beta = 0 it is the cross-entropy on labels to the power alpha.

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

use super::{cross_entropy_sum, targets};

/// The product loss; one term per row.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Power of the weak label.
    pub alpha: f64,
    /// Power of the student's own prediction.
    pub beta: f64,
}

impl Objective for Product {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let logits_bc = slot.logits()?;
        // In logarithms, where small numbers do not vanish; a class that the label rules out stays so.
        let weak_bc = targets(slot)?.f_log()?.f_mul_scalar(self.alpha)?;
        let own_bc = logits_bc.f_detach()?.f_log_softmax(-1, Kind::Float)?.f_mul_scalar(self.beta)?;
        cross_entropy_sum(logits_bc, &weak_bc.f_add(&own_bc)?.f_softmax(-1, Kind::Float)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    fn of(alpha: f64, beta: f64) -> f64 {
        mean(&Product { alpha, beta }, &weak_bc())
    }

    #[test]
    fn the_test_vectors_of_the_specification_hold() {
        close(of(1.0, 1.0), 0.393_845);
        close(of(1.0, 0.0), 0.668_779);
        close(of(0.5, 2.0), 0.303_197);
    }

    #[test]
    fn what_a_hard_label_rules_out_stays_ruled_out() {
        let hard = Tensor::from_slice2(&[[1.0f32, 0.0]; 4]);
        close(mean(&Product { alpha: 1.0, beta: 1.0 }, &hard), mean(&super::super::CrossEntropy, &hard));
    }

    #[test]
    fn no_gradient_flows_through_the_students_part_of_the_target() {
        let own = logits_bc().softmax(-1, Kind::Float);
        let both = &own * weak_bc();
        let target = &both / both.sum_dim_intlist(-1, true, Kind::Float);
        same_gradient(&Product { alpha: 1.0, beta: 1.0 }, &(own - target));
    }
}
