//! A model as the computation reads it: checked, and independent of how any family spells it.
//!
//! A [`Description`] is made by a family from its own `config.json` struct (or from an experiment's
//! architecture), passes [`Description::check`] once, and from then on every size in it can be trusted.

use fulcrum_common::plan::{Architecture, Head};

use crate::{ModelError, families::Family};

/// What a transformer is made of. Which matrices it has, and which of them carry a bias, is told by the
/// family's weight table.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// Who spells it.
    pub(crate) family: &'static Family,
    /// Tokens of the vocabulary.
    pub(crate) vocabulary: usize,
    /// Longest sequence, in tokens.
    pub(crate) positions: usize,
    /// Kinds of segments that tokens may belong to; zero where the family knows none.
    pub(crate) segments: usize,
    /// Width of the residual stream.
    pub(crate) hidden: usize,
    /// Blocks.
    pub(crate) layers: usize,
    /// Attention heads; divides `hidden`.
    pub(crate) heads: usize,
    /// Width inside the feed-forward network.
    pub(crate) inner: usize,
    /// Nonlinearity of the feed-forward network.
    pub(crate) activation: Activation,
    /// What is added to the variance in a layer norm.
    pub(crate) norm_epsilon: f64,
    /// Ids with a meaning.
    pub(crate) tokens: SpecialTokens,
    /// What the model ends in; none for a bare encoder.
    pub(crate) head: Option<Head>,
}

/// Nonlinearities, by what they compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x Phi(x), with the normal distribution function (Hendrycks and Gimpel 2016, section 2).
    Gelu,
    /// Its approximation by tanh (same section).
    GeluTanh,
}

/// Token ids with a meaning, where the model's files name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Fills short rows.
    pub pad: Option<i64>,
    /// Begins a text.
    pub begin: Option<i64>,
    /// Ends a text.
    pub end: Option<i64>,
}

/// A size, its name in `config.json`, and the largest value that is believed.
type Bound = (&'static str, usize, usize);

impl Description {
    /// Bounds every size, so that no later product overflows and nothing is allocated for a nonsense model.
    ///
    /// # Errors
    /// Names field, value and bound.
    pub(crate) fn check(self) -> Result<Self, ModelError> {
        let names = &self.family.fields;
        let bounds: [Bound; 6] = [
            ("vocab_size", self.vocabulary, 1 << 24),
            (names.positions, self.positions, Architecture::MOST_CONTEXT),
            (names.hidden, self.hidden, Architecture::MOST_HIDDEN),
            (names.layers, self.layers, Architecture::MOST_LAYERS),
            (names.heads, self.heads, Architecture::MOST_HEADS),
            (names.inner, self.inner, 1 << 20),
        ];
        for (field, value, limit) in bounds {
            if !(1..=limit).contains(&value) {
                return Err(ModelError::field(field, value, format!("it must be from 1 to {limit}")));
            }
        }
        if !self.hidden.is_multiple_of(self.heads) {
            let reason = format!("it must divide {} = {}", names.hidden, self.hidden);
            return Err(ModelError::field(names.heads, self.heads, reason));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(ModelError::field(
                names.norm_epsilon,
                self.norm_epsilon,
                "it must be between 0 and 1",
            ));
        }
        if let Some(pad) = self.tokens.pad.filter(|pad| !(0..self.vocabulary as i64).contains(pad)) {
            return Err(ModelError::field(
                "pad_token_id",
                pad,
                format!("the vocabulary has {}", self.vocabulary),
            ));
        }
        self.head.map_or(Ok(()), |head| check_head(self.family, head))?;
        Ok(self)
    }

    /// The shape of a decoder from scratch, spelled by the gpt2 family.
    ///
    /// # Errors
    /// As [`Description::check`].
    pub(crate) fn from_scratch(
        architecture: &Architecture,
        vocabulary: usize,
        tokens: SpecialTokens,
    ) -> Result<Self, ModelError> {
        let Architecture { layers, hidden, heads, context } = *architecture;
        let description = Self {
            family: &crate::families::GPT2,
            vocabulary,
            positions: context,
            segments: 0,
            hidden,
            layers,
            heads,
            inner: hidden.saturating_mul(4),
            activation: Activation::GeluTanh,
            norm_epsilon: 1e-5,
            tokens,
            head: Some(Head::LanguageModel),
        };
        description.check()
    }
}

/// Whether a model of this family can end so.
///
/// # Errors
/// Names the head.
pub(crate) fn check_head(family: &'static Family, head: Head) -> Result<(), ModelError> {
    /// More classes than any labelled text has; a bound for the allocation.
    const CLASSES: usize = 1 << 16;
    let refused = |head: String| Err(ModelError::Head { family: family.model_type, head });
    match head {
        Head::LanguageModel if !family.causal => refused("a language model head".to_owned()),
        Head::Classifier { classes } if !(2..=CLASSES).contains(&classes) => {
            refused(format!("a classifier of {classes} classes: give a number from 2 to {CLASSES}"))
        }
        _ => Ok(()),
    }
}
