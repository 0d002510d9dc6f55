//! The decoder: tokens in, states out, each from the tokens before it.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use tch::Tensor;

use crate::{
    batch::{Attend, Batch},
    description::Description,
    families::Module,
    layout::Tensors,
    modules::{Attention, FeedForward, Norm},
};

/// Embeddings, blocks with norms before each half, a final norm.
#[derive(Debug)]
pub(crate) struct Decoder {
    tokens_vd: Tensor,
    positions_td: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
}

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

impl Decoder {
    pub(crate) fn new(description: &Description, tensors: &Tensors) -> Self {
        Self {
            tokens_vd: tensors.weight(Module::TokenEmbedding, 0),
            positions_td: tensors.weight(Module::PositionEmbedding, 0),
            blocks: (0..description.layers).map(|block| Block::new(description, tensors, block)).collect(),
            norm: Norm::new(description, tensors, Module::FinalNorm, 0),
        }
    }

    /// States `[b, t, d]`.
    pub(crate) fn forward(&self, batch: &Batch) -> Tensor {
        let tokens_btd = Tensor::embedding(&self.tokens_vd, &batch.ids_bt, -1, false, false);
        let positions_btd = Tensor::embedding(&self.positions_td, &batch.positions_bt, -1, false, false);
        let embedded_btd = tokens_btd + positions_btd;
        let x_btd =
            self.blocks.iter().fold(embedded_btd, |x_btd, block| block.forward(&x_btd, &batch.attend));
        self.norm.forward(&x_btd)
    }

    /// Logits from states through the token embedding, `[b, t, d]` to `[b, t, v]`.
    pub(crate) fn unembed(&self, x_btd: &Tensor) -> Tensor {
        x_btd.linear(&self.tokens_vd, None::<&Tensor>)
    }
}

impl Block {
    fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        Self {
            attention_norm: Norm::new(description, tensors, Module::AttentionNorm, block),
            attention: Attention::new(description, tensors, block),
            feed_forward_norm: Norm::new(description, tensors, Module::FeedForwardNorm, block),
            feed_forward: FeedForward::new(description, tensors, block),
        }
    }

    fn forward(&self, x_btd: &Tensor, attend: &Attend) -> Tensor {
        let x_btd = x_btd + self.attention.forward(&self.attention_norm.forward(x_btd), attend);
        &x_btd + self.feed_forward.forward(&self.feed_forward_norm.forward(&x_btd))
    }
}
