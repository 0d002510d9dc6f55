//! A model over rows, without gradients, in batches of rows of about one length.
//!
//! Which rows make a batch follows from the lengths of the rows alone: the same rows give the same bytes, whoever runs
//! them and when. Other rows beside them change no more than rounding.
//!
//! Shape suffixes: b rows of a batch, t tokens, u tokens but the first, c classes, v vocabulary.

use fulcrum_common::plan::Head;
use fulcrum_models::Model;
use tch::{Kind, Tensor};

use crate::{Error, Examples, Monitor, Progress, batch::Padded};

/// How likely a language model holds a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbability {
    /// Tokens of the row; of a row with a prompt, those that follow it.
    pub tokens: usize,
    /// Natural logarithm, summed over all tokens but the first, or those of the prompt; 0 where none is left.
    pub log_probability: f64,
}

/// The probabilities that a classifier gives to the classes of each row.
///
/// # Errors
/// If the model is no classifier, a number is not finite, or the monitor cancels.
pub fn probabilities(
    model: &Model,
    examples: &Examples,
    batch_tokens: usize,
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<f32>>, Error> {
    if !matches!(model.head(), Some(Head::Classifier { .. })) {
        return Err(Error::Examples("only a classifier gives probabilities of classes".into()));
    }
    in_batches(examples, batch_tokens, monitor, |_, padded| {
        let logits_bc = model.forward(&padded.ids_bt, &padded.mask_bt)?;
        let probabilities_bc = Vec::<Vec<f32>>::try_from(logits_bc.f_softmax(-1, Kind::Float)?)?;
        let finite = probabilities_bc.iter().flatten().all(|probability| probability.is_finite());
        if finite { Ok(probabilities_bc) } else { Err(not_finite()) }
    })
}

/// The log-probability that a language model gives to each row.
///
/// # Errors
/// As [`probabilities`], for a language model.
pub fn log_probabilities(
    model: &Model,
    examples: &Examples,
    batch_tokens: usize,
    monitor: &dyn Monitor,
) -> Result<Vec<LogProbability>, Error> {
    if model.head() != Some(Head::LanguageModel) {
        return Err(Error::Examples("only a language model gives log-probabilities of texts".into()));
    }
    in_batches(examples, batch_tokens, monitor, |rows, padded| {
        let logits_btv = model.forward(&padded.ids_bt, &padded.mask_bt)?;
        let sums = Vec::<f64>::try_from(sums(&logits_btv, padded)?)?;
        if !sums.iter().all(|sum| sum.is_finite()) {
            return Err(not_finite());
        }
        let tokens = rows.iter().map(|&row| examples.length(row) - examples.prompt(row));
        let row = |(tokens, log_probability)| LogProbability { tokens, log_probability };
        Ok(tokens.zip(sums).map(row).collect())
    })
}

/// Log-probability of each row's predicted tokens, f64 `[b]`.
fn sums(logits_btv: &Tensor, padded: &Padded) -> Result<Tensor, Error> {
    let longest = padded.ids_bt.size()[1];
    let next_bu = padded.ids_bt.narrow(1, 1, longest - 1).to_device(logits_btv.device());
    let predicted_bu = padded.predicted_bt.narrow(1, 1, longest - 1).to_device(logits_btv.device());
    let log_buv = logits_btv.narrow(1, 0, longest - 1).f_log_softmax(-1, Kind::Float)?;
    let log_bu = log_buv.f_gather(2, &next_bu.unsqueeze(2), false)?.squeeze_dim(2).to_kind(Kind::Double);
    // What stands at padding is meaningless, so it is replaced, not multiplied: it may not be a number.
    let zero = Tensor::from(0f64).to_device(log_bu.device());
    let kept_bu = log_bu.f_where_self(&predicted_bu.eq(1), &zero)?;
    Ok(kept_bu.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?)
}

/// Runs every row in the batch of its length; results come back in the order of the rows.
fn in_batches<R>(
    examples: &Examples,
    batch_tokens: usize,
    monitor: &dyn Monitor,
    run: impl Fn(&[usize], &Padded) -> Result<Vec<R>, Error>,
) -> Result<Vec<R>, Error> {
    let batches = buckets(examples, batch_tokens)?;
    let mut results: Vec<Option<R>> = std::iter::repeat_with(|| None).take(examples.len()).collect();
    let mut done = 0;
    for (step, rows) in batches.iter().enumerate() {
        if monitor.cancelled() {
            return Err(Error::Cancelled { step });
        }
        let padded = examples.pad(rows, tch::Device::Cpu)?;
        let found = tch::no_grad(|| run(rows, &padded))?;
        for (&row, result) in rows.iter().zip(found) {
            results[row] = Some(result);
        }
        done += rows.len();
        monitor.progress(Progress { step: step + 1, steps: batches.len(), examples: done, loss: None });
    }
    let results: Option<Vec<R>> = results.into_iter().collect();
    results.ok_or_else(|| Error::Examples("a batch gave fewer results than it has rows".into()))
}

/// Rows of about one length in each batch, by (length, row), so that rows times the longest of them is at most
/// `batch_tokens`. A row that is longer than that has a batch of its own.
fn buckets(examples: &Examples, batch_tokens: usize) -> Result<Vec<Vec<usize>>, Error> {
    if batch_tokens == 0 {
        return Err(Error::Setting { name: "batch_tokens", value: 0.0, range: "at least 1" });
    }
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&row| (examples.length(row), row));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in order {
        match batches.last_mut() {
            // Rows come by length, so this one is the longest yet.
            Some(batch) if (batch.len() + 1) * examples.length(row) <= batch_tokens => batch.push(row),
            _ => batches.push(vec![row]),
        }
    }
    Ok(batches)
}

fn not_finite() -> Error {
    Error::Examples("the model gives a number that is not finite: its training diverged".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_rows_of_about_one_length_within_the_budget() {
        let lengths = [3, 9, 1, 3, 2, 40, 3];
        let examples = Examples::new(lengths.iter().map(|&length| vec![1; length]).collect(), 0).unwrap();
        let cases: [(usize, &[&[usize]]); 4] = [
            (1, &[&[2], &[4], &[0], &[3], &[6], &[1], &[5]]),
            (6, &[&[2, 4], &[0, 3], &[6], &[1], &[5]]),
            (15, &[&[2, 4, 0, 3, 6], &[1], &[5]]),
            (1000, &[&[2, 4, 0, 3, 6, 1, 5]]),
        ];
        for (budget, expected) in cases {
            assert_eq!(buckets(&examples, budget).unwrap(), expected, "{budget}");
        }
        assert!(buckets(&examples, 0).is_err());
    }
}
