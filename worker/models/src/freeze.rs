//! Which parameters are trained.

use fulcrum_common::{
    pattern::{matches, nearest},
    plan::Trainable,
};
use tch::Tensor;

use crate::{Model, ModelError, families::Module, layout::Slot};

impl Model {
    /// Chooses which parameters want gradients; the others are constants to the computation, and where all
    /// parameters below some point are, no graph is built through what lies below it. It replaces the choice before;
    /// [`Model::with_head`] and [`Model::truncate`] undo it.
    ///
    /// # Errors
    /// If nothing would be left to train, the model has no head of its own to train alone, a pattern
    /// matches no name, or the model has adapters, which have frozen it already.
    pub fn freeze(&mut self, trainable: &Trainable) -> Result<(), ModelError> {
        if self.adapters.is_some() {
            let reason = "the model has adapters, and trains them and its head: merge them first";
            return Err(ModelError::Trainable(reason.to_owned()));
        }
        let chosen = choose(trainable, &self.slots, &self.parameters)?;
        for ((_, tensor), chosen) in self.parameters.iter().zip(chosen) {
            let _ = tensor.shallow_clone().set_requires_grad(chosen);
        }
        Ok(())
    }

    /// The parameters that want gradients, in the order of [`Model::parameters`].
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let named = self.parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
        named.filter(|(_, tensor)| tensor.requires_grad())
    }
}

/// Whether each parameter is trained.
///
/// # Errors
/// If none would be, or a pattern matches no name.
fn choose(
    trainable: &Trainable,
    slots: &[Slot],
    parameters: &[(String, Tensor)],
) -> Result<Vec<bool>, ModelError> {
    let refuse = |reason: String| Err(ModelError::Trainable(reason));
    let names = || parameters.iter().map(|(name, _)| name.as_str());
    match trainable {
        Trainable::All => Ok(vec![true; parameters.len()]),
        Trainable::Head => {
            if !slots.iter().any(|slot| slot.place.module == Module::Classifier) {
                return refuse(
                    "the model has no head of its own: give it a classifier or a reward".to_owned(),
                );
            }
            Ok(slots.iter().map(|slot| slot.place.module.is_head()).collect())
        }
        Trainable::Except(patterns) => {
            if let Some(lost) = patterns.iter().find(|pattern| !names().any(|name| matches(pattern, name))) {
                return refuse(format!(
                    "{lost:?} matches no name; the nearest are {}",
                    nearest(lost, names())
                ));
            }
            let frozen = |name| patterns.iter().any(|pattern| matches(pattern, name));
            let chosen: Vec<bool> = names().map(|name| !frozen(name)).collect();
            if chosen.contains(&true) {
                return Ok(chosen);
            }
            refuse(format!("{patterns:?} match every name, and nothing would be trained"))
        }
    }
}
