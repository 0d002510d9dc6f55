//! What an optimizer remembers, for checkpoints of a training.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::Optimizer;
use crate::Error;

/// What an optimizer remembers between two updates.
#[derive(Debug, PartialEq)]
pub struct State {
    /// Updates so far.
    pub updates: u64,
    /// Flat tensors of f32, over all pieces in their order: `means` and `squares` of AdamW, the `momentum` of
    /// stochastic gradient descent, each with a number for every one of the pieces; `rows` and `columns` of
    /// Adafactor's matrices, and `squares` of its vectors.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Optimizer {
    /// A copy of what it remembers now.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn state(&self) -> Result<State, Error> {
        let flat = |(name, parts): (&str, &[Tensor])| {
            let parts = parts.iter().map(|part| part.f_view(-1)).collect::<Result<Vec<_>, _>>()?;
            let flat = match parts.as_slice() {
                [] => Tensor::f_zeros([0], (Kind::Float, Device::Cpu))?,
                parts => Tensor::f_cat(parts, 0)?,
            };
            Ok((name.to_owned(), flat))
        };
        let tensors = self.rule.memory().into_iter().map(flat).collect::<Result<_, Error>>()?;
        Ok(State { updates: self.updates, tensors })
    }

    /// What it remembers, by name: one contiguous tensor of f32 for each piece, in their order.
    pub(crate) fn memory(&self) -> Vec<(&'static str, &[Tensor])> {
        self.rule.memory()
    }

    /// Updates so far.
    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    /// As many updates were made before, and what they left is in its memory.
    pub(crate) fn resume(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// Goes on from what the same rule has left over pieces of the same shapes, and copies it.
    ///
    /// # Errors
    /// If it does not fit; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<(), Error> {
        let memory = self.rule.memory();
        let length = |parts: &[Tensor]| parts.iter().map(Tensor::numel).sum::<usize>();
        let expected: BTreeMap<_, _> = memory.iter().map(|(name, parts)| (*name, length(parts))).collect();
        let found: BTreeMap<_, _> =
            state.tensors.iter().map(|(name, flat)| (&**name, flat.numel())).collect();
        if found != expected || state.tensors.values().any(|flat| flat.kind() != Kind::Float) {
            let problem = format!("the optimizer remembers {expected:?}, the state has {found:?}");
            return Err(Error::State(format!(
                "{problem}: it was left by another optimizer or another model"
            )));
        }
        for (name, parts) in memory {
            let lengths: Vec<_> = parts.iter().map(|part| part.numel() as i64).collect();
            let shares = state.tensors[name].f_view(-1)?.f_split_with_sizes(&lengths, 0)?;
            for (part, share) in parts.iter().zip(shares) {
                part.f_view(-1)?.f_copy_(&share)?;
            }
        }
        self.updates = state.updates;
        Ok(())
    }
}
