//! Cross-entropy against hard or soft labels: ground truth, and the naive method of Burns et al. 2023 (section 3),
//! which trains the student on the weak supervisor's soft labels as they are.
//!
//! ```text
//! L = sum over rows of CE(f, y) = - sum over rows and classes c of y_c ln f_c
//! ```
//!
//! Shape suffixes: b rows of a slot, c classes.

use fulcrum_train::{Error, Objective, Slot};
use tch::Tensor;

use super::{cross_entropy_sum, targets};

/// Cross-entropy of a classifier; one term per row.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        cross_entropy_sum(slot.logits()?, targets(slot)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn the_test_vectors_of_the_specification_hold() {
        close(mean(&CrossEntropy, &weak_bc()), 0.668_779);
        close(mean(&CrossEntropy, &unbalanced_bc()), 0.825_029);
    }

    #[test]
    fn a_hard_label_costs_the_log_probability_of_its_class() {
        // -ln softmax of class 0: ln(1 + e^(z1 - z0)) for z1 - z0 = -3, -0.3, 1.2, 2.5.
        let by_hand = [-3.0f64, -0.3, 1.2, 2.5].map(|d| (1.0 + d.exp()).ln()).iter().sum::<f64>() / 4.0;
        close(mean(&CrossEntropy, &Tensor::from_slice2(&[[1.0f32, 0.0]; 4])), by_hand);
    }

    #[test]
    fn the_gradient_is_probability_less_label() {
        same_gradient(&CrossEntropy, &(logits_bc().softmax(-1, tch::Kind::Float) - weak_bc()));
    }

    #[test]
    fn rows_without_labels_or_with_labels_of_other_classes_are_refused() {
        let (tokens, logits) = (Tokens::new(), logits_bc());
        assert!(
            CrossEntropy.loss(&tokens.slot(&logits, None)).unwrap_err().to_string().contains("no labels")
        );
        let three = Tensor::from_slice2(&[[1.0f32, 0.0, 0.0]; 4]);
        assert!(
            CrossEntropy
                .loss(&tokens.slot(&logits, Some(&three)))
                .unwrap_err()
                .to_string()
                .contains("[4, 3]")
        );
    }
}
