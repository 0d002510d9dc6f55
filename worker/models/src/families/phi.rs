//! phi (Gunasekar et al. 2023): a decoder with partly rotated heads, whose halves of a block read the same states
//! through one norm, and biases everywhere, in the output too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    ends::Ends,
    labels::{self, Architectures, Labels},
    must_be, rope,
};
use crate::description::{Description, Positions, SpecialTokens, Traits};

/// The family.
pub(super) static PHI: Family = Family {
    model_type: "phi",
    causal: true,
    fields: Fields::USUAL,
    read,
    write,
    prefix: "model.",
    embeddings: &[Weight::table(Module::TokenEmbedding, "embed_tokens")],
    block: &[
        Weight::biased(Module::AttentionNorm, "layers.{}.input_layernorm"),
        Weight::biased(Module::AttentionQuery, "layers.{}.self_attn.q_proj"),
        Weight::biased(Module::AttentionKey, "layers.{}.self_attn.k_proj"),
        Weight::biased(Module::AttentionValue, "layers.{}.self_attn.v_proj"),
        Weight::biased(Module::AttentionOutput, "layers.{}.self_attn.dense"),
        Weight::biased(Module::FeedForwardUp, "layers.{}.mlp.fc1"),
        Weight::biased(Module::FeedForwardDown, "layers.{}.mlp.fc2"),
    ],
    output: &[Weight::biased(Module::FinalNorm, "final_layernorm")],
    unembed: Some(Weight::biased(Module::Unembedding, "lm_head")),
    classifier: Weight::table(Module::Classifier, "score"),
    // The angles, which old versions of transformers kept with the weights.
    ignored: &["rotary_emb.inv_freq"],
    unembedding: Some("lm_head.weight"),
    renamed: &[],
};

const ARCHITECTURES: Architectures = Architectures {
    bare: "PhiModel",
    language_model: "PhiForCausalLM",
    classifier: "PhiForSequenceClassification",
};

/// What transformers takes where a configuration is silent.
const ROPE: rope::Defaults = rope::Defaults { base: 10_000.0, fraction: 0.5 };

/// `config.json`. Sizes must be there. The dropouts are read by nobody: training here has none.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: usize,
    layer_norm_eps: Option<f64>,
    #[serde(default)]
    qk_layernorm: bool,
    /// Of a model that is saved; [`rope::read`] reads it.
    #[serde(skip_deserializing)]
    partial_rotary_factor: f64,
    /// See `partial_rotary_factor`.
    #[serde(skip_deserializing)]
    rope_theta: f64,
    /// See `partial_rotary_factor`.
    #[serde(skip_deserializing)]
    rope_scaling: Option<rope::Parameters>,
    tie_word_embeddings: Option<bool>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<Ends>,
    pad_token_id: Option<i64>,
    #[serde(skip_deserializing)]
    resid_pdrop: f64,
    #[serde(skip_deserializing)]
    embd_pdrop: f64,
    #[serde(skip_deserializing)]
    attention_dropout: f64,
    #[serde(skip_deserializing)]
    torch_dtype: String,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<BTreeMap<String, usize>>,
}

fn read(text: &str) -> Result<Description, ReadError> {
    let mut config: Config = serde_json::from_str(text)?;
    must_be("qk_layernorm", config.qk_layernorm, false)?;
    let tied = config.tie_word_embeddings.unwrap_or(false);
    let (end, further_ends) = Ends::split(config.eos_token_id.take());
    let labels = (config.id2label.as_ref(), config.num_labels);
    Ok(Description {
        family: &PHI,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        segments: 0,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: activation("hidden_act", config.hidden_act.as_deref().unwrap_or("gelu_new"))?,
        norm_epsilon: config.layer_norm_eps.unwrap_or(1e-5),
        traits: Traits {
            key_heads: config.num_key_value_heads,
            place: Positions::Rotary(rope::read(text, ROPE)?),
            parallel: true,
            tied,
            ..Traits::default()
        },
        tokens: SpecialTokens { pad: config.pad_token_id, begin: config.bos_token_id, end },
        further_ends,
        head: ARCHITECTURES.head(config.architectures.as_deref(), tied, labels.0, labels.1)?,
        readout: None,
        labels: None,
    })
}

fn write(description: &Description) -> serde_json::Result<String> {
    let traits = &description.traits;
    let (rope_theta, partial_rotary_factor, rope_scaling) = rope::write(description, ROPE);
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(ARCHITECTURES.named(description.head)),
        model_type: PHI.model_type.to_owned(),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        intermediate_size: description.inner,
        num_hidden_layers: description.layers,
        num_attention_heads: description.heads,
        num_key_value_heads: Some(description.key_heads()),
        hidden_act: Some(activation_name(description.activation).to_owned()),
        max_position_embeddings: description.positions,
        layer_norm_eps: Some(description.norm_epsilon),
        partial_rotary_factor,
        rope_theta,
        rope_scaling,
        tie_word_embeddings: Some(traits.tied),
        bos_token_id: description.tokens.begin,
        eos_token_id: Ends::joined(description.tokens.end, &description.further_ends),
        pad_token_id: description.tokens.pad,
        torch_dtype: "float32".to_owned(),
        id2label,
        label2id,
        ..Config::default()
    })
}
