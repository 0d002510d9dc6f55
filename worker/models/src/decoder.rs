//! The decoder: tokens in, states out, each from the tokens before it.
//!
//! Shape suffixes: b rows, t tokens, d residual width, v vocabulary.

use fulcrum_torch_shim::{cross_entropy, embedding};
use tch::{Device, Kind, Reduction, Tensor};

use crate::{
    attend::Attend,
    attention::Attention,
    batch::{Batch, pick},
    cache::{Cache, Past},
    description::{Description, Positions},
    families::Module,
    layout::Tensors,
    modules::{FeedForward, Linear, Norm, through},
    rotary::{Angles, Rotation},
};

/// Embeddings, blocks with norms before each half, a final norm, the way out to the vocabulary.
#[derive(Debug)]
pub(crate) struct Decoder {
    tokens_vd: Tensor,
    scale: Option<f64>,
    places: Places,
    blocks: Vec<Block>,
    norm: Norm,
    unembedding: Linear,
    logit_cap: Option<f64>,
}

/// How tokens know their places.
#[derive(Debug)]
enum Places {
    Learned { table_td: Tensor, offset: i64 },
    Rotary(Angles),
}

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    attention: Attention,
    attention_post_norm: Option<Norm>,
    /// None where the half reads through the norm of the other.
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForward,
    feed_forward_post_norm: Option<Norm>,
    parallel: bool,
    /// Whether the block has the model's sliding window.
    windowed: bool,
}

impl Decoder {
    pub(crate) fn new(description: &Description, tensors: &Tensors, device: Device) -> Self {
        let places = match &description.traits.place {
            Positions::Learned { offset } => Places::Learned {
                table_td: tensors.weight(Module::PositionEmbedding, 0),
                offset: *offset as i64,
            },
            Positions::Rotary(rotary) => Places::Rotary(Angles::new(description, rotary, device)),
        };
        Self {
            tokens_vd: tensors.weight(Module::TokenEmbedding, 0),
            scale: description.traits.embedding_scale,
            places,
            blocks: (0..description.layers).map(|block| Block::new(description, tensors, block)).collect(),
            norm: Norm::new(description, tensors, Module::FinalNorm, 0),
            unembedding: Linear::unembedding(tensors),
            logit_cap: description.traits.logit_cap,
        }
    }

    /// States `[b, t, d]` of the batch's tokens. With a cache they go on from what it holds, and are added to it.
    pub(crate) fn forward(&self, batch: &Batch, mut cache: Option<&mut Cache>) -> Tensor {
        let rotation = self.rotation(batch);
        let mut x_btd = self.embed(batch);
        for at in 0..self.blocks.len() {
            let past = cache.as_deref_mut().map(|cache| &mut cache.blocks[at]);
            x_btd = self.block(at, &x_btd, batch, None, rotation.as_ref(), past);
        }
        self.finish(&x_btd)
    }

    /// How the batch's tokens are rotated, where they are.
    pub(crate) fn rotation(&self, batch: &Batch) -> Option<Rotation> {
        match &self.places {
            Places::Learned { .. } => None,
            Places::Rotary(angles) => Some(angles.at(&batch.positions_bt, &batch.lengths())),
        }
    }

    /// What the first block reads.
    pub(crate) fn embed(&self, batch: &Batch) -> Tensor {
        let tokens_btd = embedding(&self.tokens_vd, &batch.ids_bt);
        let tokens_btd = match self.scale {
            Some(scale) => tokens_btd * scale,
            None => tokens_btd,
        };
        match &self.places {
            Places::Learned { table_td, offset } => {
                let rows_bt = &batch.positions_bt + *offset;
                tokens_btd + embedding(table_td, &rows_bt)
            }
            Places::Rotary(_) => tokens_btd,
        }
    }

    /// The block `at`, for all tokens or the one of each row that `at_b` names.
    pub(crate) fn block(
        &self,
        at: usize,
        x_btd: &Tensor,
        batch: &Batch,
        at_b: Option<&Tensor>,
        rotation: Option<&Rotation>,
        past: Option<&mut Past>,
    ) -> Tensor {
        let block = &self.blocks[at];
        block.forward(x_btd, batch.attend(block.windowed), at_b, rotation, past)
    }

    /// States of what the last block leaves.
    pub(crate) fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.norm.forward(x_btd)
    }

    /// Logits from states through the output matrix, `[.., d]` to `[.., v]`.
    pub(crate) fn unembed(&self, x_d: &Tensor) -> Tensor {
        let logits_v = self.unembedding.forward(x_d);
        match self.logit_cap {
            Some(cap) => (logits_v / cap).tanh() * cap,
            None => logits_v,
        }
    }

    /// The cross-entropy of the tokens `next_n` after states `[n, d]`, see [`cross_entropy`].
    pub(crate) fn cross_entropy(&self, x_nd: &Tensor, next_n: &Tensor, factor: f64) -> Tensor {
        match self.unembedding.plain() {
            Some((weight, bias)) => cross_entropy(x_nd, weight, bias, next_n, self.logit_cap, factor),
            None => {
                let logits_nv = self.unembed(x_nd).to_kind(Kind::Float);
                logits_nv.cross_entropy_loss(next_n, None::<Tensor>, Reduction::Sum, -100, 0.0)
            }
        }
    }

    /// Past how many tokens of a row nothing that was remembered of it holds any longer.
    pub(crate) fn settled(&self) -> Option<usize> {
        match &self.places {
            Places::Learned { .. } => None,
            Places::Rotary(angles) => angles.settled(),
        }
    }
}

impl Block {
    fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        let norm =
            |module| description.family.has(module).then(|| Norm::new(description, tensors, module, block));
        Self {
            attention_norm: Norm::new(description, tensors, Module::AttentionNorm, block),
            attention: Attention::new(description, tensors, block),
            attention_post_norm: norm(Module::AttentionPostNorm),
            feed_forward_norm: norm(Module::FeedForwardNorm),
            feed_forward: FeedForward::new(description, tensors, block),
            feed_forward_post_norm: norm(Module::FeedForwardPostNorm),
            parallel: description.traits.parallel,
            windowed: description.window(block).is_some(),
        }
    }

    fn forward(
        &self,
        x_btd: &Tensor,
        attend: &Attend,
        at_b: Option<&Tensor>,
        rotation: Option<&Rotation>,
        past: Option<&mut Past>,
    ) -> Tensor {
        let normed_btd = self.attention_norm.forward(x_btd);
        let attended_btd = self.attention.decode(&normed_btd, attend, at_b, rotation, past);
        let attended_btd = through(&self.attention_post_norm, attended_btd);
        let [x_btd, normed_btd] = match at_b {
            Some(at_b) => [pick(x_btd, at_b), pick(&normed_btd, at_b)],
            None => [x_btd.shallow_clone(), normed_btd],
        };
        let written_btd = &x_btd + attended_btd;
        let read_btd = if self.parallel { &x_btd } else { &written_btd };
        let normed_btd = match &self.feed_forward_norm {
            Some(norm) => norm.forward(read_btd),
            None => normed_btd,
        };
        let fed_btd = through(&self.feed_forward_post_norm, self.feed_forward.forward(&normed_btd));
        written_btd + fed_btd
    }
}
