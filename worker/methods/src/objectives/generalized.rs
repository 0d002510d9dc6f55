//! Generalized cross-entropy, between cross-entropy (q towards 0) and mean absolute error (q = 1), which labels that are wrong
//! pull at less (Zhang and Sabuncu 2018, equation 6; over soft labels, its mean under them).
//!
//! ```text
//! L = sum over rows and classes c of y_c (1 - f_c^q) / q
//! ```

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

use super::{fitting, targets};

/// Generalized cross-entropy; one term per row.
#[derive(Clone, Copy, Debug)]
pub struct Generalized {
    /// Above 0, at most 1.
    pub q: f64,
}

impl Objective for Generalized {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let (logits_bc, labels_bc) = (slot.logits()?, targets(slot)?);
        fitting(logits_bc, labels_bc)?;
        // 1 - f^q = -(e^(q ln f) - 1), which small q do not cancel in.
        let log_f_bc = logits_bc.f_log_softmax(-1, Kind::Float)?;
        let cost_bc = log_f_bc.f_mul_scalar(self.q)?.f_special_expm1()?.f_div_scalar(-self.q)?;
        Ok(cost_bc.f_mul(labels_bc)?.f_sum(Kind::Float)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    fn of(q: f64) -> f64 {
        mean(&Generalized { q }, &weak_bc())
    }

    #[test]
    fn it_goes_from_cross_entropy_to_absolute_error() {
        assert!((of(1e-5) - 0.668_779).abs() < 1e-5);
        close(of(0.7), 0.425_648);
        let missed: Tensor = (1.0 - logits_bc().softmax(-1, Kind::Float)) * weak_bc();
        close(of(1.0), missed.sum(Kind::Float).double_value(&[]) / 4.0);
    }

    #[test]
    fn its_gradient_is_that_of_the_cross_entropy_times_the_probability_to_the_power() {
        let f = logits_bc().softmax(-1, Kind::Float);
        let pulled = weak_bc() * f.pow_tensor_scalar(0.7);
        let expected = &f * pulled.sum_dim_intlist(-1, true, Kind::Float) - pulled;
        same_gradient(&Generalized { q: 0.7 }, &expected);
    }
}
