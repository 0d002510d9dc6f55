//! The divergence of the weak labels from the student: cross-entropy less the entropy of the labels. Its gradient is that of the
//! cross-entropy; its value is zero where the student says what its labels say (`kl` of EleutherAI/weak-to-strong).
//!
//! ```text
//! L = sum over rows of KL( y || f ) = sum over rows and classes c of y_c ( ln y_c - ln f_c )
//! ```

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

use super::{cross_entropy_sum, targets};

/// Kullback-Leibler divergence from the student to its labels; one term per row.
#[derive(Clone, Copy, Debug)]
pub struct Divergence;

impl Objective for Divergence {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let labels_bc = targets(slot)?;
        // y ln y is 0 where y is.
        let entropy = labels_bc.f_special_entr()?.f_sum(Kind::Float)?;
        Ok(cross_entropy_sum(slot.logits()?, labels_bc)?.f_sub(&entropy)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn the_test_vector_of_the_specification_holds() {
        close(mean(&Divergence, &weak_bc()), 0.141_438);
    }

    #[test]
    fn it_is_nothing_where_the_student_agrees_and_cross_entropy_where_labels_are_hard() {
        close(mean(&Divergence, &logits_bc().softmax(-1, Kind::Float)), 0.0);
        let hard = Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]);
        close(mean(&Divergence, &hard), mean(&super::super::CrossEntropy, &hard));
    }

    #[test]
    fn its_gradient_is_that_of_the_cross_entropy() {
        same_gradient(&Divergence, &(logits_bc().softmax(-1, Kind::Float) - weak_bc()));
    }
}
