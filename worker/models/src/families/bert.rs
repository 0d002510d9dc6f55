//! bert (Devlin et al. 2019): an encoder with learned positions and segments, norms after each half of a
//! block, and a pooler over the first token under the classifier.

use fulcrum_common::plan::Head;
use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    labels::{self, Labels},
    must_be,
};
use crate::{
    ModelError,
    description::{Description, SpecialTokens, Traits},
};

/// The family.
pub(super) static BERT: Family = LIKE;

/// The weights of such a family, under names that others have taken over.
pub(super) const LIKE: Family = Family {
    model_type: "bert",
    causal: false,
    fields: Fields {
        positions: "max_position_embeddings",
        hidden: "hidden_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        inner: "intermediate_size",
        norm_epsilon: "layer_norm_eps",
    },
    read,
    write,
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

const BARE: &str = "BertModel";
const MASKED: &str = "BertForMaskedLM";
const PRETRAINED: &str = "BertForPreTraining";
const CLASSIFIER: &str = "BertForSequenceClassification";

/// `config.json`, with the defaults of transformers. The dropouts are read by nobody: training here has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
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
    label2id: Option<std::collections::BTreeMap<String, usize>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: None,
            model_type: LIKE.model_type.to_owned(),
            vocab_size: 30522,
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
            pad_token_id: Some(0),
            bos_token_id: None,
            eos_token_id: None,
            position_embedding_type: "absolute".to_owned(),
            is_decoder: false,
            torch_dtype: Some("float32".to_owned()),
            num_labels: None,
            id2label: None,
            label2id: None,
        }
    }
}

fn read(text: &str) -> Result<Description, ReadError> {
    let config: Config = serde_json::from_str(text)?;
    must_be("is_decoder", config.is_decoder, false)?;
    check_position_kind(&config.position_embedding_type)?;
    check_segments(config.type_vocab_size)?;
    Ok(Description {
        family: &BERT,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        segments: config.type_vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: activation("hidden_act", &config.hidden_act)?,
        norm_epsilon: config.layer_norm_eps,
        traits: Traits::default(),
        tokens: SpecialTokens {
            pad: config.pad_token_id,
            begin: config.bos_token_id,
            end: config.eos_token_id,
        },
        further_ends: Vec::new(),
        head: head(&config)?,
        readout: None,
        labels: None,
    })
}

/// Refuses positions that are not looked up in a table.
pub(super) fn check_position_kind(kind: &str) -> Result<(), ModelError> {
    if kind == "absolute" {
        return Ok(());
    }
    Err(ModelError::field("position_embedding_type", format!("{kind:?}"), "only \"absolute\" is"))
}

/// Bounds the kinds of segments.
pub(super) fn check_segments(kinds: usize) -> Result<(), ModelError> {
    /// More than any model has; a bound for the allocation.
    const MOST: usize = 1 << 10;
    if (1..=MOST).contains(&kinds) {
        return Ok(());
    }
    Err(ModelError::field("type_vocab_size", kinds, format!("it must be from 1 to {MOST}")))
}

fn head(config: &Config) -> Result<Option<Head>, ModelError> {
    match labels::architecture(config.architectures.as_deref())? {
        None | Some(BARE | MASKED | PRETRAINED) => Ok(None),
        Some(CLASSIFIER) => labels::sequence_head(config.id2label.as_ref(), config.num_labels).map(Some),
        Some(other) => Err(ModelError::field(
            "architectures",
            format!("[{other:?}]"),
            format!("use {BARE}, {MASKED}, {PRETRAINED} (with their pooler) or {CLASSIFIER}"),
        )),
    }
}

fn write(description: &Description) -> serde_json::Result<String> {
    let architecture = match description.head {
        Some(_) => CLASSIFIER,
        None => BARE,
    };
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(vec![architecture.to_owned()]),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        num_hidden_layers: description.layers,
        num_attention_heads: description.heads,
        intermediate_size: description.inner,
        hidden_act: activation_name(description.activation).to_owned(),
        max_position_embeddings: description.positions,
        type_vocab_size: description.segments,
        layer_norm_eps: description.norm_epsilon,
        pad_token_id: description.tokens.pad,
        bos_token_id: description.tokens.begin,
        eos_token_id: description.tokens.end,
        id2label,
        label2id,
        ..Config::default()
    })
}
