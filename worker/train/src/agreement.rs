//! What all ranks agree on at the end of a step's passes.

use fulcrum_collective::Reduction;
use tch::{Device, Kind, Tensor};

use crate::{Error, Gang, digest::Digest, parallel::Share};

/// Quanta of a loss that add up to the same on any number of ranks: 2^-32.
const QUANTUM: f64 = (1u64 << 32) as f64;
/// No loss of a step is as large: its quanta fit 62 bits.
const LARGEST: f64 = (1u64 << 30) as f64;

/// What a rank has to say of a step.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    losses: Vec<Tensor>,
    out_of_memory: bool,
    rows: Digest,
}

/// What they agree on; the same on every rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    /// Mean over the global batch; NaN where it is not finite.
    pub(crate) loss: f64,
    /// Whether the loss and all that was added are finite.
    pub(crate) finite: bool,
    /// Digest of the rows that all ranks consumed, and where they stand in the batch.
    pub(crate) rows: u64,
    /// A device had too little memory: what was added is not the gradient.
    pub(crate) out_of_memory: bool,
    /// A monitor asks everybody to stop.
    pub(crate) stop: bool,
    /// A keeper asks for a snapshot.
    pub(crate) keep: bool,
    /// A monitor asks everybody to finish the step and leave.
    pub(crate) leave: bool,
}

/// What a rank asks of all; what one asks for, all do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) stop: bool,
    pub(crate) keep: bool,
    pub(crate) leave: bool,
}

impl Tally {
    /// A slot's share of the loss, without its graph.
    pub(crate) fn add(&mut self, loss: Tensor) {
        self.losses.push(loss);
    }

    /// A slot's rows go through the model.
    pub(crate) fn consume(&mut self, step: usize, share: &Share) {
        // Of a row of two sequences, its first names it.
        let sequences = (share.noise.rows.len() / share.rows.len().max(1)).max(1);
        let named = share.noise.rows.iter().copied().step_by(sequences);
        self.rows.consume(step, share.rows.clone(), named);
    }

    pub(crate) fn run_out_of_memory(&mut self) {
        self.out_of_memory = true;
    }

    /// Agrees with the other ranks on a step of so many `slots` in all. `held` tells whether this rank could hold what
    /// it added.
    pub(crate) fn agree(
        self,
        gang: &Gang,
        device: Device,
        slots: usize,
        held: bool,
        wishes: Wishes,
    ) -> Result<Agreement, Error> {
        let losses: Vec<f64> = match self.losses.as_slice() {
            [] => Vec::new(),
            losses => {
                Vec::try_from(Tensor::f_stack(losses, 0)?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?)?
            }
        };
        let finite = held && losses.iter().all(|loss| loss.abs() < LARGEST / slots as f64);
        // Whole quanta add up to the same in whatever order ranks add.
        let quanta = |loss: &f64| if finite { (loss * QUANTUM).round() as i64 } else { 0 };
        let [low, high] = self.rows.halves();
        let said = [
            losses.iter().map(quanta).sum(),
            i64::from(!finite),
            i64::from(self.out_of_memory),
            i64::from(wishes.stop),
            i64::from(wishes.keep),
            i64::from(wishes.leave),
            low,
            high,
        ];
        let shared = Tensor::from_slice(&said).to_device(device);
        gang.all().all_reduce(&shared, Reduction::Sum)?.wait()?;
        let loss = shared.int64_value(&[0]);
        let [not_finite, out_of_memory, stop, keep, leave] =
            [1, 2, 3, 4, 5].map(|at| shared.int64_value(&[at]) > 0);
        let rows = Digest::of_halves([6, 7].map(|at| shared.int64_value(&[at])));
        let finite = !not_finite;
        let loss = if finite { loss as f64 / QUANTUM } else { f64::NAN };
        Ok(Agreement { loss, finite, rows, out_of_memory, stop, keep, leave })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fulcrum_collective::Solo;

    use super::*;

    #[test]
    fn losses_add_up_and_those_whose_sum_could_not_be_held_are_not_finite() {
        let gang = Gang::data(Arc::new(Solo::new()));
        let agree = |losses: &[f64]| {
            let mut tally = Tally::default();
            losses.iter().for_each(|&loss| tally.add(Tensor::from(loss)));
            tally.agree(&gang, Device::Cpu, losses.len(), true, Wishes::default()).unwrap()
        };
        let small = agree(&[0.25, 0.5]);
        assert_eq!((small.loss, small.finite), (0.75, true));
        let large = LARGEST * 0.9;
        assert!(agree(&[large]).finite);
        for wrong in [[large; 4], [f64::NAN; 4], [f64::NEG_INFINITY; 4]] {
            let agreed = agree(&wrong);
            assert!(!agreed.finite && agreed.loss.is_nan(), "{wrong:?}");
        }
    }
}
