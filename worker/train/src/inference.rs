//! A model over rows, without gradients, in fixed batches.
//!
//! Which rows make a batch follows from the range alone and padding from the batch's rows alone, so shards
//! whose start is a multiple of the batch give the same numbers in whatever number they are cut.
//!
//! Shape suffixes: b rows of a batch, t tokens, u tokens but the first, c classes, v vocabulary.

use std::ops::Range;

use fulcrum_common::plan::Head;
use fulcrum_models::Model;
use tch::{Kind, Tensor};

use crate::{Error, Examples, Monitor, Progress, batch::Padded};

/// How likely a language model holds a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbability {
    /// Tokens of the row.
    pub tokens: usize,
    /// Natural logarithm, summed over all tokens but the first; 0 for a row of one token.
    pub log_probability: f64,
}

/// The probabilities that a classifier gives to the classes of each row of a range.
///
/// # Errors
/// If the model is no classifier, the range is not within the examples, a number is not finite, or the
/// monitor cancels.
pub fn probabilities(
    model: &Model,
    examples: &Examples,
    rows: Range<usize>,
    batch: usize,
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<f32>>, Error> {
    if !matches!(model.head(), Some(Head::Classifier { .. })) {
        return Err(Error::Examples("only a classifier gives probabilities of classes".into()));
    }
    in_batches(examples, rows, batch, monitor, |_, padded| {
        let logits_bc = model.forward(&padded.ids_bt, &padded.mask_bt)?;
        let probabilities_bc = logits_bc.f_softmax(-1, Kind::Float)?;
        Ok(Vec::<Vec<f32>>::try_from(probabilities_bc)?)
    })?
    .into_iter()
    .map(|row| match row.iter().all(|probability| probability.is_finite()) {
        true => Ok(row),
        false => Err(not_finite()),
    })
    .collect()
}

/// The log-probability that a language model gives to each row of a range.
///
/// # Errors
/// As [`probabilities`], for a language model.
pub fn log_probabilities(
    model: &Model,
    examples: &Examples,
    rows: Range<usize>,
    batch: usize,
    monitor: &dyn Monitor,
) -> Result<Vec<LogProbability>, Error> {
    if model.head() != Some(Head::LanguageModel) {
        return Err(Error::Examples("only a language model gives log-probabilities of texts".into()));
    }
    in_batches(examples, rows, batch, monitor, |rows, padded| {
        let logits_btv = model.forward(&padded.ids_bt, &padded.mask_bt)?;
        let sums_b = sums(&logits_btv, padded)?;
        let tokens = rows.map(|row| examples.tokens(row).len());
        let row = |(tokens, log_probability)| LogProbability { tokens, log_probability };
        Ok(tokens.zip(Vec::<f64>::try_from(sums_b)?).map(row).collect())
    })?
    .into_iter()
    .map(|row| if row.log_probability.is_finite() { Ok(row) } else { Err(not_finite()) })
    .collect()
}

/// Log-probability of each row's tokens but the first, f64 `[b]`.
fn sums(logits_btv: &Tensor, padded: &Padded) -> Result<Tensor, Error> {
    let longest = padded.ids_bt.size()[1];
    let next_bu = padded.ids_bt.narrow(1, 1, longest - 1).to_device(logits_btv.device());
    let mask_bu = padded.mask_bt.narrow(1, 1, longest - 1).to_device(logits_btv.device());
    let log_buv = logits_btv.narrow(1, 0, longest - 1).f_log_softmax(-1, Kind::Float)?;
    let log_bu = log_buv.f_gather(2, &next_bu.unsqueeze(2), false)?.squeeze_dim(2).to_kind(Kind::Double);
    // What stands at padding is meaningless, so it is replaced, not multiplied: it may not be a number.
    let kept_bu = log_bu.f_where_self(&mask_bu.eq(1), &Tensor::from(0f64).to_device(log_bu.device()))?;
    Ok(kept_bu.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?)
}

fn in_batches<R>(
    examples: &Examples,
    rows: Range<usize>,
    batch: usize,
    monitor: &dyn Monitor,
    run: impl Fn(Range<usize>, &Padded) -> Result<Vec<R>, Error>,
) -> Result<Vec<R>, Error> {
    if batch == 0 {
        return Err(Error::Setting { name: "batch", value: 0.0, range: "at least 1" });
    }
    if rows.start > rows.end || rows.end > examples.len() {
        return Err(Error::Examples(format!(
            "rows {rows:?} are not within the {} there are",
            examples.len()
        )));
    }
    let steps = rows.len().div_ceil(batch);
    let mut results = Vec::with_capacity(rows.len());
    for step in 0..steps {
        if monitor.cancelled() {
            return Err(Error::Cancelled { step });
        }
        let start = rows.start + step * batch;
        let range = start..(start + batch).min(rows.end);
        let padded = examples.pad(&range.clone().collect::<Vec<_>>(), tch::Device::Cpu);
        results.extend(tch::no_grad(|| run(range, &padded))?);
        monitor.progress(Progress { step: step + 1, steps, examples: results.len(), loss: None });
    }
    Ok(results)
}

fn not_finite() -> Error {
    Error::Examples("the model gives a number that is not finite: its training diverged".into())
}
