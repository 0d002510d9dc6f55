//! From the logits of a position to its token, and the logarithm of the probability with which it was drawn.
//!
//! The distribution is that of the usual order: logits over temperature, the `top_k` likeliest of them, of these the
//! likeliest that together hold `top_p` (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020,
//! section 3.1), and what is left normalized. Equally likely tokens go by their ids.

use std::cmp::Ordering;

use fulcrum_common::{plan::Sampling, rng::Rng};

use crate::Error;

/// How tokens are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    seed: u64,
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
}

/// Which draw it is: no other has this name, whoever makes it and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) row: i64,
    pub(super) sample: usize,
    /// Tokens of the completion before this one.
    pub(super) position: usize,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) token: i64,
    /// Natural logarithm, under the distribution that was drawn from. A greedy choice is certain, so its place is taken
    /// by the model's own distribution.
    pub(super) log_probability: f64,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling) -> Self {
        let Sampling { seed, temperature, top_k, top_p, .. } = *sampling;
        Self { seed, temperature, top_k, top_p }
    }

    /// Draws the token of a place from its logits, one per id.
    ///
    /// # Errors
    /// If a logit is not a number or infinite, or there is none at all. Minus infinity is a token that never comes.
    pub(super) fn choose(&self, logits: &[f32], place: Place) -> Result<Choice, Error> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !largest.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::Examples(
                "the model gives a logit that is not finite: its training diverged".into(),
            ));
        }
        if self.temperature == 0.0 {
            let token = logits.iter().position(|&logit| logit == largest).unwrap_or(0);
            let mass: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
            return Ok(Choice { token: token as i64, log_probability: -mass.ln() });
        }
        let exponent = |logit: f32| (f64::from(logit) - f64::from(largest)) / self.temperature;
        let weights: Vec<f64> = logits.iter().map(|&logit| exponent(logit).exp()).collect();
        let kept = self.kept(logits, &weights);
        let mass: f64 = kept.iter().map(|&id| weights[id]).sum();
        let purpose = format!("completion/{}/{}", place.row, place.sample);
        let target = Rng::new(self.seed, &purpose, place.position as u64).uniform() * mass;
        let token = pick(&kept, &weights, target);
        Ok(Choice { token: token as i64, log_probability: exponent(logits[token]) - mass.ln() })
    }

    /// The ids that may come, ascending.
    fn kept(&self, logits: &[f32], weights: &[f64]) -> Vec<usize> {
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        let order = |a: &usize, b: &usize| likelier(logits, *a, *b);
        if let Some(k) = self.top_k.filter(|&k| k < ids.len()) {
            ids.select_nth_unstable_by(k - 1, order);
            ids.truncate(k);
        }
        if self.top_p < 1.0 {
            // Summed by id, as the order among those selected is the library's own affair.
            ids.sort_unstable();
            let enough = self.top_p * ids.iter().map(|&id| weights[id]).sum::<f64>();
            let nucleus = nucleus(&mut ids, weights, enough, order);
            ids.truncate(nucleus);
        }
        ids.sort_unstable();
        ids
    }
}

/// Likelier first, then by id.
fn likelier(logits: &[f32], a: usize, b: usize) -> Ordering {
    logits[b].total_cmp(&logits[a]).then(a.cmp(&b))
}

/// Brings the likeliest ids to the front, in order; returns how many of them together weigh `enough`.
fn nucleus(
    ids: &mut [usize],
    weights: &[f64],
    enough: f64,
    order: impl Fn(&usize, &usize) -> Ordering + Copy,
) -> usize {
    // Most often few ids weigh nearly everything, so that the vocabulary need not be sorted.
    let mut front = 256;
    loop {
        front = front.min(ids.len());
        if front < ids.len() {
            ids.select_nth_unstable_by(front - 1, order);
        }
        ids[..front].sort_unstable_by(order);
        let mut weight = 0.0;
        let reached = ids[..front].iter().position(|&id| {
            weight += weights[id];
            weight >= enough
        });
        match reached {
            Some(last) => return last + 1,
            None if front == ids.len() => return front,
            None => front *= 16,
        }
    }
}

/// The first id at which the weights so far exceed `target`; by rounding it may be out of reach.
fn pick(kept: &[usize], weights: &[f64], target: f64) -> usize {
    let mut weight = 0.0;
    let reached = kept.iter().find(|&&id| {
        weight += weights[id];
        weight > target
    });
    let last = || kept.iter().rev().find(|&&id| weights[id] > 0.0);
    reached.or_else(last).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: Sampler = Sampler { seed: 3, temperature: 0.0, top_k: None, top_p: 1.0 };

    fn sampler(temperature: f64, top_k: Option<usize>, top_p: f64) -> Sampler {
        Sampler { temperature, top_k, top_p, ..GREEDY }
    }

    /// Logits of a vocabulary of `n`, some of them equal.
    fn logits(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, "logits", 0);
        (0..n).map(|_| (rng.normal() * 8.0).round() as f32 / 4.0).collect()
    }

    /// The distribution by its definition: everything sorted, nothing shifted.
    fn direct(sampler: &Sampler, logits: &[f32]) -> Vec<f64> {
        let scaled: Vec<f64> = logits.iter().map(|&z| f64::from(z) / sampler.temperature).collect();
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        ids.sort_by(|&a, &b| scaled[b].total_cmp(&scaled[a]).then(a.cmp(&b)));
        ids.truncate(sampler.top_k.unwrap_or(usize::MAX));
        let total: f64 = ids.iter().map(|&id| scaled[id].exp()).sum();
        let mut before = 0.0;
        ids.retain(|&id| {
            let kept = before < sampler.top_p * total;
            before += scaled[id].exp();
            kept
        });
        let total: f64 = ids.iter().map(|&id| scaled[id].exp()).sum();
        let mut probabilities = vec![0.0; logits.len()];
        ids.iter().for_each(|&id| probabilities[id] = scaled[id].exp() / total);
        probabilities
    }

    #[test]
    fn tokens_come_as_often_as_their_distribution_says_and_report_it() {
        let cases = [
            (1.0, None, 1.0),
            (0.7, Some(5), 1.0),
            (1.5, None, 0.8),
            (1.0, Some(9), 0.6),
            (2.0, Some(99), 1.0),
        ];
        for (temperature, top_k, top_p) in cases {
            let (sampler, logits) = (sampler(temperature, top_k, top_p), logits(20, 1));
            let expected = direct(&sampler, &logits);
            let n = 20_000;
            let mut counts = vec![0.0; logits.len()];
            for position in 0..n {
                let choice = sampler.choose(&logits, Place { row: 7, sample: 1, position }).unwrap();
                let probability = expected[choice.token as usize];
                assert!(
                    (choice.log_probability - probability.ln()).abs() < 1e-12,
                    "{choice:?} {probability}"
                );
                counts[choice.token as usize] += 1.0;
            }
            for (count, probability) in counts.iter().zip(&expected) {
                // Five standard deviations, and certainty where there is no chance.
                let deviation = 5.0 * (probability * (1.0 - probability) / f64::from(n as u32)).sqrt();
                assert!((count / n as f64 - probability).abs() <= deviation, "{count} {probability}");
            }
        }
    }

    #[test]
    fn a_large_vocabulary_has_the_same_nucleus_sorted_or_not() {
        for (top_k, top_p) in [(None, 0.9), (None, 0.999), (Some(700), 0.99), (Some(3000), 1.0)] {
            let (sampler, logits) = (sampler(4.0, top_k, top_p), logits(5000, 2));
            let weights: Vec<f64> = logits.iter().map(|&z| (f64::from(z) / 4.0).exp()).collect();
            let kept: Vec<usize> = sampler.kept(&logits, &weights);
            let expected = direct(&sampler, &logits);
            let expected: Vec<usize> = (0..5000).filter(|&id| expected[id] > 0.0).collect();
            assert_eq!(kept, expected);
        }
    }

    #[test]
    fn the_greedy_choice_is_the_first_of_the_likeliest_under_the_models_own_distribution() {
        let logits = [1.0f32, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        let choice = GREEDY.choose(&logits, Place { row: 0, sample: 0, position: 0 }).unwrap();
        let expected = 3.0 - (1f64.exp() + 2.0 * 3f64.exp() + 2f64.exp()).ln();
        assert_eq!(choice.token, 1);
        assert!((choice.log_probability - expected).abs() < 1e-12);
    }

    #[test]
    fn a_draw_is_named_by_row_sample_and_position_alone() {
        let logits = vec![0.0; 1 << 16];
        let draw = |seed, row, sample, position| {
            let sampler = Sampler { seed, ..sampler(1.0, None, 1.0) };
            sampler.choose(&logits, Place { row, sample, position }).unwrap().token
        };
        assert_eq!(draw(0, 1, 2, 3), draw(0, 1, 2, 3));
        let tokens =
            [draw(0, 0, 0, 0), draw(1, 0, 0, 0), draw(0, 1, 0, 0), draw(0, 0, 1, 0), draw(0, 0, 0, 1)];
        assert!((0..5).all(|i| (0..i).all(|j| tokens[i] != tokens[j])), "{tokens:?}");
    }

    #[test]
    fn logits_that_are_no_numbers_are_refused() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for logits in [&[0.0, nan][..], &[inf, 0.0], &[-inf, -inf], &[]] {
            for sampler in [GREEDY, sampler(1.0, Some(1), 0.5)] {
                let error = sampler.choose(logits, Place { row: 0, sample: 0, position: 0 }).unwrap_err();
                assert!(error.to_string().contains("not finite"), "{error}");
            }
        }
    }

    #[test]
    fn a_token_that_never_comes_never_comes() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        for position in 0..100 {
            for sampler in [sampler(1.0, None, 1.0), sampler(1e-300, None, 0.5), sampler(1e9, Some(2), 1.0)] {
                let choice = sampler.choose(&logits, Place { row: 0, sample: 0, position }).unwrap();
                assert_eq!(choice, Choice { token: 1, log_probability: 0.0 });
            }
        }
    }
}
