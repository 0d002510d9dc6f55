//! The probe: vectors in, the same vectors out, and a head on top of them. What made the vectors is another network,
//! run once.
//!
//! Shape suffixes: b rows, d residual width, c classes.

use tch::{Device, Kind, Tensor};

use crate::{
    Model, ModelError, NewHead,
    batch::Batch,
    description::Description,
    families::{Module, PROBE},
    layout::{Part, Slot, Tensors},
};
use fulcrum_common::plan::Head;

/// A network without weights.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The head's matrix, if there is a head: what it is kept in is what the model computes in.
    weight_cd: Option<Tensor>,
}

impl Probe {
    pub(crate) fn new(tensors: &Tensors) -> Self {
        Self { weight_cd: tensors.find(Module::Classifier, 0, Part::Weight) }
    }

    /// What the head reads, `[b, 1, d]`.
    pub(crate) fn embed(&self, batch: &Batch) -> Tensor {
        let x_bd = batch.vectors_bd.as_ref().expect("the batch of a probe has vectors");
        let kind = self.weight_cd.as_ref().map_or(Kind::Float, Tensor::kind);
        x_bd.to_kind(kind).unsqueeze(1)
    }
}

impl Model {
    /// A probe of vectors of `width` numbers, without a head. `below` is how many parameters the network has that makes
    /// the vectors, where that is known.
    ///
    /// # Errors
    /// If the width is zero or beyond reason.
    pub fn probe(width: usize, below: usize, device: Device) -> Result<Self, ModelError> {
        let mut description = Description::of_vectors(&PROBE, width);
        description.traits.below = below;
        Self::random(description.check()?, 0, device)?.filled()
    }

    /// The same model ending in a classifier of these weights, `[c, d]`, and biases, `[c]`.
    ///
    /// # Errors
    /// If the weights are of another width than the states, or the biases of another number of classes.
    pub fn with_classifier(self, weight_cd: &Tensor, bias_c: &Tensor) -> Result<Self, ModelError> {
        let (shape, width) = (weight_cd.size(), self.description.hidden as i64);
        if shape.len() != 2 || shape[1] != width || bias_c.size() != shape[..1] {
            let reason = format!(
                "weights {shape:?} and biases {:?} are no classifier of states of {width} numbers",
                bias_c.size()
            );
            return Err(ModelError::Init(reason));
        }
        let head = NewHead::from(Head::Classifier { classes: shape[0] as usize });
        let model = self.with_head(&head, 0)?;
        let _guard = tch::no_grad_guard();
        let of_head = |(_, slot): &(usize, &Slot)| slot.place.module == Module::Classifier;
        for (at, slot) in model.slots.iter().enumerate().filter(of_head) {
            let values = if slot.place.part == Part::Weight { weight_cd } else { bias_c };
            model.parameters[at].1.shallow_clone().copy_(values);
        }
        Ok(model)
    }

    /// Parameters of the network that makes the vectors a probe reads; 0 where that is not known, and of other models.
    pub fn below(&self) -> usize {
        self.description.traits.below
    }

    /// Numbers of a vector that a probe reads, or of a state.
    pub fn width(&self) -> usize {
        self.description.hidden
    }

    /// Whether the model reads vectors in place of tokens.
    pub fn is_probe(&self) -> bool {
        self.description.is_probe()
    }
}
