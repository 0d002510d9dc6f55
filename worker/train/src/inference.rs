//! A model over rows, without gradients, in batches of rows of about one length.
//!
//! Which rows make a batch follows from the lengths of the rows alone: the same rows give the same bytes, whoever runs
//! them and when. Other rows beside them change no more than rounding.
//!
//! Shape suffixes: b rows of a batch, t tokens, n predicted tokens of a batch, d residual width, c classes,
//! v vocabulary.

use fulcrum_common::{fault::point, plan::Head};
use fulcrum_models::Model;
use tch::Kind;

use crate::{Error, Examples, Monitor, Progress, batch::Padded, objective::predictions, pairs};

/// Logits that are held at a time, 32 MiB: of more tokens the matrix product is not faster.
const LOGITS: usize = 1 << 23;

/// How likely a language model holds a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbability {
    /// Tokens of the row; of a row with a prompt, those that follow it.
    pub tokens: usize,
    /// Natural logarithm, summed over all tokens but the first, or those of the prompt; 0 where none is left.
    pub log_probability: f64,
}

/// The probabilities that a classifier gives to the classes of each row, those that are left out aside.
///
/// # Errors
/// If the model is no classifier, a number is not finite, or the monitor cancels.
pub fn probabilities(
    model: &Model,
    examples: &Examples,
    batch_tokens: usize,
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<f32>>, Error> {
    if pairs::classes(model.head()).is_none() {
        return Err(Error::Examples("only a classifier or a reward gives probabilities of classes".into()));
    }
    pairs::check(model.head(), examples)?;
    let found = in_batches(examples, batch_tokens, monitor, |_, padded| {
        let logits_bc = pairs::logits(model.head(), &model.logits(padded.given())?)?;
        let probabilities_bc = Vec::<Vec<f32>>::try_from(logits_bc.f_softmax(-1, Kind::Float)?)?;
        Ok(probabilities_bc)
    })?;
    let finite = found.iter().flatten().all(|probability| probability.is_finite());
    if finite { Ok(found) } else { Err(not_finite()) }
}

/// The log-probability that a language model gives to each row, those that are left out aside.
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
    if examples.paired() {
        return Err(Error::Examples("log-probabilities are of single texts, and the rows are pairs".into()));
    }
    let found = in_batches(examples, batch_tokens, monitor, |rows, padded| {
        let logs = predicted(model, padded)?;
        let mut logs = logs.into_iter();
        let result = |&row: &usize| LogProbability {
            tokens: examples.length(row) - examples.prompt(row),
            log_probability: logs.by_ref().take(examples.predicted(row)).sum(),
        };
        Ok(rows.iter().map(result).collect())
    })?;
    let finite = found.iter().all(|found: &LogProbability| found.log_probability.is_finite());
    if finite { Ok(found) } else { Err(not_finite()) }
}

/// Log-probabilities of the predicted tokens of a batch, row after row. Only the states before them go through the
/// vocabulary, and so many at a time that memory stays bounded.
fn predicted(model: &Model, padded: &Padded) -> Result<Vec<f64>, Error> {
    let (before_n, next_n) = predictions(&padded.ids_bt, &padded.predicted_bt)?;
    let [before_n, next_n] = [before_n, next_n].map(|places_n| places_n.to_device(model.device()));
    let states_nd =
        model.states(&padded.ids_bt, &padded.mask_bt)?.f_flatten(0, 1)?.f_index_select(0, &before_n)?;
    let chunk = (LOGITS / model.vocab_size()).max(1) as i64;
    let mut logs = Vec::with_capacity(before_n.numel());
    // Splitting nothing gives one empty part.
    for (states_nd, next_n) in states_nd.f_split(chunk, 0)?.iter().zip(next_n.f_split(chunk, 0)?) {
        let logits_nv = model.unembed(states_nd)?;
        let next_n = logits_nv.f_gather(1, &next_n.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?;
        let whole_n = logits_nv.f_logsumexp([1i64].as_slice(), false)?;
        let log_n = next_n.f_to_kind(Kind::Double)?.f_sub(&whole_n.f_to_kind(Kind::Double)?)?;
        logs.extend(Vec::<f64>::try_from(log_n)?);
    }
    Ok(logs)
}

/// Runs every row in the batch of its length; results come back in the order of the rows. A batch of which every row is
/// left out is not run.
fn in_batches<R>(
    examples: &Examples,
    batch_tokens: usize,
    monitor: &dyn Monitor,
    run: impl Fn(&[usize], &Padded) -> Result<Vec<R>, Error>,
) -> Result<Vec<R>, Error> {
    point("infer.begin")?;
    let mut batches = buckets(examples, batch_tokens)?;
    batches.retain(|rows| !rows.iter().all(|&row| examples.is_blank(row)));
    let mut results: Vec<Option<R>> = std::iter::repeat_with(|| None).take(examples.len()).collect();
    let mut done = 0;
    for (step, rows) in batches.iter().enumerate() {
        if monitor.cancelled() {
            return Err(Error::Cancelled { step });
        }
        point("infer.batch")?;
        let padded = examples.pad(rows, tch::Device::Cpu)?;
        let found = tch::no_grad(|| run(rows, &padded))?;
        for (&row, result) in rows.iter().zip(found) {
            results[row] = Some(result);
        }
        done += rows.len();
        monitor.progress(Progress { step: step + 1, steps: batches.len(), examples: done, loss: None });
    }
    point("infer.end")?;
    let results = results.into_iter().enumerate().filter(|(row, _)| !examples.is_blank(*row));
    let results: Option<Vec<R>> = results.map(|(_, result)| result).collect();
    results.ok_or_else(|| Error::Examples("a batch gave fewer results than it has rows".into()))
}

/// Rows of about one length in each batch, by (length, row), so that rows times the longest of them is at most
/// `batch_tokens`. A row that is longer than that has a batch of its own.
fn buckets(examples: &Examples, batch_tokens: usize) -> Result<Vec<Vec<usize>>, Error> {
    if batch_tokens == 0 {
        return Err(Error::Setting { name: "batch_tokens", value: 0.0, range: "at least 1" });
    }
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&row| (examples.longest(row), row));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in order {
        match batches.last_mut() {
            // Rows come by length, so this one is the longest yet.
            Some(batch) if examples.padded_tokens(row, batch.len() + 1) <= batch_tokens => batch.push(row),
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
