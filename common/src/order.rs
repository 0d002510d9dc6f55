//! The order of rows in training: which rows make the global batch of each step.
//!
//! It depends on the number of rows, the batch, and the seed alone, so a run may change its workers, stop
//! and go on anywhere: the rows of step s are looked up, never reached by iterating.
//!
//! The passes are laid end to end, each a fresh permutation of all rows, and cut into batches. A batch
//! that the end of a pass would cut short goes on into the next pass, so every batch is full, and
//! losses that look at the whole batch never meet a stump. After the last pass the last batch borrows
//! its missing rows from the pass that would follow.

use std::sync::{Arc, Mutex, PoisonError};

use crate::rng::Rng;

/// The order of the rows in one pass: a permutation of `0..rows`.
///
/// # Panics
/// If `rows` exceeds `u32::MAX`.
pub fn permutation(seed: u64, pass: u64, rows: usize) -> Vec<u32> {
    let rows = u32::try_from(rows).expect("tables hold fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..rows).collect();
    Rng::new(seed, "order", pass).shuffle(&mut order);
    order
}

/// A training for which no batches exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Nothing to train on, or too much.
    #[error("cannot order {0} rows: expected 1 to {max}", max = u32::MAX)]
    Rows(usize),
    /// An empty batch.
    #[error("the batch must hold at least one row")]
    Batch,
    /// Nothing to do.
    #[error("the number of passes must be at least one")]
    Passes,
}

/// The global batches of a training.
#[derive(Debug)]
pub struct Batches {
    rows: usize,
    batch: usize,
    steps: usize,
    seed: u64,
    /// The permutation used last, with its pass: steps mostly come in order.
    latest: Mutex<Option<(u64, Arc<[u32]>)>>,
}

impl Batches {
    /// Batches of `batch` rows over `passes` passes; of all rows where the table holds fewer.
    ///
    /// # Errors
    /// If there are no rows, or batch or passes are zero.
    pub fn new(rows: usize, batch: usize, passes: usize, seed: u64) -> Result<Self, OrderError> {
        if rows == 0 || u32::try_from(rows).is_err() {
            return Err(OrderError::Rows(rows));
        }
        if passes == 0 {
            return Err(OrderError::Passes);
        }
        let batch = batch.min(rows);
        if batch == 0 {
            return Err(OrderError::Batch);
        }
        let steps = rows.saturating_mul(passes).div_ceil(batch);
        Ok(Self { rows, batch, steps, seed, latest: Mutex::new(None) })
    }

    /// How many steps the training takes: enough that every pass is complete.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Rows in every batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The positions (in the table) of the rows of one step, in batch order.
    /// A row may come twice where a batch spans two passes.
    pub fn rows_of(&self, step: usize) -> Vec<usize> {
        let start = step * self.batch;
        let mut rows = Vec::with_capacity(self.batch);
        while rows.len() < self.batch {
            let at = start + rows.len();
            let order = self.order((at / self.rows) as u64);
            let rest = order[at % self.rows..].iter().take(self.batch - rows.len());
            rows.extend(rest.map(|&row| row as usize));
        }
        rows
    }

    fn order(&self, pass: u64) -> Arc<[u32]> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((at, order)) if *at == pass => order.clone(),
            _ => {
                let order: Arc<[u32]> = permutation(self.seed, pass, self.rows).into();
                *latest = Some((pass, order.clone()));
                order
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_is_the_same_on_every_machine() {
        assert_eq!(permutation(1, 0, 10), [3, 0, 9, 8, 1, 6, 5, 4, 7, 2]);
        assert_ne!(permutation(1, 0, 10), permutation(1, 1, 10));
        assert_ne!(permutation(1, 0, 10), permutation(2, 0, 10));
    }

    #[test]
    fn impossible_batches_are_refused() {
        assert_eq!(Batches::new(0, 1, 1, 0).unwrap_err(), OrderError::Rows(0));
        assert_eq!(Batches::new(1, 0, 1, 0).unwrap_err(), OrderError::Batch);
        assert_eq!(Batches::new(1, 1, 0, 0).unwrap_err(), OrderError::Passes);
    }

    #[test]
    fn a_table_smaller_than_a_batch_gives_smaller_batches() {
        let batches = Batches::new(3, 8, 2, 0).unwrap();
        assert_eq!((batches.batch(), batches.steps()), (3, 2));
    }

    proptest! {
        #[test]
        fn every_row_comes_once_per_pass_and_every_batch_is_full(
            rows in 1usize..60, batch in 1usize..20, passes in 1usize..4, seed: u64,
        ) {
            let batches = Batches::new(rows, batch, passes, seed).unwrap();
            let steps: Vec<Vec<usize>> = (0..batches.steps()).map(|step| batches.rows_of(step)).collect();
            prop_assert!(steps.iter().all(|step| step.len() == batch.min(rows)));
            let stream = steps.concat();
            prop_assert!(stream.len() - rows * passes < batches.batch());
            for pass in stream.chunks_exact(rows).take(passes) {
                let mut sorted = pass.to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..rows).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_step_may_be_looked_up_out_of_order(rows in 1usize..60, batch in 1usize..20, seed: u64, step in 0usize..100) {
            let (fresh, used) = (Batches::new(rows, batch, 9, seed).unwrap(), Batches::new(rows, batch, 9, seed).unwrap());
            for other in [step + 1, 0] {
                used.rows_of(other);
            }
            prop_assert_eq!(fresh.rows_of(step), used.rows_of(step));
        }
    }
}
