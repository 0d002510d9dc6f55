//! Weights that are not trained, while a model computes in another type.

use fulcrum_models::Model;
use tch::{Kind, Tensor};

use crate::Error;

/// The frozen parameters of a model in the type that it computes in. Their own bytes are given back in the end.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    originals: Vec<(Tensor, Tensor)>,
}

impl Frozen {
    /// Gives the parameters at these places their weights, cast where the model does not compute in f32.
    pub(crate) fn cast(model: &Model, places: &[usize], compute: Kind) -> Result<Self, Error> {
        let mut originals = Vec::new();
        for &at in places {
            model.fill(at)?;
            if compute != Kind::Float {
                let (_, tensor) = &model.parameters()[at];
                let (mut handle, original) = (tensor.shallow_clone(), tensor.detach());
                handle.set_data(&original.f_to_kind(compute)?);
                originals.push((handle, original));
            }
        }
        Ok(Self { originals })
    }

    /// The bytes that the model is given back.
    pub(crate) fn originals(&self) -> impl Iterator<Item = &Tensor> {
        self.originals.iter().map(|(_, original)| original)
    }

    /// Gives the model its own bytes back.
    pub(crate) fn restore(&mut self) {
        for (mut handle, original) in self.originals.drain(..) {
            handle.set_data(&original);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.restore();
    }
}
