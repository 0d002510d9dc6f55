//! In what transformers differ from each other, as far as the computation asks.

use crate::{description::Activation, rotary::Rotary};

/// In what a transformer departs from the plain one; the default is the plain one: as many heads for keys as for
/// queries, layer norms, learned positions, one half of a block after the other, an output that is the token
/// embedding, and no biases but those that the family's weight table has always.
///
/// Which norms stand in a block, and whether its feed-forward network is gated, is told by that table.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    /// Heads of keys and values, each shared by as many query heads (Ainslie et al. 2023, section 2.2); none for
    /// one per query head.
    pub(crate) key_heads: Option<usize>,
    /// Width of a head; none for `hidden` over `heads`.
    pub(crate) head_width: Option<usize>,
    /// How queries, keys and values lie in one matrix, where they do.
    pub(crate) fused: Fused,
    /// What is divided out of the states.
    pub(crate) norm: NormKind,
    /// How a token knows its place.
    pub(crate) place: Positions,
    /// Whether both halves of a block read the same states (Wang and Komatsuzaki 2021) rather than the second
    /// what the first wrote. Without a norm of its own the second half then reads through that of the first.
    pub(crate) parallel: bool,
    /// Factor of the attention scores; none for one over the root of the head's width.
    pub(crate) attention_scale: Option<f64>,
    /// Attention scores x become c tanh(x / c) with this c (Gemma Team 2024, section 2).
    pub(crate) attention_cap: Option<f64>,
    /// The same for logits.
    pub(crate) logit_cap: Option<f64>,
    /// Layers in which a token sees only the nearest ones.
    pub(crate) window: Option<Window>,
    /// Factor of the token embeddings on their way in.
    pub(crate) embedding_scale: Option<f64>,
    /// Whether the output is the token embedding.
    pub(crate) tied: bool,
    /// Nonlinearity between the two layers of a head that has two.
    pub(crate) head_activation: Activation,
    /// Biases that the weight table leaves to the configuration.
    pub(crate) biases: Biases,
    /// Parameters of the network that makes the vectors which a probe reads.
    pub(crate) below: usize,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            key_heads: None,
            head_width: None,
            fused: Fused::InTurn,
            norm: NormKind::Layer,
            place: Positions::Learned { offset: 0 },
            parallel: false,
            attention_scale: None,
            attention_cap: None,
            logit_cap: None,
            window: None,
            embedding_scale: None,
            tied: true,
            head_activation: Activation::Tanh,
            biases: Biases::default(),
            below: 0,
        }
    }
}

/// Order of the rows of a matrix for queries, keys and values together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fused {
    /// All queries, all keys, all values.
    InTurn,
    /// Query, key and value of the first head, then of the second; as many heads for each.
    ByHead,
}

/// Norms, by what they compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Mean and variance (Ba et al. 2016).
    Layer,
    /// Root of the mean square (Zhang and Sennrich 2019, equation 4).
    Rms,
    /// The same with the gain stored less 1.
    RmsPlusOne,
}

/// How a token knows its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Positions {
    /// By an embedding that is added; its table has `offset` rows before the first position.
    Learned {
        /// Rows that no position uses.
        offset: usize,
    },
    /// By rotating queries and keys.
    Rotary(Rotary),
}

/// Sliding windows of attention (Beltagy et al. 2020, section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// How many tokens a token sees, itself among them.
    pub(crate) tokens: usize,
    /// Whether a layer has the window; at least as many as there are layers.
    pub(crate) layers: Vec<bool>,
}

/// Which matrices carry a bias, where the configuration decides that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Biases {
    /// Of queries, keys and values.
    pub(crate) attention: bool,
    /// Of what attention writes.
    pub(crate) attention_output: bool,
    /// Of the feed-forward network.
    pub(crate) feed_forward: bool,
}
