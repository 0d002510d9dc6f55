//! Language models token by token: logits of chosen states, and of what follows a text that grows.
//!
//! Shape suffixes: b rows, t tokens, d residual width, v vocabulary, n any states.

use tch::Tensor;

use crate::{
    Model, ModelError,
    batch::Batch,
    cache::{Cache, Seen},
    decoder::Decoder,
    model::Network,
};

impl Model {
    /// Next-token logits f32 from states, `[.., d]` to `[.., v]`.
    ///
    /// # Errors
    /// If the model does not end in a language model head, or the states are of another width.
    pub fn unembed(&self, states_nd: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.reads(states_nd)?.unembed(states_nd))
    }

    /// The sum over n of the negative logarithm of the probability that state n of `states_nd` gives to the token
    /// `next_n` (i64), f32, with logits that are never whole in memory.
    ///
    /// With gradients on, the sum has to be multiplied by `factor` and by nothing else before its backward pass, and
    /// to have one: see [`fulcrum_torch_shim::cross_entropy`].
    ///
    /// # Errors
    /// If the model does not end in a language model head, or the states are of another width.
    pub fn cross_entropy(
        &self,
        states_nd: &Tensor,
        next_n: &Tensor,
        factor: f64,
    ) -> Result<Tensor, ModelError> {
        Ok(self.reads(states_nd)?.cross_entropy(states_nd, next_n, factor))
    }

    /// An empty cache for [`Model::step`].
    pub fn cache(&self) -> Cache {
        Cache::new(self.description.layers)
    }

    /// Logits f32 `[b, v]` of the token that follows the last one, without gradients. `ids_bt` are the tokens that
    /// `cache` has not seen, at least one per row; `mask_bt` covers those it has seen and the new ones. Rows of
    /// different lengths are padded on the left, in the first step; a row that is done is left out by
    /// [`Cache::select`]. The logits are those of [`Model::forward`] over all tokens, up to rounding.
    ///
    /// A model whose rotary angles are scaled dynamically reads rows longer than its positions anew at each step,
    /// as then the angles of all their tokens change with every token.
    ///
    /// # Errors
    /// If the model does not end in a language model head, or ids and mask do not fit each other, the model or
    /// the cache; the cache is then as before.
    pub fn step(&self, ids_bt: &Tensor, mask_bt: &Tensor, cache: &mut Cache) -> Result<Tensor, ModelError> {
        let decoder = self.speaker()?;
        let seen = cache.seen.as_ref();
        let batch = Batch::after(&self.description, seen, ids_bt, mask_bt, self.device())?;
        let seen = Seen::extended(seen, ids_bt, mask_bt);
        let anew = decoder.settled().is_some_and(|tokens| seen.longest() > tokens);
        let states_btd = tch::no_grad(|| -> Result<Tensor, ModelError> {
            if !anew && !cache.behind() {
                return Ok(decoder.forward(&batch, Some(&mut *cache)));
            }
            let whole = Batch::new(&self.description, &seen.ids_bt, &seen.mask_bt, self.device())?;
            cache.forget();
            Ok(decoder.forward(&whole, (!anew).then_some(&mut *cache)))
        })?;
        let logits_bv = tch::no_grad(|| decoder.unembed(&states_btd.select(1, -1)));
        cache.seen = Some(seen);
        Ok(logits_bv)
    }

    /// Where a row has more tokens than this, [`Model::step`] reads its whole batch anew; none if it never does.
    pub fn settled_tokens(&self) -> Option<usize> {
        match &self.network {
            Network::Decoder(decoder) => decoder.settled(),
            Network::Encoder(_) | Network::Probe(_) => None,
        }
    }

    /// The decoder under a language model head, for states of its width.
    fn reads(&self, states_nd: &Tensor) -> Result<&Decoder, ModelError> {
        let decoder = self.speaker()?;
        let (shape, width) = (states_nd.size(), self.description.hidden);
        if shape.last() == Some(&(width as i64)) {
            return Ok(decoder);
        }
        Err(ModelError::Batch(format!("states have shape {shape:?}, but the last must be {width}")))
    }

    /// The decoder under a language model head.
    fn speaker(&self) -> Result<&Decoder, ModelError> {
        match &self.network {
            Network::Decoder(decoder) if self.speaks() => Ok(decoder),
            _ => Err(ModelError::NoTokens { family: self.description.family.model_type }),
        }
    }
}
