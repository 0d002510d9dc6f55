//! The modules of a transformer: which there are, how their tensors are shaped, and how a family's table names them.

use fulcrum_common::plan::Head;

use crate::description::{Description, NormKind, Positions};

/// One module of the network and its name in a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) module: Module,
    /// Without the prefix, and without `.weight` or `.bias`.
    pub(crate) name: &'static str,
    pub(crate) bias: Bias,
    /// Whether the matrix lies as `[in, out]` on disk; in memory it is `[out, in]` always.
    pub(crate) transposed: bool,
}

/// Whether a module carries a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Never,
    Always,
    /// As [`Traits::biases`](crate::description::Traits::biases) says.
    AsDescribed,
}

impl Weight {
    /// An embedding, or whatever else never has a bias.
    pub(super) const fn table(module: Module, name: &'static str) -> Self {
        Self { module, name, bias: Bias::Never, transposed: false }
    }

    /// A matrix as `torch.nn.Linear` stores it, with or without bias as the configuration says.
    pub(super) const fn linear(module: Module, name: &'static str) -> Self {
        Self { module, name, bias: Bias::AsDescribed, transposed: false }
    }

    /// A norm, or a matrix as `torch.nn.Linear` stores it, with bias.
    pub(super) const fn biased(module: Module, name: &'static str) -> Self {
        Self { module, name, bias: Bias::Always, transposed: false }
    }

    /// A matrix as gpt2's `Conv1D` stores it, with bias.
    pub(super) const fn transposed(module: Module, name: &'static str) -> Self {
        Self { module, name, bias: Bias::Always, transposed: true }
    }

    /// Whether the module has a bias in a model of that description.
    pub(crate) fn has_bias(&self, description: &Description) -> bool {
        match self.bias {
            Bias::Never => false,
            Bias::Always => true,
            Bias::AsDescribed => self.module.described_bias(description),
        }
    }
}

/// The places of a transformer that hold weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Module {
    TokenEmbedding,
    PositionEmbedding,
    SegmentEmbedding,
    EmbeddingNorm,
    /// The norm of the attention half of a block: before it in a decoder, after it in an encoder.
    AttentionNorm,
    /// Queries, keys and values in one matrix.
    AttentionFused,
    AttentionQuery,
    AttentionKey,
    AttentionValue,
    AttentionOutput,
    /// The norm of the query of each head.
    QueryNorm,
    /// The norm of the key of each head.
    KeyNorm,
    /// A second norm of the attention half, of what it writes.
    AttentionPostNorm,
    /// The norm of the feed-forward half of a block.
    FeedForwardNorm,
    /// What multiplies the inside of the feed-forward network, after the nonlinearity.
    FeedForwardGate,
    FeedForwardUp,
    FeedForwardDown,
    /// A second norm of the feed-forward half, of what it writes.
    FeedForwardPostNorm,
    FinalNorm,
    /// A layer between the state that is read and the classifier, which every model of the family has.
    Pooler,
    /// The same where only a model with such a head has it; it takes no prefix.
    HeadInner,
    Unembedding,
    Classifier,
}

impl Module {
    /// Shape of the weight in memory: `[out, in]`, `[rows, hidden]` or, for a norm, `[hidden]`.
    pub(crate) fn shape(self, description: &Description) -> Vec<usize> {
        let Description { vocabulary, positions, segments, hidden, heads, inner, head, .. } = *description;
        let (width, key_heads) = (description.head_width(), description.key_heads());
        match self {
            Self::TokenEmbedding | Self::Unembedding => vec![vocabulary, hidden],
            Self::PositionEmbedding => match description.traits.place {
                Positions::Learned { offset } => vec![offset + positions, hidden],
                Positions::Rotary(_) => Vec::new(),
            },
            Self::SegmentEmbedding => vec![segments, hidden],
            Self::QueryNorm | Self::KeyNorm => vec![width],
            norm if norm.is_norm() => vec![hidden],
            Self::AttentionFused => vec![(heads + 2 * key_heads) * width, hidden],
            Self::AttentionQuery => vec![heads * width, hidden],
            Self::AttentionKey | Self::AttentionValue => vec![key_heads * width, hidden],
            Self::AttentionOutput => vec![hidden, heads * width],
            Self::Pooler | Self::HeadInner => vec![hidden, hidden],
            Self::FeedForwardGate | Self::FeedForwardUp => vec![inner, hidden],
            Self::FeedForwardDown => vec![hidden, inner],
            _ => match head {
                Some(Head::Classifier { classes }) => vec![classes, hidden],
                Some(Head::Reward) => vec![1, hidden],
                Some(Head::LanguageModel) | None => Vec::new(),
            },
        }
    }

    /// Whether the module scales and shifts (begins as the identity) rather than mixes.
    pub(crate) fn is_norm(self) -> bool {
        matches!(
            self,
            Self::EmbeddingNorm
                | Self::AttentionNorm
                | Self::QueryNorm
                | Self::KeyNorm
                | Self::AttentionPostNorm
                | Self::FeedForwardNorm
                | Self::FeedForwardPostNorm
                | Self::FinalNorm
        )
    }

    /// The value of a weight that begins as the identity: the gain of a norm.
    pub(crate) fn identity(self, description: &Description) -> Option<f64> {
        let gain = if description.traits.norm == NormKind::RmsPlusOne { 0.0 } else { 1.0 };
        self.is_norm().then_some(gain)
    }

    /// Whether the description gives the module a bias.
    fn described_bias(self, description: &Description) -> bool {
        let biases = description.traits.biases;
        match self {
            Self::AttentionFused | Self::AttentionQuery | Self::AttentionKey | Self::AttentionValue => {
                biases.attention
            }
            Self::AttentionOutput => biases.attention_output,
            Self::FeedForwardGate | Self::FeedForwardUp | Self::FeedForwardDown => biases.feed_forward,
            _ => false,
        }
    }

    /// Whether the module stands after the state that a classifier or a reward reads.
    pub(crate) fn is_head(self) -> bool {
        matches!(self, Self::Pooler | Self::HeadInner | Self::Classifier)
    }

    /// Whether the module writes into the residual stream of a block.
    pub(crate) fn writes_residual(self) -> bool {
        matches!(self, Self::AttentionOutput | Self::FeedForwardDown)
    }
}
