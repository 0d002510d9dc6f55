//! Digests of what ranks hold shares of: sums over every number of a mix of its place and its value. Whoever holds which,
//! and in whatever order they add, the sum is the same. They are for comparing runs, not for guarding against anybody.

use std::ops::Range;

use fulcrum_collective::Reduction;
use fulcrum_common::rng::Rng;
use tch::{Kind, Tensor};

use crate::{Error, Gang};

/// Numbers that are brought to the CPU at a time.
const STRETCH: i64 = 1 << 20;

/// Half of 64 bits: halves of as many ranks as there may be add up in 63.
const HALF: u32 = 32;

/// A sum so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Rows that a slot of a step consumes, and where they stand in the global batch.
    pub(crate) fn consume(&mut self, step: usize, places: Range<usize>, rows: impl Iterator<Item = u64>) {
        let step = mix(step as u64);
        for (at, row) in places.zip(rows) {
            self.0 = self.0.wrapping_add(mix(mix(step ^ at as u64) ^ row));
        }
    }

    /// Numbers of what is called so, from the `first` of them on.
    pub(crate) fn see(&mut self, name: &str, first: usize, numbers: &Tensor) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let name = Rng::new(0, name, 0).next_u64();
        let (flat, mut at) = (numbers.f_reshape(-1)?, first as u64);
        for stretch in flat.f_split(STRETCH, 0)? {
            let stretch = stretch.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?;
            for number in Vec::<f32>::try_from(stretch)? {
                self.0 = self.0.wrapping_add(mix(mix(name ^ at) ^ u64::from(number.to_bits())));
                at += 1;
            }
        }
        Ok(())
    }

    /// As two numbers whose sums over ranks fit 63 bits.
    pub(crate) fn halves(self) -> [i64; 2] {
        [(self.0 & u64::from(u32::MAX)) as i64, (self.0 >> HALF) as i64]
    }

    /// From sums of halves.
    pub(crate) fn of_halves([low, high]: [i64; 2]) -> u64 {
        (low as u64).wrapping_add((high as u64) << HALF)
    }

    /// The sum over all ranks of the gang.
    pub(crate) fn over(self, gang: &Gang, device: tch::Device) -> Result<u64, Error> {
        let shared = Tensor::from_slice(&self.halves()).f_to_device(device)?;
        gang.all().all_reduce(&shared, Reduction::Sum)?.wait()?;
        Ok(Self::of_halves([0, 1].map(|at| shared.int64_value(&[at]))))
    }
}

/// Spreads 64 bits over 64 bits, one to one (the finalizer of MurmurHash3).
fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(&str, usize, &[f32])]) -> u64 {
        let mut digest = Digest::default();
        for (name, first, numbers) in parts {
            digest.see(name, *first, &Tensor::from_slice(numbers)).unwrap();
        }
        digest.0
    }

    #[test]
    fn how_numbers_are_cut_and_ordered_is_all_the_same_and_what_they_are_is_not() {
        let whole = of(&[("a", 0, &[1.0, 2.0, 3.0]), ("b", 0, &[4.0])]);
        assert_eq!(of(&[("b", 0, &[4.0]), ("a", 1, &[2.0, 3.0]), ("a", 0, &[1.0])]), whole);
        for other in [
            of(&[("a", 0, &[1.0, 3.0, 2.0]), ("b", 0, &[4.0])]),
            of(&[("a", 0, &[1.0, 2.0]), ("b", 0, &[4.0])]),
            of(&[("a", 0, &[1.0, 2.0, 3.0]), ("c", 0, &[4.0])]),
            of(&[("a", 0, &[1.0, 2.0, 3.0]), ("b", 0, &[-4.0])]),
            of(&[("a", 0, &[1.0, 2.0, 3.0]), ("b", 1, &[4.0])]),
        ] {
            assert_ne!(other, whole);
        }
    }

    #[test]
    fn how_a_batch_is_cut_is_all_the_same_and_its_rows_their_order_and_its_step_are_not() {
        let of = |slots: &[(usize, usize, &[u64])]| {
            let mut digest = Digest::default();
            for &(step, from, rows) in slots {
                digest.consume(step, from..from + rows.len(), rows.iter().copied());
            }
            digest
        };
        let whole = of(&[(2, 0, &[7, 0, 9])]);
        assert_eq!(of(&[(2, 1, &[0, 9]), (2, 0, &[7])]), whole);
        for (step, rows) in [(2, [0, 7, 9]), (2, [7, 9, 9]), (3, [7, 0, 9])] {
            assert_ne!(of(&[(step, 0, &rows)]), whole, "{step} {rows:?}");
        }
        assert_ne!(of(&[(2, 0, &[7, 0])]), whole);
    }

    #[test]
    fn halves_of_ranks_add_up_to_the_sum() {
        let (a, b) = (Digest(u64::MAX - 5), Digest(0xffff_ffff_0000_0009));
        let sums = [0, 1].map(|half| a.halves()[half] + b.halves()[half]);
        assert_eq!(Digest::of_halves(sums), a.0.wrapping_add(b.0));
    }
}
