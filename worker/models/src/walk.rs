//! The forward pass in pieces, for training that has the weights of one block at a time.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use tch::{Kind, Tensor};

use crate::{
    Model, ModelError,
    batch::Batch,
    given::Given,
    layout::Place,
    model::Network,
    noise::{Noise, Pass},
    rotary::Rotation,
};

/// A forward pass over one batch: [`Walk::embed`], [`Walk::block`] for each block, [`Walk::finish`],
/// [`Walk::read`]. A piece may be computed again, with or without gradients, and gives the same numbers: the noise of
/// training is named, not drawn from a stream.
#[derive(Debug)]
pub struct Walk<'a> {
    model: &'a Model,
    batch: Batch,
    /// The one token of each row that the head reads, i64 `[b]`: the last block makes no other. None for all.
    at_b: Option<Tensor>,
    rotation: Option<Rotation>,
    _noise: Option<Pass<'a>>,
}

impl Model {
    /// Checks a padded batch, as [`Model::forward`] takes it, and stands before its embedding.
    ///
    /// # Errors
    /// As [`Model::forward`], and if the noise is for another number of rows.
    pub fn walk(&self, given: Given<'_>, noise: Option<&Noise>) -> Result<Walk<'_>, ModelError> {
        self.check_present()?;
        let rows = given.rows();
        let noisy = noise.zip(self.adapters.as_ref());
        let noise = noisy.map(|(noise, adapters)| adapters.dropout().begin(noise, rows)).transpose()?;
        let batch = given.batch(&self.description, self.device())?;
        let rotation = match &self.network {
            Network::Decoder(decoder) => decoder.rotation(&batch),
            Network::Encoder(_) | Network::Probe(_) => None,
        };
        let at_b = self.head.as_ref().and_then(|head| head.reads(&batch));
        Ok(Walk { model: self, batch, at_b, rotation, _noise: noise })
    }

    /// For each of [`Model::parameters`], the block whose computation alone reads it; none for what is read
    /// outside of the blocks.
    pub fn blocks_of_parameters(&self) -> Vec<Option<usize>> {
        let family = self.description.family;
        let block =
            |module, block| family.block.iter().any(|weight| weight.module == module).then_some(block);
        let slots = self.slots.iter().map(|slot| {
            let Place { module, block: at, .. } = slot.place;
            block(module, at)
        });
        let adapters = self.adapters.iter().flat_map(|adapters| adapters.places());
        // Each adapter has two factors, one after the other.
        let factors = adapters.flat_map(|((module, at), _)| [block(module, at); 2]);
        slots.chain(factors).collect()
    }
}

impl Walk<'_> {
    /// What the first block reads, `[b, t, d]`.
    pub fn embed(&self) -> Tensor {
        match &self.model.network {
            Network::Decoder(decoder) => decoder.embed(&self.batch),
            Network::Encoder(encoder) => encoder.embed(&self.batch),
            Network::Probe(probe) => probe.embed(&self.batch),
        }
    }

    /// The block `at`, `[b, t, d]` to `[b, t, d]`; the last one to `[b, 1, d]` where the head reads one token of a row.
    ///
    /// # Panics
    /// If there are not so many blocks.
    pub fn block(&self, at: usize, x_btd: &Tensor) -> Tensor {
        let at_b = self.at_b.as_ref().filter(|_| at + 1 == self.model.layers());
        match &self.model.network {
            Network::Decoder(decoder) => {
                decoder.block(at, x_btd, &self.batch, at_b, self.rotation.as_ref(), None)
            }
            Network::Encoder(encoder) => encoder.block(at, x_btd, &self.batch, at_b),
            Network::Probe(_) => x_btd.shallow_clone(),
        }
    }

    /// States of what the last block leaves.
    pub fn finish(&self, x_btd: &Tensor) -> Tensor {
        match &self.model.network {
            Network::Decoder(decoder) => decoder.finish(x_btd),
            Network::Encoder(_) | Network::Probe(_) => x_btd.shallow_clone(),
        }
    }

    /// Logits f32 of states, or of a bare network the states themselves: see [`Model::forward`].
    pub fn read(&self, states_btd: &Tensor) -> Tensor {
        let read = match (&self.model.network, &self.model.head) {
            (_, Some(head)) => head.forward(&match &self.at_b {
                Some(_) => states_btd.squeeze_dim(1),
                None => self.batch.mean(states_btd),
            }),
            (Network::Decoder(decoder), None) if self.model.speaks() => decoder.unembed(states_btd),
            (_, None) => states_btd.shallow_clone(),
        };
        // A loss is computed in f32, whatever the model computes in.
        read.to_kind(Kind::Float)
    }

    /// What a loss is computed from: the logits, but of a language model the states, see [`Model::cross_entropy`].
    pub fn output(&self, states_btd: &Tensor) -> Tensor {
        if self.model.speaks() { states_btd.shallow_clone() } else { self.read(states_btd) }
    }

    /// The same walk, to the states of all tokens whatever the head reads.
    pub(crate) fn of_all_tokens(self) -> Self {
        Self { at_b: None, ..self }
    }

    /// All of it up to the states.
    pub fn states(&self) -> Tensor {
        let x_btd = (0..self.model.layers()).fold(self.embed(), |x_btd, at| self.block(at, &x_btd));
        self.finish(&x_btd)
    }
}
