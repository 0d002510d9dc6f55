//! gpt_neox (Black et al. 2022; Pythia: Biderman et al. 2023): a decoder whose halves of a block read the same
//! states, each through a norm of its own, with partly rotated heads and one matrix for queries, keys and values
//! that goes head by head.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    ends::Ends,
    labels::{self, Architectures, Labels},
    rope,
};
use crate::description::{Biases, Description, Fused, Positions, SpecialTokens, Traits};

/// The family.
pub(super) static GPT_NEOX: Family = Family {
    model_type: "gpt_neox",
    causal: true,
    fields: Fields::USUAL,
    read,
    write,
    prefix: "gpt_neox.",
    embeddings: &[Weight::table(Module::TokenEmbedding, "embed_in")],
    block: &[
        Weight::biased(Module::AttentionNorm, "layers.{}.input_layernorm"),
        Weight::linear(Module::AttentionFused, "layers.{}.attention.query_key_value"),
        Weight::linear(Module::AttentionOutput, "layers.{}.attention.dense"),
        Weight::biased(Module::FeedForwardNorm, "layers.{}.post_attention_layernorm"),
        Weight::biased(Module::FeedForwardUp, "layers.{}.mlp.dense_h_to_4h"),
        Weight::biased(Module::FeedForwardDown, "layers.{}.mlp.dense_4h_to_h"),
    ],
    output: &[Weight::biased(Module::FinalNorm, "final_layer_norm")],
    unembed: Some(Weight::table(Module::Unembedding, "embed_out")),
    classifier: Weight::table(Module::Classifier, "score"),
    // The causal mask, its filler and the angles, which old versions of transformers kept with the weights.
    ignored: &[".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"],
    unembedding: Some("embed_out.weight"),
    // What transformers 5 calls it.
    renamed: &[("lm_head.weight", "embed_out.weight")],
};

const ARCHITECTURES: Architectures = Architectures {
    bare: "GPTNeoXModel",
    language_model: "GPTNeoXForCausalLM",
    classifier: "GPTNeoXForSequenceClassification",
};

/// What transformers takes where a configuration is silent.
const ROPE: rope::Defaults = rope::Defaults { base: 10_000.0, fraction: 0.25 };

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
    hidden_act: Option<String>,
    max_position_embeddings: usize,
    layer_norm_eps: Option<f64>,
    /// Of a model that is saved; [`rope::read`] reads it.
    #[serde(skip_deserializing)]
    rotary_pct: f64,
    /// See `rotary_pct`.
    #[serde(skip_deserializing)]
    rotary_emb_base: f64,
    /// See `rotary_pct`.
    #[serde(skip_deserializing)]
    rope_scaling: Option<rope::Parameters>,
    attention_bias: Option<bool>,
    use_parallel_residual: Option<bool>,
    tie_word_embeddings: Option<bool>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<Ends>,
    pad_token_id: Option<i64>,
    #[serde(skip_deserializing)]
    attention_dropout: f64,
    #[serde(skip_deserializing)]
    hidden_dropout: f64,
    #[serde(skip_deserializing)]
    classifier_dropout: f64,
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
    let bias = config.attention_bias.unwrap_or(true);
    let tied = config.tie_word_embeddings.unwrap_or(false);
    let (end, further_ends) = Ends::split(config.eos_token_id.take());
    let labels = (config.id2label.as_ref(), config.num_labels);
    Ok(Description {
        family: &GPT_NEOX,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        segments: 0,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: activation("hidden_act", config.hidden_act.as_deref().unwrap_or("gelu"))?,
        norm_epsilon: config.layer_norm_eps.unwrap_or(1e-5),
        traits: Traits {
            fused: Fused::ByHead,
            place: Positions::Rotary(rope::read(text, ROPE)?),
            parallel: config.use_parallel_residual.unwrap_or(true),
            tied,
            biases: Biases { attention: bias, attention_output: bias, ..Biases::default() },
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
    let (base, fraction, rope_scaling) = rope::write(description, ROPE);
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(ARCHITECTURES.named(description.head)),
        model_type: GPT_NEOX.model_type.to_owned(),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        intermediate_size: description.inner,
        num_hidden_layers: description.layers,
        num_attention_heads: description.heads,
        hidden_act: Some(activation_name(description.activation).to_owned()),
        max_position_embeddings: description.positions,
        layer_norm_eps: Some(description.norm_epsilon),
        rotary_pct: fraction,
        rotary_emb_base: base,
        rope_scaling,
        attention_bias: Some(traits.biases.attention),
        use_parallel_residual: Some(traits.parallel),
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
