//! What an optimizer remembers, for checkpoints of a training.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::Optimizer;
use crate::Error;

/// What an optimizer remembers between two updates.
#[derive(Debug)]
pub struct State {
    /// Updates so far.
    pub updates: u64,
    /// Flat tensors of f32 by name (AdamW: `means` and `squares`), over all pieces in their order.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Optimizer {
    /// What it remembers now. The tensors are its own, and change with the next update.
    pub fn state(&self) -> State {
        let named = |(name, tensor): (&str, &Tensor)| (name.to_owned(), tensor.shallow_clone());
        State { updates: self.updates, tensors: self.rule.memory().into_iter().map(named).collect() }
    }

    /// Goes on from a state that the same rule left over pieces of the same lengths; copies it.
    ///
    /// # Errors
    /// If it does not fit; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<(), Error> {
        let memory = self.rule.memory();
        let expected: Vec<_> = memory.iter().map(|(name, tensor)| (*name, tensor.numel())).collect();
        let mut found: Vec<_> = state.tensors.iter().map(|(name, t)| (name.as_str(), t.numel())).collect();
        found.sort_by_key(|(name, _)| memory.iter().position(|(known, _)| known == name));
        if found != expected || state.tensors.values().any(|tensor| tensor.kind() != Kind::Float) {
            let problem = format!("the optimizer remembers {expected:?} numbers, not {found:?}");
            return Err(Error::State(format!(
                "{problem}: another optimizer or another model left this state"
            )));
        }
        for (name, tensor) in memory {
            tensor.shallow_clone().f_copy_(&state.tensors[name].f_view_as(tensor)?)?;
        }
        self.updates = state.updates;
        Ok(())
    }
}
