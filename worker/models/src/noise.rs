//! Noise in training: dropout whose draws are named, so that they depend on nothing but the names.
//!
//! Shape suffixes: b rows, t tokens, d width of what is dropped from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fulcrum_common::rng::Rng;
use tch::Tensor;

use crate::ModelError;

/// What names the draws of one forward pass in training. A row of a step meets the same noise in whatever batch,
/// slot or process it is computed, as long as its padding is on the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// Seed of the training.
    pub seed: u64,
    /// The step, counted from 0.
    pub step: u64,
    /// What each row of the batch is called, e.g. its position in the data.
    pub rows: Vec<u64>,
}

/// Dropout (Srivastava et al. 2014) at every site of a model: in a pass with noise, each number is zero with
/// probability `rate`, and what is left is scaled up by 1 / (1 - rate). Without noise it is the identity.
///
/// A network is computed by one thread at a time, so the noise of the pass under way is kept here, and the modules
/// need not hand it through.
#[derive(Clone, Debug)]
pub(crate) struct Dropout {
    rate: f64,
    pass: Arc<Mutex<Option<Noise>>>,
}

/// While it lives, the model's dropout is at work.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Dropout);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.pass() = None;
    }
}

impl Dropout {
    /// With `rate` in 0..1.
    pub(crate) fn new(rate: f64) -> Self {
        Self { rate, pass: Arc::default() }
    }

    /// Begins a pass with noise over `rows` rows.
    ///
    /// # Errors
    /// If the noise is for another number of rows.
    pub(crate) fn begin(&self, noise: &Noise, rows: i64) -> Result<Pass<'_>, ModelError> {
        if noise.rows.len() as i64 != rows {
            let message = format!("it has {rows} rows, but its noise is for {}", noise.rows.len());
            return Err(ModelError::Batch(message));
        }
        *self.pass() = Some(noise.clone());
        Ok(Pass(self))
    }

    /// `x`, `[b, ..., d]`, less what is dropped at `site`.
    pub(crate) fn apply(&self, site: &str, x: &Tensor) -> Tensor {
        match &*self.pass() {
            Some(noise) if self.rate > 0.0 => {
                x * self.mask(noise, site, &x.size()).to_device(x.device()).to_kind(x.kind())
            }
            _ => x.shallow_clone(),
        }
    }

    /// 0 or 1 / (1 - rate) for every number. Rows are drawn from their beginning: a longer row has the same mask
    /// for its first tokens.
    fn mask(&self, noise: &Noise, site: &str, shape: &[i64]) -> Tensor {
        let per_row = shape[1..].iter().product::<i64>() as usize;
        let bound = (self.rate * 2f64.powi(32)) as u32;
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let mut mask = Vec::with_capacity(noise.rows.len() * per_row.next_multiple_of(2));
        for row in &noise.rows {
            let mut rng = Rng::new(noise.seed, &format!("dropout of {site} in row {row}"), noise.step);
            let end = mask.len() + per_row;
            while mask.len() < end {
                let bits = rng.next_u64();
                mask.extend(
                    [bits as u32, (bits >> 32) as u32].map(|draw| if draw < bound { 0.0 } else { kept }),
                );
            }
            mask.truncate(end);
        }
        Tensor::from_slice(&mask).view(shape)
    }

    /// Nothing here panics with the lock held, so a poisoned lock guards sound data.
    fn pass(&self) -> MutexGuard<'_, Option<Noise>> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, kind::FLOAT_CPU};

    use super::*;

    /// Ones after dropout: `tokens` tokens of width 3 in each row.
    fn dropped(rate: f64, noise: &Noise, site: &str, tokens: i64) -> Tensor {
        let dropout = Dropout::new(rate);
        let rows = noise.rows.len() as i64;
        let _pass = dropout.begin(noise, rows).unwrap();
        dropout.apply(site, &Tensor::ones([rows, tokens, 3], FLOAT_CPU))
    }

    fn noise(rows: &[u64]) -> Noise {
        Noise { seed: 5, step: 2, rows: rows.to_vec() }
    }

    #[test]
    fn a_row_is_dropped_the_same_in_any_batch_and_under_any_padding() {
        let together = dropped(0.4, &noise(&[7, 3, 9]), "site", 50);
        for (at, row) in [(0, 7), (1, 3), (2, 9)] {
            let alone = dropped(0.4, &noise(&[row]), "site", 21);
            assert_eq!(together.narrow(0, at, 1).narrow(1, 0, 21), alone);
        }
    }

    #[test]
    fn seed_step_row_and_site_each_name_another_mask() {
        let base = dropped(0.5, &noise(&[1]), "site", 40);
        let others = [
            dropped(0.5, &Noise { seed: 6, ..noise(&[1]) }, "site", 40),
            dropped(0.5, &Noise { step: 3, ..noise(&[1]) }, "site", 40),
            dropped(0.5, &noise(&[2]), "site", 40),
            dropped(0.5, &noise(&[1]), "another", 40),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn so_many_are_dropped_and_the_mean_stays() {
        let x = dropped(0.3, &noise(&[0, 1, 2, 3]), "site", 5_000);
        let zeros = x.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((zeros - 0.3).abs() < 0.01, "{zeros}");
        assert!((x.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.02);
        assert!((x.max().double_value(&[]) - 1.0 / 0.7).abs() < 1e-6);
    }

    #[test]
    fn nothing_is_dropped_outside_a_pass_with_noise() {
        let (dropout, x) = (Dropout::new(0.9), Tensor::ones([2, 4, 3], FLOAT_CPU));
        drop(dropout.begin(&noise(&[0, 1]), 2).unwrap());
        assert_eq!(dropout.apply("site", &x), x);
        assert!(dropout.begin(&noise(&[0]), 2).unwrap_err().to_string().contains("noise is for 1"));
        assert_eq!(dropped(0.0, &noise(&[0, 1]), "site", 4), x);
    }
}
