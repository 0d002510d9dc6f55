//! gpt2 (Radford et al. 2019): a decoder with learned positions, norms before each half of a block, one
//! matrix for queries, keys and values, and an output tied to the token embedding.

use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    labels::{self, Architectures, Labels},
    must_be,
};
use crate::description::{Description, SpecialTokens, Traits};

/// The family.
pub(crate) static GPT2: Family = Family {
    model_type: "gpt2",
    causal: true,
    fields: Fields {
        positions: "n_positions",
        hidden: "n_embd",
        layers: "n_layer",
        heads: "n_head",
        inner: "n_inner",
        norm_epsilon: "layer_norm_epsilon",
    },
    read,
    write,
    prefix: "transformer.",
    embeddings: &[
        Weight::table(Module::TokenEmbedding, "wte"),
        Weight::table(Module::PositionEmbedding, "wpe"),
    ],
    block: &[
        Weight::biased(Module::AttentionNorm, "h.{}.ln_1"),
        Weight::transposed(Module::AttentionFused, "h.{}.attn.c_attn"),
        Weight::transposed(Module::AttentionOutput, "h.{}.attn.c_proj"),
        Weight::biased(Module::FeedForwardNorm, "h.{}.ln_2"),
        Weight::transposed(Module::FeedForwardUp, "h.{}.mlp.c_fc"),
        Weight::transposed(Module::FeedForwardDown, "h.{}.mlp.c_proj"),
    ],
    output: &[Weight::biased(Module::FinalNorm, "ln_f")],
    unembed: None,
    classifier: Weight::table(Module::Classifier, "score"),
    // The causal mask and its filler, which old versions of transformers kept with the weights.
    ignored: &[".attn.bias", ".attn.masked_bias"],
    unembedding: Some("lm_head.weight"),
    renamed: &[],
};

const ARCHITECTURES: Architectures = Architectures {
    bare: "GPT2Model",
    language_model: "GPT2LMHeadModel",
    classifier: "GPT2ForSequenceClassification",
};

/// `config.json`, with the defaults of transformers. The dropouts are read by nobody: training here has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: String,
    layer_norm_epsilon: f64,
    resid_pdrop: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    summary_first_dropout: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    tie_word_embeddings: bool,
    bos_token_id: Option<i64>,
    eos_token_id: Option<i64>,
    pad_token_id: Option<i64>,
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
            model_type: GPT2.model_type.to_owned(),
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".to_owned(),
            layer_norm_epsilon: 1e-5,
            resid_pdrop: 0.0,
            embd_pdrop: 0.0,
            attn_pdrop: 0.0,
            summary_first_dropout: 0.0,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
            bos_token_id: None,
            eos_token_id: None,
            pad_token_id: None,
            torch_dtype: Some("float32".to_owned()),
            num_labels: None,
            id2label: None,
            label2id: None,
        }
    }
}

fn read(text: &str) -> Result<Description, ReadError> {
    let config: Config = serde_json::from_str(text)?;
    must_be("scale_attn_weights", config.scale_attn_weights, true)?;
    must_be("scale_attn_by_inverse_layer_idx", config.scale_attn_by_inverse_layer_idx, false)?;
    must_be("tie_word_embeddings", config.tie_word_embeddings, true)?;
    Ok(Description {
        family: &GPT2,
        vocabulary: config.vocab_size,
        positions: config.n_positions,
        segments: 0,
        hidden: config.n_embd,
        layers: config.n_layer,
        heads: config.n_head,
        inner: config.n_inner.unwrap_or(config.n_embd.saturating_mul(4)),
        activation: activation("activation_function", &config.activation_function)?,
        norm_epsilon: config.layer_norm_epsilon,
        traits: Traits::default(),
        tokens: SpecialTokens {
            pad: config.pad_token_id,
            begin: config.bos_token_id,
            end: config.eos_token_id,
        },
        further_ends: Vec::new(),
        head: ARCHITECTURES.head(
            config.architectures.as_deref(),
            true,
            config.id2label.as_ref(),
            config.num_labels,
        )?,
        readout: None,
        labels: None,
    })
}

fn write(description: &Description) -> serde_json::Result<String> {
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(ARCHITECTURES.named(description.head)),
        vocab_size: description.vocabulary,
        n_positions: description.positions,
        n_embd: description.hidden,
        n_layer: description.layers,
        n_head: description.heads,
        n_inner: Some(description.inner),
        activation_function: activation_name(description.activation).to_owned(),
        layer_norm_epsilon: description.norm_epsilon,
        bos_token_id: description.tokens.begin,
        eos_token_id: description.tokens.end,
        pad_token_id: description.tokens.pad,
        id2label,
        label2id,
        ..Config::default()
    })
}
