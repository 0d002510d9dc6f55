//! What ranks hold alike, as 64 bits that they compare. A bit that flips in the memory of one rank stays in its weights and
//! works on everybody's gradients; nothing else would tell.

use fulcrum_common::fault;
use tch::{Kind, Tensor};

use crate::{Error, trainer::Trainer};

/// Numbers that are copied at a time: what a core's cache holds.
const CHUNK: usize = 1 << 16;
/// Words that are mixed side by side.
const LANES: usize = 8;
/// An odd number: multiplying by it loses nothing. It is 2^64 over the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a rank holds and other ranks hold too, without a copy.
#[derive(Debug)]
pub struct Copies {
    /// Ranks of one group hold the same.
    pub group: u64,
    tensors: Vec<Tensor>,
}

impl Copies {
    /// Its hash. Two that differ in a single number never have the same.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn hash(&self) -> Result<u64, Error> {
        let _guard = tch::no_grad_guard();
        let mut lanes = [0u64; LANES];
        let mut bytes = vec![0u8; 4 * CHUNK];
        for tensor in &self.tensors {
            let (flat, length) = (tensor.f_reshape([-1])?, tensor.numel());
            for start in (0..length).step_by(CHUNK) {
                let numbers = CHUNK.min(length - start);
                let part = flat.f_narrow(0, start as i64, numbers as i64)?;
                let part = part.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
                let used = &mut bytes[..numbers * part.kind().elt_size_in_bytes()];
                part.f_copy_data_u8(used, numbers)?;
                mix(&mut lanes, used);
            }
        }
        Ok(lanes.into_iter().fold(self.tensors.len() as u64, absorb))
    }
}

/// Every step can be undone, so that what differs once differs to the end; what comes later is mixed less often, so that
/// the order counts.
fn absorb(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(FACTOR).rotate_left(29)
}

fn mix(lanes: &mut [u64; LANES], bytes: &[u8]) {
    let mut blocks = bytes.chunks_exact(8 * LANES);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = absorb(*lane, u64::from_le_bytes(*word));
        }
    }
    for (lane, word) in lanes.iter_mut().zip(blocks.remainder().chunks(8)) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        *lane = absorb(*lane, u64::from_le_bytes(padded));
    }
}

impl Trainer<'_> {
    /// Has what this rank holds now compared, where that is asked for and anybody else holds it. `must`: it is kept for
    /// others to go on from.
    pub(crate) fn compare(&self, steps: usize, must: bool) {
        if let Some(keeper) = self.job.keeper
            && keeper.is_compared(steps, must)
            && let Some(copies) = self.copies()
        {
            keeper.compare(steps, copies);
        }
    }

    /// Copies hold all that a rank updates; where nobody has copies of that, the weights that are gathered from everybody.
    /// And what it does not update: what the next checkpoint or the end is made with must be right, too.
    fn copies(&self) -> Option<Copies> {
        let gang = &self.job.gang;
        let still = self.engine.still().into_iter().chain(self.frozen.originals());
        let (group, own) = if gang.copies().world() > 1 {
            let memory = self.optimizer.memory().into_iter().flat_map(|(_, tensors)| tensors);
            (gang.shards().rank(), self.engine.own().weights.iter().chain(memory).collect())
        } else {
            (0, vec![self.engine.gathered()?])
        };
        let tensors = own.into_iter().chain(still).map(Tensor::shallow_clone).collect();
        Some(Copies { group: group as u64, tensors })
    }

    /// What a test makes of a good machine.
    pub(crate) fn flip(&self) -> Result<(), Error> {
        if fault::flips("memory.weights") {
            let own = || self.engine.own().weights.first();
            self.engine.gathered().or_else(own).map_or(Ok(()), flip)?;
        }
        if fault::flips("memory.moments") {
            let memory = self.optimizer.memory();
            memory.first().and_then(|(_, tensors)| tensors.first()).map_or(Ok(()), flip)?;
        }
        Ok(())
    }
}

/// Flips a bit of a tensor's first number.
fn flip(tensor: &Tensor) -> Result<(), Error> {
    let _guard = tch::no_grad_guard();
    let kind = if tensor.kind() == Kind::Float { Kind::Int } else { Kind::Int16 };
    let mut first = tensor.f_view(-1)?.f_narrow(0, 0, 1)?.f_view_dtype(kind)?;
    let _ = first.f_bitwise_xor_(1i64 << 6)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(numbers: &[f32], cut: usize) -> u64 {
        let (left, right) = numbers.split_at(cut);
        let tensors = vec![Tensor::from_slice(left), Tensor::from_slice(right)];
        Copies { group: 0, tensors }.hash().unwrap()
    }

    #[test]
    fn a_flipped_bit_and_two_numbers_that_change_places_have_another_hash() {
        let numbers: Vec<f32> = (0..2 * CHUNK + 14).map(|at| at as f32 * 0.5).collect();
        let expected = hash(&numbers, 7);
        assert_eq!(hash(&numbers, 7), expected);
        for at in [0, 1, 6, 7, 8, CHUNK, CHUNK + 9, 2 * CHUNK + 12] {
            for bit in [0, 22, 31] {
                let mut flipped = numbers.clone();
                flipped[at] = f32::from_bits(flipped[at].to_bits() ^ 1 << bit);
                assert_ne!(hash(&flipped, 7), expected, "bit {bit} of number {at}");
                let both = f32::from_bits(flipped[at + 1 - 2 * (at % 2)].to_bits() ^ 1 << bit);
                flipped[at + 1 - 2 * (at % 2)] = both;
                assert_ne!(hash(&flipped, 7), expected, "bit {bit} of number {at} and of its neighbour");
            }
        }
        for (one, other) in [(0, 1), (3, 19), (5, CHUNK + 5), (CHUNK, 2 * CHUNK)] {
            let mut swapped = numbers.clone();
            swapped.swap(one, other);
            assert_ne!(hash(&swapped, 7), expected, "{one} and {other}");
        }
    }

    #[test]
    fn a_flip_changes_one_number() {
        let tensor = Tensor::from_slice(&[1f32, 2.0]);
        flip(&tensor).unwrap();
        let found = Vec::<f32>::try_from(&tensor).unwrap();
        assert!(found[0] != 1.0 && found[1] == 2.0, "{found:?}");
    }
}
