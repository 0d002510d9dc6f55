//! What the published methods minimize: one file per objective, each with its formula and source.

mod confidence;
mod cross_entropy;
mod language_model;

pub use confidence::Confidence;
pub use cross_entropy::CrossEntropy;
use fulcrum_train::{Error, Objective, Slot};
pub use language_model::LanguageModel;
use tch::{Kind, Tensor};

/// The objective that a plan names.
pub fn objective(plan: fulcrum_common::plan::Objective) -> Box<dyn Objective> {
    use fulcrum_common::plan::Objective as Named;
    match plan {
        Named::LanguageModel => Box::new(LanguageModel),
        Named::CrossEntropy => Box::new(CrossEntropy),
        Named::Confidence { weight, warmup } => Box::new(Confidence { weight, warmup }),
    }
}

/// The labels of a slot.
fn targets<'a>(slot: &Slot<'a>) -> Result<&'a Tensor, Error> {
    slot.targets_bc.ok_or_else(|| Error::Objective("the rows carry no labels".into()))
}

/// The sum over rows of CE(p, q) = -sum_c q_c ln p_c, with p the softmax of the logits and q the targets.
fn cross_entropy_sum(logits_bc: &Tensor, targets_bc: &Tensor) -> Result<Tensor, Error> {
    if logits_bc.size() != targets_bc.size() {
        let (found, expected) = (targets_bc.size(), logits_bc.size());
        let message = format!("labels of shape {found:?} for logits of shape {expected:?}");
        return Err(Error::Objective(message));
    }
    let log_p_bc = logits_bc.f_log_softmax(-1, Kind::Float)?;
    Ok(log_p_bc.f_mul(targets_bc)?.f_sum(Kind::Float)?.f_neg()?)
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

    pub(super) fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
    }

    #[test]
    fn every_objective_of_a_plan_has_its_counterpart() {
        use fulcrum_common::plan::Objective as Named;
        assert_eq!(objective(Named::LanguageModel).terms(5), 5);
        assert_eq!(objective(Named::CrossEntropy).terms(5), 1);
        let confidence = objective(Named::Confidence { weight: 0.75, warmup: 0.2 });
        assert_eq!((confidence.terms(5), confidence.wants_global_batch()), (1, true));
    }
}
