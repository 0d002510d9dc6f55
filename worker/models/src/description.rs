//! A model as the computation reads it: checked, and independent of how any family spells it.
//!
//! A [`Description`] is made by a family from its own `config.json` struct (or from an experiment's
//! architecture), passes [`Description::check`] once, and from then on every size in it can be trusted.

use fulcrum_common::plan::{Architecture, Head, Readout};

pub(crate) use crate::traits::{Biases, Fused, NormKind, Positions, Traits, Window};
use crate::{ModelError, families::Family};

/// What a transformer is made of. Which matrices it has, and which of them carry a bias, is told by the
/// family's weight table.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// Who spells it.
    pub(crate) family: &'static Family,
    /// Tokens of the vocabulary.
    pub(crate) vocabulary: usize,
    /// Longest sequence that the model was made for, in tokens.
    pub(crate) positions: usize,
    /// Kinds of segments that tokens may belong to; zero where the family knows none.
    pub(crate) segments: usize,
    /// Width of the residual stream.
    pub(crate) hidden: usize,
    /// Blocks.
    pub(crate) layers: usize,
    /// Attention heads; divides `hidden` unless the traits give a head a width of its own.
    pub(crate) heads: usize,
    /// Width inside the feed-forward network.
    pub(crate) inner: usize,
    /// Nonlinearity of the feed-forward network.
    pub(crate) activation: Activation,
    /// What is added to the variance in a norm.
    pub(crate) norm_epsilon: f64,
    /// In what it departs from the plain transformer.
    pub(crate) traits: Traits,
    /// Ids with a meaning.
    pub(crate) tokens: SpecialTokens,
    /// Ids beside [`SpecialTokens::end`] that end a text.
    pub(crate) further_ends: Vec<i64>,
    /// What the model ends in; none for a bare encoder.
    pub(crate) head: Option<Head>,
    /// Where a classifier or a reward reads, if not where the family does. It is told by a key of every family:
    /// a family leaves it empty.
    pub(crate) readout: Option<Readout>,
    /// What the classes are called, if they have names. As with `readout`, a family leaves it empty.
    pub(crate) labels: Option<Vec<String>>,
}

/// Nonlinearities, by what they compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x Phi(x), with the normal distribution function (Hendrycks and Gimpel 2016, section 2).
    Gelu,
    /// Its approximation by tanh (same section).
    GeluTanh,
    /// x sigmoid(x) (same paper, section 2, as the SiLU).
    Silu,
    /// max(x, 0).
    Relu,
    /// tanh x.
    Tanh,
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
            let least = usize::from(!(self.is_probe() && field == names.layers));
            if !(least..=limit).contains(&value) {
                return Err(ModelError::field(field, value, format!("it must be from 1 to {limit}")));
            }
        }
        self.check_heads()?;
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
        self.check_traits()?;
        self.head.map_or(Ok(()), |head| check_head(self.family, head))?;
        Ok(self)
    }

    fn check_heads(&self) -> Result<(), ModelError> {
        /// Wider than any head; with the bound on heads it keeps products small.
        const WIDTH: usize = 1 << 12;
        let names = &self.family.fields;
        match self.traits.head_width {
            None if !self.hidden.is_multiple_of(self.heads) => {
                let reason = format!("it must divide {} = {}", names.hidden, self.hidden);
                return Err(ModelError::field(names.heads, self.heads, reason));
            }
            Some(width) if !(1..=WIDTH).contains(&width) => {
                return Err(ModelError::field("head_dim", width, format!("it must be from 1 to {WIDTH}")));
            }
            _ => {}
        }
        let key_heads = self.key_heads();
        if key_heads == 0 || !self.heads.is_multiple_of(key_heads) {
            let reason = format!("it must divide {} = {}", names.heads, self.heads);
            return Err(ModelError::field("num_key_value_heads", key_heads, reason));
        }
        Ok(())
    }

    fn check_traits(&self) -> Result<(), ModelError> {
        let traits = &self.traits;
        let factors = [
            ("query_pre_attn_scalar", traits.attention_scale),
            ("attn_logit_softcapping", traits.attention_cap),
            ("final_logit_softcapping", traits.logit_cap),
            ("embedding scale", traits.embedding_scale),
        ];
        for (field, factor) in factors {
            if let Some(factor) = factor.filter(|factor| !(factor.is_finite() && *factor > 0.0)) {
                return Err(ModelError::field(field, factor, "it must be a number above 0"));
            }
        }
        if let Some(window) = &traits.window {
            if window.tokens == 0 {
                return Err(ModelError::field("sliding_window", 0, "it must be at least 1, or null"));
            }
            if window.layers.len() < self.layers {
                let reason = format!("{} = {}", self.family.fields.layers, self.layers);
                return Err(ModelError::field("layer_types", window.layers.len(), reason));
            }
        }
        match &traits.place {
            Positions::Learned { .. } => Ok(()),
            Positions::Rotary(rotary) => rotary.check(self.head_width()),
        }
    }

    /// Whether there is nothing below the head.
    pub(crate) fn is_probe(&self) -> bool {
        self.family.block.is_empty()
    }

    /// What has no network of its own: its one token is given as a vector of `width` numbers.
    pub(crate) fn of_vectors(family: &'static Family, width: usize) -> Self {
        Self {
            family,
            vocabulary: 1,
            positions: 1,
            segments: 0,
            hidden: width,
            layers: 0,
            heads: 1,
            inner: 1,
            activation: Activation::Relu,
            norm_epsilon: 1e-5,
            traits: Traits::default(),
            tokens: SpecialTokens::default(),
            further_ends: Vec::new(),
            head: None,
            readout: None,
            labels: None,
        }
    }

    /// Width of a head.
    pub(crate) fn head_width(&self) -> usize {
        self.traits.head_width.unwrap_or(self.hidden / self.heads.max(1))
    }

    /// Heads of keys and values.
    pub(crate) fn key_heads(&self) -> usize {
        self.traits.key_heads.unwrap_or(self.heads)
    }

    /// How many tokens a token of that layer sees, where not all.
    pub(crate) fn window(&self, layer: usize) -> Option<usize> {
        self.traits.window.as_ref().filter(|window| window.layers[layer]).map(|window| window.tokens)
    }

    /// The longest sequence that the model takes: its positions, stretched where the configuration scales them.
    pub(crate) fn longest(&self) -> usize {
        match &self.traits.place {
            Positions::Learned { .. } => self.positions,
            Positions::Rotary(rotary) => rotary.longest(self.positions).min(Architecture::MOST_CONTEXT),
        }
    }

    /// Logits per sequence; none for a head that gives them per token, and for no head.
    pub(crate) fn logits(&self) -> Option<usize> {
        match self.head {
            Some(Head::Classifier { classes }) => Some(classes),
            Some(Head::Reward) => Some(1),
            Some(Head::LanguageModel) | None => None,
        }
    }

    /// Where the family's own heads read: only the last token of a decoder has seen the whole text, and an
    /// encoder's first is there for that (Devlin et al. 2019, section 3.1).
    pub(crate) fn own_readout(&self) -> Readout {
        if self.family.causal { Readout::Last } else { Readout::First }
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
            traits: Traits::default(),
            tokens,
            further_ends: Vec::new(),
            head: Some(Head::LanguageModel),
            readout: None,
            labels: None,
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
