//! What the published methods minimize: one file per objective, each with its formula and source.

mod confidence;
mod cross_entropy;
mod entropy;
mod generalized;
mod kl;
mod language_model;
mod product;
mod ramp;
mod smoothing;
mod window;

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

pub use confidence::Confidence;
pub use cross_entropy::CrossEntropy;
pub use entropy::Entropy;
pub use generalized::Generalized;
pub use kl::Divergence;
pub use language_model::LanguageModel;
pub use product::Product;
pub use ramp::Ramp;
pub use smoothing::Smoothing;
pub use window::Window;

/// The objective that a plan names.
pub fn objective(plan: fulcrum_common::plan::Objective) -> Box<dyn Objective> {
    use fulcrum_common::plan::Objective as Named;
    match plan {
        Named::LanguageModel => Box::new(LanguageModel),
        Named::CrossEntropy => Box::new(CrossEntropy),
        Named::Confidence { weight, warmup, threshold, jumps } => {
            Box::new(Confidence { ramp: Ramp { weight, warmup, jumps }, threshold })
        }
        Named::Divergence => Box::new(Divergence),
        Named::Product { alpha, beta } => Box::new(Product { alpha, beta }),
        Named::Entropy { weight, warmup } => {
            Box::new(Entropy { ramp: Ramp { weight, warmup, jumps: false } })
        }
        Named::Window { radius } => Box::new(Window { radius }),
        Named::Generalized { q } => Box::new(Generalized { q }),
        Named::Smoothing { amount } => Box::new(Smoothing { amount }),
    }
}

/// The labels of a slot.
fn targets<'a>(slot: &Slot<'a>) -> Result<&'a Tensor, Error> {
    slot.targets_bc.ok_or_else(|| Error::Objective("the rows carry no labels".into()))
}

/// The sum over rows of CE(p, q) = -sum_c q_c ln p_c, with p the softmax of the logits and q the targets.
fn cross_entropy_sum(logits_bc: &Tensor, targets_bc: &Tensor) -> Result<Tensor, Error> {
    fitting(logits_bc, targets_bc)?;
    let log_p_bc = logits_bc.f_log_softmax(-1, Kind::Float)?;
    Ok(log_p_bc.f_mul(targets_bc)?.f_sum(Kind::Float)?.f_neg()?)
}

/// # Errors
/// If labels are not of the shape of the logits.
fn fitting(logits_bc: &Tensor, targets_bc: &Tensor) -> Result<(), Error> {
    let (found, expected) = (targets_bc.size(), logits_bc.size());
    if found == expected {
        return Ok(());
    }
    Err(Error::Objective(format!("labels of shape {found:?} for logits of shape {expected:?}")))
}

/// A target that is the second in part.
fn mixed(first_bc: &Tensor, second_bc: &Tensor, share: f64) -> Result<Tensor, Error> {
    Ok(first_bc.f_mul_scalar(1.0 - share)?.f_add(&second_bc.f_mul_scalar(share)?)?)
}

#[cfg(test)]
mod tests {
    use fulcrum_train::Output;

    use super::*;

    /// Four rows of logits of the specification's test vectors.
    pub(super) fn logits_bc() -> Tensor {
        Tensor::from_slice2(&[[2.0f32, -1.0], [0.5, 0.2], [-0.3, 0.9], [-1.5, 1.0]])
    }

    /// Their weak labels.
    pub(super) fn weak_bc() -> Tensor {
        Tensor::from_slice2(&[[0.9f32, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    }

    /// Weak labels that lean to class 0.
    pub(super) fn unbalanced_bc() -> Tensor {
        Tensor::from_slice2(&[[0.95f32, 0.05], [0.6, 0.4], [0.8, 0.2], [0.45, 0.55]])
    }

    /// Tokens and mask of four rows, which classifier objectives do not look at.
    pub(super) struct Tokens {
        pub(super) ids_bt: Tensor,
        pub(super) mask_bt: Tensor,
    }

    impl Tokens {
        pub(super) fn new() -> Self {
            let shape = [4, 1];
            Self {
                ids_bt: Tensor::zeros(shape, (Kind::Int64, tch::Device::Cpu)),
                mask_bt: Tensor::ones(shape, (Kind::Int64, tch::Device::Cpu)),
            }
        }

        /// The first step of ten, without a global batch.
        pub(super) fn slot<'a>(&'a self, logits: &'a Tensor, targets_bc: Option<&'a Tensor>) -> Slot<'a> {
            let rows = 0..logits.size()[0] as usize;
            let (ids_bt, mask_bt) = (&self.ids_bt, &self.mask_bt);
            let (predicted_bt, output) = (mask_bt, Output::Logits(logits));
            Slot { output, ids_bt, mask_bt, predicted_bt, targets_bc, rows, step: 0, steps: 10, global: None }
        }
    }

    /// Mean loss of the specification's rows with these labels.
    pub(super) fn mean(objective: &dyn Objective, targets_bc: &Tensor) -> f64 {
        let (tokens, logits) = (Tokens::new(), logits_bc());
        objective.loss(&tokens.slot(&logits, Some(targets_bc))).unwrap().double_value(&[]) / 4.0
    }

    /// Holds the gradient of the specification's logits to another.
    pub(super) fn same_gradient(objective: &dyn Objective, expected_bc: &Tensor) {
        let (tokens, logits) = (Tokens::new(), logits_bc().set_requires_grad(true));
        objective.loss(&tokens.slot(&logits, Some(&weak_bc()))).unwrap().backward();
        assert!(logits.grad().allclose(expected_bc, 1e-6, 1e-6, false), "{} {expected_bc}", logits.grad());
    }

    pub(super) fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
    }

    #[test]
    fn every_objective_of_a_plan_has_its_counterpart() {
        use fulcrum_common::plan::Objective as Named;
        assert_eq!(objective(Named::LanguageModel).terms(5), 5);
        assert_eq!(objective(Named::CrossEntropy).terms(5), 1);
        let (threshold, jumps) = (fulcrum_common::plan::Threshold::Median, false);
        let confidence = objective(Named::Confidence { weight: 0.75, warmup: 0.2, threshold, jumps });
        assert_eq!((confidence.terms(5), confidence.wants_global_batch()), (1, true));
        let others = [
            (Named::Divergence, 0.141_438),
            (Named::Product { alpha: 1.0, beta: 1.0 }, 0.393_845),
            (Named::Entropy { weight: 0.5, warmup: 0.0 }, 0.544_699),
            (Named::Window { radius: 0.15 }, 0.191_089),
            (Named::Generalized { q: 0.7 }, 0.425_648),
            (Named::Smoothing { amount: 0.1 }, 0.713_029),
        ];
        for (named, expected) in others {
            let it = objective(named);
            assert_eq!((it.terms(5), it.wants_global_batch()), (1, false));
            close(mean(&*it, &weak_bc()), expected);
        }
    }
}
