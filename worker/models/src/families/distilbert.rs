//! distilbert (Sanh et al. 2019): bert without segments and pooler, whose classifier has a layer of its own.

use std::collections::BTreeMap;

use fulcrum_common::plan::Head;
use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    labels::{self, Labels},
};
use crate::{
    ModelError,
    description::{Activation, Description, SpecialTokens, Traits},
};

/// The family.
pub(super) static DISTILBERT: Family = Family {
    model_type: "distilbert",
    causal: false,
    fields: Fields {
        positions: "max_position_embeddings",
        hidden: "dim",
        layers: "n_layers",
        heads: "n_heads",
        inner: "hidden_dim",
        norm_epsilon: "layer_norm_eps",
    },
    read,
    write,
    prefix: "distilbert.",
    embeddings: &[
        Weight::table(Module::TokenEmbedding, "embeddings.word_embeddings"),
        Weight::table(Module::PositionEmbedding, "embeddings.position_embeddings"),
        Weight::biased(Module::EmbeddingNorm, "embeddings.LayerNorm"),
    ],
    block: &[
        Weight::biased(Module::AttentionQuery, "transformer.layer.{}.attention.q_lin"),
        Weight::biased(Module::AttentionKey, "transformer.layer.{}.attention.k_lin"),
        Weight::biased(Module::AttentionValue, "transformer.layer.{}.attention.v_lin"),
        Weight::biased(Module::AttentionOutput, "transformer.layer.{}.attention.out_lin"),
        Weight::biased(Module::AttentionNorm, "transformer.layer.{}.sa_layer_norm"),
        Weight::biased(Module::FeedForwardUp, "transformer.layer.{}.ffn.lin1"),
        Weight::biased(Module::FeedForwardDown, "transformer.layer.{}.ffn.lin2"),
        Weight::biased(Module::FeedForwardNorm, "transformer.layer.{}.output_layer_norm"),
    ],
    output: &[Weight::biased(Module::HeadInner, "pre_classifier")],
    unembed: None,
    classifier: Weight::biased(Module::Classifier, "classifier"),
    // Positions 0, 1, 2, ..., and the output for masked tokens.
    ignored: &[
        "embeddings.position_ids",
        "vocab_transform.weight",
        "vocab_transform.bias",
        "vocab_layer_norm.weight",
        "vocab_layer_norm.bias",
        "vocab_projector.weight",
        "vocab_projector.bias",
    ],
    unembedding: None,
    renamed: &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
};

const BARE: &str = "DistilBertModel";
const MASKED: &str = "DistilBertForMaskedLM";
const CLASSIFIER: &str = "DistilBertForSequenceClassification";

/// `config.json`, with the defaults of transformers. The dropouts are read by nobody: training here has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    max_position_embeddings: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    activation: String,
    dropout: f64,
    attention_dropout: f64,
    seq_classif_dropout: f64,
    pad_token_id: Option<i64>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<i64>,
    torch_dtype: Option<String>,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<BTreeMap<String, usize>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: None,
            model_type: DISTILBERT.model_type.to_owned(),
            vocab_size: 30522,
            max_position_embeddings: 512,
            dim: 768,
            n_layers: 6,
            n_heads: 12,
            hidden_dim: 3072,
            activation: "gelu".to_owned(),
            dropout: 0.0,
            attention_dropout: 0.0,
            seq_classif_dropout: 0.0,
            pad_token_id: Some(0),
            bos_token_id: None,
            eos_token_id: None,
            torch_dtype: Some("float32".to_owned()),
            num_labels: None,
            id2label: None,
            label2id: None,
        }
    }
}

fn read(text: &str) -> Result<Description, ReadError> {
    /// The family has no field for it.
    const EPSILON: f64 = 1e-12;
    let config: Config = serde_json::from_str(text)?;
    Ok(Description {
        family: &DISTILBERT,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        segments: 0,
        hidden: config.dim,
        layers: config.n_layers,
        heads: config.n_heads,
        inner: config.hidden_dim,
        activation: activation("activation", &config.activation)?,
        norm_epsilon: EPSILON,
        traits: Traits { head_activation: Activation::Relu, ..Traits::default() },
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

fn head(config: &Config) -> Result<Option<Head>, ModelError> {
    match labels::architecture(config.architectures.as_deref())? {
        None | Some(BARE | MASKED) => Ok(None),
        Some(CLASSIFIER) => labels::sequence_head(config.id2label.as_ref(), config.num_labels).map(Some),
        Some(other) => Err(ModelError::field(
            "architectures",
            format!("[{other:?}]"),
            format!("use {BARE}, {MASKED} or {CLASSIFIER}"),
        )),
    }
}

fn write(description: &Description) -> serde_json::Result<String> {
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(vec![description.head.map_or(BARE, |_| CLASSIFIER).to_owned()]),
        vocab_size: description.vocabulary,
        max_position_embeddings: description.positions,
        dim: description.hidden,
        n_layers: description.layers,
        n_heads: description.heads,
        hidden_dim: description.inner,
        activation: activation_name(description.activation).to_owned(),
        pad_token_id: description.tokens.pad,
        bos_token_id: description.tokens.begin,
        eos_token_id: description.tokens.end,
        id2label,
        label2id,
        ..Config::default()
    })
}
