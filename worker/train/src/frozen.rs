//! Weights that are not trained, while a model computes in another type.

use fulcrum_models::Model;
use tch::{Kind, Tensor};

use crate::Error;

/// The frozen parameters of a model in the type that it computes in. Their own bytes are given back in the end.
#[derive(Debug)]
pub(crate) struct Frozen {
    originals: Vec<(Tensor, Tensor)>,
}

impl Frozen {
    /// Casts what is frozen; nothing where the model computes in f32.
    pub(crate) fn cast(model: &Model, compute: Kind) -> Result<Self, Error> {
        let mut originals = Vec::new();
        for (_, tensor) in model.parameters() {
            if compute != Kind::Float && !tensor.requires_grad() {
                let (mut handle, original) = (tensor.shallow_clone(), tensor.detach());
                handle.set_data(&original.f_to_kind(compute)?);
                originals.push((handle, original));
            }
        }
        Ok(Self { originals })
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
