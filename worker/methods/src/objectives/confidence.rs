//! The auxiliary confidence loss (Burns et al. 2023, section 4.3.2 and appendix A.4): the student is pulled towards its own
//! hardened predictions, more and more over the first part of the training.
//!
//! ```text
//! L       = sum over rows of CE( f, (1 - a) f_w + a f_hat )
//! f_hat   = 1[f > t]      the student's own class, without gradient
//! t       = a quantile of f over the global batch: the median, so that half of it becomes class 1 (balanced classes); or that
//!           above which the share of class 1 in the weak labels of the batch lies
//! a(step) = weight * min(1, (step / steps) / warmup)
//! ```
//!
//! where f is the student's probability of class 1 and f_w the weak label. The paper takes the median, and warms up over the
//! first 20 % of the steps, to 0.75 for its largest students and to 0.5 for others. The code that was released with it takes
//! the share of the weak labels, 0.5 for all, and a warm-up of 10 % that [jumps](Ramp).
//!
//! Of more than two classes each has a quantile of its own. With l_c the log-odds of class c against all others,
//!
//! ```text
//! f_hat = argmax over c of l_c - t_c      t_c = the quantile of l_c above which the class's share of the batch lies
//! ```
//!
//! where that share is 1 over the classes (balanced), or that of the weak labels. Of two classes it is the same as above.
//!
//! Shape suffixes: b rows of a slot, n rows of the global batch, c classes.

use fulcrum_train::{Error, GlobalBatch, Objective, Slot};
use tch::{Kind, Tensor};

use fulcrum_common::plan::Threshold;

use super::{Ramp, cross_entropy_sum, mixed, targets};

/// The auxiliary confidence loss; one term per row. It reads the whole global batch, on every rank the same.
#[derive(Clone, Copy, Debug)]
pub struct Confidence {
    /// The weight of the auxiliary term.
    pub ramp: Ramp,
    /// Where predictions are hardened.
    pub threshold: Threshold,
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
        let hard_nc = hardened(global, self.threshold)?;
        let hard_bc = hard_nc.f_narrow(0, slot.rows.start as i64, slot.rows.len() as i64)?;
        let weight = self.ramp.at(slot.step, slot.steps);
        cross_entropy_sum(slot.logits()?, &mixed(weak_bc, &hard_bc, weight)?)
    }
}

/// f_hat of every row of the global batch, one-hot.
fn hardened(global: &GlobalBatch, threshold: Threshold) -> Result<Tensor, Error> {
    let logits_nc = &global.logits_nc;
    let &[rows, classes] = logits_nc.size().as_slice() else {
        return Err(Error::Objective("the confidence loss needs a classifier".into()));
    };
    if rows < 2 {
        let reason = "the confidence loss needs a batch of at least 2 rows: of one, every quantile is its own prediction";
        return Err(Error::Objective(reason.into()));
    }
    let share = |class: i64| match threshold {
        Threshold::Median => Ok(1.0 / classes as f64),
        Threshold::Prior => {
            let weak_nc = global.targets_nc.as_ref();
            let weak_nc = weak_nc.ok_or_else(|| Error::Objective("the rows carry no labels".into()))?;
            Ok::<_, Error>(weak_nc.f_select(1, class)?.f_mean(Kind::Double)?.double_value(&[]))
        }
    };
    if classes != 2 {
        let hard = hardened_among(logits_nc, classes, share)?;
        let hard_nc = Tensor::from_slice(&hard).f_one_hot(classes)?.f_to_kind(Kind::Float)?;
        return Ok(hard_nc.f_to_device(logits_nc.device())?);
    }
    let share = share(1)?;
    // The log-odds z0 - z1 rise with the probability of class 0, so their quantiles split the batch where its own do;
    // and they still differ where it rounds to 1.
    let odds_n = logits_nc.f_select(1, 0)?.f_sub(&logits_nc.f_select(1, 1)?)?;
    let odds: Vec<f64> = Vec::try_from(odds_n.to_kind(Kind::Double).f_to_device(tch::Device::Cpu)?)?;
    let border = quantile(&odds, share);
    let hard: Vec<f32> =
        odds.iter().flat_map(|&odds| if odds < border { [0.0, 1.0] } else { [1.0, 0.0] }).collect();
    Ok(Tensor::from_slice(&hard).f_view([rows, 2])?.f_to_device(logits_nc.device())?)
}

/// The class of each row, among more than two.
fn hardened_among(
    logits_nc: &Tensor,
    classes: i64,
    share: impl Fn(i64) -> Result<f64, Error>,
) -> Result<Vec<i64>, Error> {
    let logits_nc = logits_nc.f_to_kind(Kind::Double)?.f_to_device(tch::Device::Cpu)?;
    let rows = logits_nc.size()[0] as usize;
    let (mut best, mut hard) = (vec![f64::NEG_INFINITY; rows], vec![0; rows]);
    for class in 0..classes {
        let others: Vec<i64> = (0..classes).filter(|other| *other != class).collect();
        let others_nc = logits_nc.f_index_select(1, &Tensor::from_slice(&others))?;
        let odds_n =
            logits_nc.f_select(1, class)?.f_sub(&others_nc.f_logsumexp([1i64].as_slice(), false)?)?;
        let odds: Vec<f64> = Vec::try_from(odds_n)?;
        let border = quantile(&odds, 1.0 - share(class)?);
        for (row, odds) in odds.into_iter().enumerate() {
            if odds - border > best[row] {
                (best[row], hard[row]) = (odds - border, class);
            }
        }
    }
    Ok(hard)
}

/// The value below which a share of the values lies, in a line between those beside it.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    if below == above { below } else { below + (above - below) * place.fract() }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    const PAPER: Confidence =
        Confidence { ramp: Ramp { weight: 0.75, warmup: 0.2, jumps: false }, threshold: Threshold::Median };
    const RELEASED: Confidence =
        Confidence { ramp: Ramp { weight: 0.5, warmup: 0.1, jumps: true }, threshold: Threshold::Prior };

    fn global(logits_nc: Tensor) -> GlobalBatch {
        GlobalBatch { logits_nc, targets_nc: None }
    }

    /// Mean loss of the specification's rows at a step of a hundred.
    fn mean(form: Confidence, weak_bc: &Tensor, step: usize) -> f64 {
        let global = GlobalBatch { targets_nc: Some(weak_bc.copy()), ..global(logits_bc()) };
        let (tokens, logits) = (Tokens::new(), logits_bc());
        let slot = Slot { step, steps: 100, global: Some(&global), ..tokens.slot(&logits, Some(weak_bc)) };
        form.loss(&slot).unwrap().double_value(&[]) / 4.0
    }

    #[test]
    fn the_test_vectors_of_the_specification_hold() {
        for (step, expected) in [(0, 0.668_779), (10, 0.506_591), (20, 0.344_404), (90, 0.344_404)] {
            close(mean(PAPER, &weak_bc(), step), expected);
        }
        close(mean(PAPER, &unbalanced_bc(), 20), 0.383_466);
        for (step, expected) in [(0, 0.668_779), (5, 0.657_966), (10, 0.647_154), (11, 0.452_529)] {
            close(mean(RELEASED, &weak_bc(), step), expected);
        }
        close(mean(RELEASED, &unbalanced_bc(), 50), 0.680_654);
        let mended = Confidence { ramp: Ramp { jumps: false, ..RELEASED.ramp }, ..RELEASED };
        for (step, expected) in [(5, 0.560_654), (10, 0.452_529)] {
            close(mean(mended, &weak_bc(), step), expected);
        }
    }

    #[test]
    fn half_of_the_global_batch_becomes_class_1() {
        let hard = hardened(&global(logits_bc()), Threshold::Median).unwrap();
        assert_eq!(
            Vec::<Vec<f32>>::try_from(hard).unwrap(),
            [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
        );
        // Confident to the point that f rounds to 1 in all rows.
        let sure = Tensor::from_slice2(&[[0.0f32, 90.0], [0.0, 50.0], [0.0, 70.0], [0.0, 60.0], [0.0, 80.0]]);
        let hard = hardened(&global(sure), Threshold::Median).unwrap();
        let classes: Vec<i64> = Vec::try_from(hard.argmax(1, false)).unwrap();
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
    fn a_batch_of_one_is_refused() {
        let error = |logits: Tensor| hardened(&global(logits), Threshold::Median).unwrap_err().to_string();
        assert!(error(Tensor::from_slice2(&[[1.0f32, 2.0]])).contains("at least 2 rows"));
        assert!(error(Tensor::from_slice2(&[[1.0f32, 2.0, 3.0]])).contains("at least 2 rows"));
    }

    #[test]
    fn the_rule_of_many_classes_is_that_of_two_where_there_are_two() {
        for (rows, share) in [(logits_bc(), 0.5), (logits_bc(), 0.3), (unbalanced_bc(), 0.7)] {
            let of_class = |class| Ok(if class == 1 { share } else { 1.0 - share });
            let found = hardened_among(&rows, 2, of_class).unwrap();
            let weak_nc = Tensor::from_slice(&[1.0 - share, share]).expand([4, 2], false);
            let global = GlobalBatch { targets_nc: Some(weak_nc), ..global(rows) };
            let two = hardened(&global, Threshold::Prior).unwrap().argmax(1, false);
            assert_eq!(found, Vec::<i64>::try_from(two).unwrap(), "{share}");
        }
    }

    #[test]
    fn each_of_many_classes_gets_its_share_though_the_student_names_one_for_all() {
        // The student leans to class 2 in every row; what else it says of a row is its place.
        let lean = |row: i64| [(row % 3 == 0) as i64 as f32, (row % 3 == 1) as i64 as f32, 5.0];
        let rows: Vec<[f32; 3]> = (0..12).map(lean).collect();
        let (logits, weak) = (Tensor::from_slice2(&rows), Tensor::from_slice(&[1f32, 1.0, 1.0]) / 3.0);
        for (threshold, targets_nc) in
            [(Threshold::Median, None), (Threshold::Prior, Some(weak.expand([12, 3], false)))]
        {
            let global = GlobalBatch { logits_nc: logits.copy(), targets_nc };
            let hard = hardened(&global, threshold).unwrap().argmax(1, false);
            let expected: Vec<i64> = (0..12).map(|row| row % 3).collect();
            assert_eq!(Vec::<i64>::try_from(hard).unwrap(), expected, "{threshold:?}");
        }
    }
}
