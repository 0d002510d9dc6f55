//! bert (Devlin et al. 2019): an encoder with learned positions and segments, norms after each half of a
//! block, and a pooler over the first token under the classifier; and what the families that took over its names have
//! in common.

use std::collections::BTreeMap;

use fulcrum_common::plan::Head;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    labels::{self, Labels},
    must_be,
};
use crate::{
    ModelError,
    description::{Description, Positions, SpecialTokens, Traits},
};

/// The family.
pub(super) static BERT: Family = LIKE;

static KIN: Kin = Kin {
    family: &BERT,
    bare: "BertModel",
    pretrained: &["BertForMaskedLM", "BertForPreTraining"],
    classifier: "BertForSequenceClassification",
    vocabulary: 30522,
    tokens: SpecialTokens { pad: Some(0), begin: None, end: None },
    after_padding: false,
};

/// The weights of such a family, under names that others have taken over.
pub(super) const LIKE: Family = Family {
    model_type: "bert",
    causal: false,
    fields: Fields::USUAL,
    read: |text| read(text, &KIN),
    write: |description| write(description, &KIN),
    prefix: "bert.",
    embeddings: &[
        Weight::table(Module::TokenEmbedding, "embeddings.word_embeddings"),
        Weight::table(Module::PositionEmbedding, "embeddings.position_embeddings"),
        Weight::table(Module::SegmentEmbedding, "embeddings.token_type_embeddings"),
        Weight::biased(Module::EmbeddingNorm, "embeddings.LayerNorm"),
    ],
    block: &[
        Weight::biased(Module::AttentionQuery, "encoder.layer.{}.attention.self.query"),
        Weight::biased(Module::AttentionKey, "encoder.layer.{}.attention.self.key"),
        Weight::biased(Module::AttentionValue, "encoder.layer.{}.attention.self.value"),
        Weight::biased(Module::AttentionOutput, "encoder.layer.{}.attention.output.dense"),
        Weight::biased(Module::AttentionNorm, "encoder.layer.{}.attention.output.LayerNorm"),
        Weight::biased(Module::FeedForwardUp, "encoder.layer.{}.intermediate.dense"),
        Weight::biased(Module::FeedForwardDown, "encoder.layer.{}.output.dense"),
        Weight::biased(Module::FeedForwardNorm, "encoder.layer.{}.output.LayerNorm"),
    ],
    output: &[Weight::biased(Module::Pooler, "pooler.dense")],
    unembed: None,
    classifier: Weight::biased(Module::Classifier, "classifier"),
    // Positions 0, 1, 2, ..., which old versions of transformers kept with the weights; the outputs that a model was
    // pretrained with.
    ignored: &[
        "embeddings.position_ids",
        "cls.predictions.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ],
    unembedding: None,
    renamed: &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
};

/// In what a family departs from bert where the names in its `config.json` are the same.
pub(super) struct Kin {
    pub(super) family: &'static Family,
    /// The architecture without a head.
    pub(super) bare: &'static str,
    /// Architectures of pretraining, whose outputs are passed over.
    pub(super) pretrained: &'static [&'static str],
    /// The one architecture with a head.
    pub(super) classifier: &'static str,
    /// `vocab_size` where a configuration is silent, as transformers has it; so with `tokens`.
    pub(super) vocabulary: usize,
    pub(super) tokens: SpecialTokens,
    /// Whether positions begin after the id of the padding token.
    pub(super) after_padding: bool,
}

/// `config.json`. The dropouts are read by nobody: training here has none.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    pad_token_id: Option<i64>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<i64>,
    position_embedding_type: String,
    is_decoder: bool,
    torch_dtype: Option<String>,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<BTreeMap<String, usize>>,
}

impl Kin {
    /// The defaults of transformers, which hold where a configuration is silent.
    fn defaults(&self) -> Config {
        Config {
            architectures: None,
            model_type: self.family.model_type.to_owned(),
            vocab_size: self.vocabulary,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: self.tokens.pad,
            bos_token_id: self.tokens.begin,
            eos_token_id: self.tokens.end,
            position_embedding_type: "absolute".to_owned(),
            is_decoder: false,
            torch_dtype: Some("float32".to_owned()),
            num_labels: None,
            id2label: None,
            label2id: None,
        }
    }

    /// What the text says, over the defaults.
    fn config(&self, text: &str) -> serde_json::Result<Config> {
        let given: Map<String, Value> = serde_json::from_str(text)?;
        let mut fields = serde_json::to_value(self.defaults())?;
        fields.as_object_mut().expect("a struct has fields").extend(given);
        serde_json::from_value(fields)
    }

    fn head(&self, config: &Config) -> Result<Option<Head>, ModelError> {
        match labels::architecture(config.architectures.as_deref())? {
            None => Ok(None),
            Some(found) if found == self.bare || self.pretrained.contains(&found) => Ok(None),
            Some(found) if found == self.classifier => {
                labels::sequence_head(config.id2label.as_ref(), config.num_labels).map(Some)
            }
            Some(other) => {
                let known = [&[self.bare], self.pretrained].concat().join(", ");
                let reason = format!("use {known} or {}", self.classifier);
                Err(ModelError::field("architectures", format!("[{other:?}]"), reason))
            }
        }
    }

    /// How many rows of the table of positions no token uses: where they begin after the padding token's id, those for
    /// all ids up to it.
    ///
    /// # Errors
    /// If that is more than there are.
    fn offset(&self, config: &Config) -> Result<usize, ModelError> {
        if !self.after_padding {
            return Ok(0);
        }
        let rows = config.max_position_embeddings;
        let pad = config.pad_token_id.and_then(|pad| usize::try_from(pad).ok());
        pad.filter(|&pad| pad < rows).map(|pad| pad + 1).ok_or_else(|| {
            let found = config.pad_token_id.map_or_else(|| "null".to_owned(), |pad| pad.to_string());
            let reason = format!("it must be from 0 to below max_position_embeddings = {rows}");
            ModelError::field("pad_token_id", found, reason)
        })
    }
}

/// Reads the `config.json` of such a family.
pub(super) fn read(text: &str, kin: &Kin) -> Result<Description, ReadError> {
    let config = kin.config(text)?;
    must_be("is_decoder", config.is_decoder, false)?;
    check_position_kind(&config.position_embedding_type)?;
    check_segments(config.type_vocab_size)?;
    let offset = kin.offset(&config)?;
    Ok(Description {
        family: kin.family,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings - offset,
        segments: config.type_vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: activation("hidden_act", &config.hidden_act)?,
        norm_epsilon: config.layer_norm_eps,
        traits: Traits { place: Positions::Learned { offset }, ..Traits::default() },
        tokens: SpecialTokens {
            pad: config.pad_token_id,
            begin: config.bos_token_id,
            end: config.eos_token_id,
        },
        further_ends: Vec::new(),
        head: kin.head(&config)?,
        readout: None,
        labels: None,
    })
}

/// Refuses positions that are not looked up in a table.
fn check_position_kind(kind: &str) -> Result<(), ModelError> {
    if kind == "absolute" {
        return Ok(());
    }
    Err(ModelError::field("position_embedding_type", format!("{kind:?}"), "only \"absolute\" is"))
}

/// Bounds the kinds of segments.
fn check_segments(kinds: usize) -> Result<(), ModelError> {
    /// More than any model has; a bound for the allocation.
    const MOST: usize = 1 << 10;
    if (1..=MOST).contains(&kinds) {
        return Ok(());
    }
    Err(ModelError::field("type_vocab_size", kinds, format!("it must be from 1 to {MOST}")))
}

/// Writes the `config.json` of such a family.
pub(super) fn write(description: &Description, kin: &Kin) -> serde_json::Result<String> {
    let offset = match description.traits.place {
        Positions::Learned { offset } => offset,
        Positions::Rotary(_) => 0,
    };
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(vec![description.head.map_or(kin.bare, |_| kin.classifier).to_owned()]),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        num_hidden_layers: description.layers,
        num_attention_heads: description.heads,
        intermediate_size: description.inner,
        hidden_act: activation_name(description.activation).to_owned(),
        max_position_embeddings: offset + description.positions,
        type_vocab_size: description.segments,
        layer_norm_eps: description.norm_epsilon,
        pad_token_id: description.tokens.pad,
        bos_token_id: description.tokens.begin,
        eos_token_id: description.tokens.end,
        id2label,
        label2id,
        ..kin.defaults()
    })
}
