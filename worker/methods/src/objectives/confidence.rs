//! The auxiliary confidence loss in paper form (Burns et al. 2023, section 4.3.2 and appendix A.4): the student is
//! pulled towards its own hardened predictions, more and more over the first part of the training.
//!
//! ```text
//! L       = sum over rows of CE( f, (1 - a) f_w + a f_hat )
//! f_hat   = 1[f > t]      the student's own class, without gradient
//! t       = median of f over the global batch: half of it becomes class 1 (balanced classes)
//! a(step) = weight * min(1, (step / steps) / warmup)
//! ```
//!
//! where f is the student's probability of class 1 and f_w the weak label. The paper warms up over the first 20 % of
//! the steps, to 0.75 for its largest students and to 0.5 for others.
//!
//! Shape suffixes: b rows of a slot, n rows of the global batch, c classes (two).

use fulcrum_train::{Error, GlobalBatch, Objective, Slot};
use tch::{Kind, Tensor};

use super::{cross_entropy_sum, targets};

/// The auxiliary confidence loss; one term per row. It reads the whole global batch, on every rank the same.
#[derive(Clone, Copy, Debug)]
pub struct Confidence {
    /// Largest weight of the auxiliary term, 0 to 1.
    pub weight: f64,
    /// Share of the steps over which the weight rises from 0.
    pub warmup: f64,
}

impl Confidence {
    /// The weight of the auxiliary term at a step.
    fn at(&self, step: usize, steps: usize) -> f64 {
        let done = step as f64 / steps as f64;
        if done < self.warmup { self.weight * done / self.warmup } else { self.weight }
    }
}

impl Objective for Confidence {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn wants_global_batch(&self) -> bool {
        true
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let weak_bc = targets(slot)?;
        let global = slot.global.ok_or_else(|| Error::Objective("the global batch is missing".into()))?;
        let hard_nc = hardened(global)?;
        let hard_bc = hard_nc.f_narrow(0, slot.rows.start as i64, slot.rows.len() as i64)?;
        let weight = self.at(slot.step, slot.steps);
        let target_bc = weak_bc.f_mul_scalar(1.0 - weight)?.f_add(&hard_bc.f_mul_scalar(weight)?)?;
        cross_entropy_sum(slot.logits()?, &target_bc)
    }
}

/// f_hat of every row of the global batch, one-hot.
fn hardened(global: &GlobalBatch) -> Result<Tensor, Error> {
    let logits_nc = &global.logits_nc;
    let &[rows, classes] = logits_nc.size().as_slice() else {
        return Err(Error::Objective("the confidence loss needs a classifier".into()));
    };
    if classes != 2 {
        return Err(Error::Objective(format!(
            "the confidence loss needs 2 classes, the model has {classes}"
        )));
    }
    if rows < 2 {
        let reason =
            "the confidence loss needs a batch of at least 2 rows: of one, the median is its own prediction";
        return Err(Error::Objective(reason.into()));
    }
    // The log-odds z1 - z0 rise with f, so their median splits the batch where that of f does;
    // and they still differ where f rounds to 1.
    let odds_n = logits_nc.f_select(1, 1)?.f_sub(&logits_nc.f_select(1, 0)?)?;
    let odds: Vec<f64> = Vec::try_from(odds_n.to_kind(Kind::Double).f_to_device(tch::Device::Cpu)?)?;
    let threshold = median(&odds);
    let hard: Vec<f32> =
        odds.iter().flat_map(|&d| if d > threshold { [0.0, 1.0] } else { [1.0, 0.0] }).collect();
    Ok(Tensor::from_slice(&hard).f_view([rows, 2])?.f_to_device(logits_nc.device())?)
}

/// The middle value; the mean of the two middle ones where their number is even.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    const PAPER: Confidence = Confidence { weight: 0.75, warmup: 0.2 };

    fn global(logits_nc: Tensor) -> GlobalBatch {
        GlobalBatch { logits_nc, targets_nc: None }
    }

    /// Mean loss of the specification's rows at a step of ten.
    fn mean(weak_bc: &Tensor, step: usize) -> f64 {
        let (tokens, logits, global) = (Tokens::new(), logits_bc(), global(logits_bc()));
        let slot = Slot { step, global: Some(&global), ..tokens.slot(&logits, Some(weak_bc)) };
        PAPER.loss(&slot).unwrap().double_value(&[]) / 4.0
    }

    #[test]
    fn the_test_vectors_of_the_specification_hold() {
        close(mean(&weak_bc(), 0), 0.668_779);
        close(mean(&weak_bc(), 1), 0.506_591);
        close(mean(&weak_bc(), 2), 0.344_404);
        close(mean(&weak_bc(), 9), 0.344_404);
        close(mean(&unbalanced_bc(), 2), 0.383_466);
    }

    #[test]
    fn half_of_the_global_batch_becomes_class_1() {
        let hard = hardened(&global(logits_bc())).unwrap();
        assert_eq!(
            Vec::<Vec<f32>>::try_from(hard).unwrap(),
            [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
        );
        // Confident to the point that f rounds to 1 in all rows.
        let sure = Tensor::from_slice2(&[[0.0f32, 90.0], [0.0, 50.0], [0.0, 70.0], [0.0, 60.0], [0.0, 80.0]]);
        let classes: Vec<i64> = Vec::try_from(hardened(&global(sure)).unwrap().argmax(1, false)).unwrap();
        assert_eq!(classes, [1, 0, 0, 0, 1]);
    }

    #[test]
    fn slots_of_a_batch_add_up_to_the_whole_batch() {
        let (tokens, global) = (Tokens::new(), global(logits_bc()));
        let loss = |rows: std::ops::Range<usize>| {
            let part = |tensor: Tensor| tensor.narrow(0, rows.start as i64, rows.len() as i64);
            let (logits, weak) = (part(logits_bc()), part(weak_bc()));
            let slot = Slot {
                rows: rows.clone(),
                step: 5,
                global: Some(&global),
                ..tokens.slot(&logits, Some(&weak))
            };
            PAPER.loss(&slot).unwrap().double_value(&[])
        };
        close(loss(0..1) + loss(1..3) + loss(3..4), loss(0..4));
    }

    #[test]
    fn no_gradient_flows_through_the_students_own_target() {
        let logits = logits_bc().set_requires_grad(true);
        let (tokens, weak, global) = (Tokens::new(), weak_bc(), global(logits.detach()));
        let slot = Slot { step: 2, global: Some(&global), ..tokens.slot(&logits, Some(&weak)) };
        PAPER.loss(&slot).unwrap().backward();
        let hard = Tensor::from_slice2(&[[1.0f32, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]);
        let expected = logits_bc().softmax(-1, Kind::Float) - (0.25 * weak_bc() + 0.75 * hard);
        assert!(logits.grad().allclose(&expected, 1e-6, 1e-6, false));
    }

    #[test]
    fn the_weight_rises_in_a_line_and_stays() {
        for (step, expected) in [(0, 0.0), (5, 0.1875), (10, 0.375), (20, 0.75), (21, 0.75), (99, 0.75)] {
            close(PAPER.at(step, 100), expected);
        }
        assert_eq!(Confidence { weight: 0.5, warmup: 0.0 }.at(0, 10), 0.5);
    }

    #[test]
    fn a_batch_of_one_and_a_third_class_are_refused() {
        let error = |logits: Tensor| hardened(&global(logits)).unwrap_err().to_string();
        assert!(error(Tensor::from_slice2(&[[1.0f32, 2.0]])).contains("at least 2 rows"));
        assert!(error(Tensor::from_slice2(&[[1.0f32, 2.0, 3.0]; 2])).contains("the model has 3"));
    }
}
