//! The encoder: tokens in, states out, each from the whole text.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use fulcrum_torch_shim::embedding;
use tch::Tensor;

use crate::{
    attend::Attend,
    attention::Attention,
    batch::{Batch, pick},
    description::{Description, Positions},
    families::Module,
    layout::{Part, Tensors},
    modules::{FeedForward, Norm},
};

/// Embeddings with a norm, blocks with norms after each half.
#[derive(Debug)]
pub(crate) struct Encoder {
    tokens_vd: Tensor,
    positions_td: Tensor,
    /// Row of `positions_td` of the first position.
    offset: i64,
    segments_sd: Option<Tensor>,
    norm: Norm,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    attention: Attention,
    attention_norm: Norm,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

impl Encoder {
    pub(crate) fn new(description: &Description, tensors: &Tensors) -> Self {
        let offset = match description.traits.place {
            Positions::Learned { offset } => offset as i64,
            Positions::Rotary(_) => 0,
        };
        Self {
            tokens_vd: tensors.weight(Module::TokenEmbedding, 0),
            positions_td: tensors.weight(Module::PositionEmbedding, 0),
            offset,
            segments_sd: tensors.find(Module::SegmentEmbedding, 0, Part::Weight),
            norm: Norm::new(description, tensors, Module::EmbeddingNorm, 0),
            blocks: (0..description.layers).map(|block| Block::new(description, tensors, block)).collect(),
        }
    }

    /// What the first block reads; every token is of the first segment.
    pub(crate) fn embed(&self, batch: &Batch) -> Tensor {
        let tokens_btd = embedding(&self.tokens_vd, &batch.ids_bt);
        let rows_bt = &batch.positions_bt + self.offset;
        let placed_btd = tokens_btd + embedding(&self.positions_td, &rows_bt);
        let embedded_btd = match &self.segments_sd {
            Some(segments_sd) => placed_btd + segments_sd.select(0, 0),
            None => placed_btd,
        };
        self.norm.forward(&embedded_btd)
    }

    /// The block `at`, for all tokens or the one of each row that `at_b` names.
    pub(crate) fn block(&self, at: usize, x_btd: &Tensor, batch: &Batch, at_b: Option<&Tensor>) -> Tensor {
        self.blocks[at].forward(x_btd, &batch.attend, at_b)
    }
}

impl Block {
    fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        Self {
            attention: Attention::new(description, tensors, block),
            attention_norm: Norm::new(description, tensors, Module::AttentionNorm, block),
            feed_forward: FeedForward::new(description, tensors, block),
            feed_forward_norm: Norm::new(description, tensors, Module::FeedForwardNorm, block),
        }
    }

    fn forward(&self, x_btd: &Tensor, attend: &Attend, at_b: Option<&Tensor>) -> Tensor {
        let attended_btd = self.attention.forward(x_btd, attend, at_b);
        let x_btd = at_b.map_or_else(|| x_btd.shallow_clone(), |at_b| pick(x_btd, at_b));
        let x_btd = self.attention_norm.forward(&(x_btd + attended_btd));
        self.feed_forward_norm.forward(&(&x_btd + self.feed_forward.forward(&x_btd)))
    }
}
