//! llama (Touvron et al. 2023): a decoder with rotary positions, RMS norms, gated feed-forward networks and
//! shared keys; and what the families that took over its names have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    ends::Ends,
    labels::{self, Architectures, Labels},
    rope,
};
use crate::{
    ModelError,
    description::{Description, NormKind, Positions, SpecialTokens, Traits, Window},
};

/// The family.
pub(super) static LLAMA: Family = Family {
    model_type: "llama",
    read: |text| read(text, &KIN),
    write: |description| write(description, &KIN),
    ..LIKE
};

static KIN: Kin = Kin {
    family: &LLAMA,
    architectures: Architectures {
        bare: "LlamaModel",
        language_model: "LlamaForCausalLM",
        classifier: "LlamaForSequenceClassification",
    },
    tied: false,
    head_dim: None,
    refine,
    spell,
};

fn refine(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    let biases = &mut description.traits.biases;
    biases.attention = config.attention_bias;
    biases.attention_output = config.attention_bias;
    biases.feed_forward = config.mlp_bias;
    Ok(())
}

fn spell(description: &Description, config: &mut Config) {
    config.attention_bias = description.traits.biases.attention;
    config.mlp_bias = description.traits.biases.feed_forward;
}

/// The weights of such a family, under names that many have taken over.
pub(super) const LIKE: Family = Family {
    model_type: "",
    causal: true,
    fields: Fields { norm_epsilon: "rms_norm_eps", ..Fields::USUAL },
    read: |text| read(text, &KIN),
    write: |description| write(description, &KIN),
    prefix: "model.",
    embeddings: &[Weight::table(Module::TokenEmbedding, "embed_tokens")],
    block: &[
        Weight::table(Module::AttentionNorm, "layers.{}.input_layernorm"),
        Weight::linear(Module::AttentionQuery, "layers.{}.self_attn.q_proj"),
        Weight::linear(Module::AttentionKey, "layers.{}.self_attn.k_proj"),
        Weight::linear(Module::AttentionValue, "layers.{}.self_attn.v_proj"),
        Weight::linear(Module::AttentionOutput, "layers.{}.self_attn.o_proj"),
        Weight::table(Module::FeedForwardNorm, "layers.{}.post_attention_layernorm"),
        Weight::linear(Module::FeedForwardGate, "layers.{}.mlp.gate_proj"),
        Weight::linear(Module::FeedForwardUp, "layers.{}.mlp.up_proj"),
        Weight::linear(Module::FeedForwardDown, "layers.{}.mlp.down_proj"),
    ],
    output: &[Weight::table(Module::FinalNorm, "norm")],
    unembed: Some(Weight::table(Module::Unembedding, "lm_head")),
    classifier: Weight::table(Module::Classifier, "score"),
    // The angles, which old versions of transformers kept with the weights.
    ignored: &["rotary_emb.inv_freq"],
    unembedding: Some("lm_head.weight"),
    renamed: &[],
};

/// What tells such a family from the others.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) family: &'static Family,
    pub(super) architectures: Architectures,
    /// Whether the output is the token embedding where the configuration does not say.
    pub(super) tied: bool,
    /// The width of a head where the configuration does not say; none for the even share.
    pub(super) head_dim: Option<usize>,
    /// Adds to a description what only this family has.
    pub(super) refine: fn(&Config, &mut Description) -> Result<(), ModelError>,
    /// Adds to a configuration what only this family has.
    pub(super) spell: fn(&Description, &mut Config),
}

/// `config.json` of such a family. Sizes must be there. The dropouts are read by nobody: training here has none.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) architectures: Option<Vec<String>>,
    pub(super) model_type: String,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hidden_act: Option<String>,
    /// Of gemma, as what follows to the softcapping is of gemma2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hidden_activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query_pre_attn_scalar: Option<f64>,
    #[serde(default, deserialize_with = "told", skip_serializing_if = "Option::is_none")]
    pub(super) attn_logit_softcapping: Option<Option<f64>>,
    #[serde(default, deserialize_with = "told", skip_serializing_if = "Option::is_none")]
    pub(super) final_logit_softcapping: Option<Option<f64>>,
    pub(super) max_position_embeddings: usize,
    pub(super) rms_norm_eps: Option<f64>,
    /// Of a model that is saved; [`rope::read`] reads it.
    #[serde(skip_deserializing)]
    pub(super) rope_theta: f64,
    /// See `rope_theta`.
    #[serde(skip_deserializing)]
    pub(super) rope_scaling: Option<rope::Parameters>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) attention_bias: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) mlp_bias: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_sliding_window: Option<bool>,
    pub(super) sliding_window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_window_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer_types: Option<Vec<String>>,
    pub(super) tie_word_embeddings: Option<bool>,
    pub(super) bos_token_id: Option<i64>,
    pub(super) eos_token_id: Option<Ends>,
    pub(super) pad_token_id: Option<i64>,
    #[serde(skip_deserializing)]
    pub(super) torch_dtype: String,
    #[serde(skip_serializing)]
    pub(super) num_labels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id2label: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label2id: Option<BTreeMap<String, usize>>,
}

/// A field that is there, be it null.
fn told<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// Reads the `config.json` of such a family.
pub(super) fn read(text: &str, kin: &Kin) -> Result<Description, ReadError> {
    let mut config: Config = serde_json::from_str(text)?;
    let tied = config.tie_word_embeddings.unwrap_or(kin.tied);
    let (end, further_ends) = Ends::split(config.eos_token_id.take());
    let labels = (config.id2label.as_ref(), config.num_labels);
    let mut description = Description {
        family: kin.family,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        segments: 0,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: activation("hidden_act", config.hidden_act.as_deref().unwrap_or("silu"))?,
        norm_epsilon: config.rms_norm_eps.unwrap_or(1e-6),
        traits: Traits {
            key_heads: config.num_key_value_heads,
            head_width: config.head_dim.or(kin.head_dim),
            norm: NormKind::Rms,
            place: Positions::Rotary(rope::read(text, rope::Defaults::default())?),
            tied,
            ..Traits::default()
        },
        tokens: SpecialTokens { pad: config.pad_token_id, begin: config.bos_token_id, end },
        further_ends,
        head: kin.architectures.head(config.architectures.as_deref(), tied, labels.0, labels.1)?,
        readout: None,
        labels: None,
    };
    (kin.refine)(&config, &mut description)?;
    Ok(description)
}

/// Writes the `config.json` of such a family.
pub(super) fn write(description: &Description, kin: &Kin) -> serde_json::Result<String> {
    let traits = &description.traits;
    let (rope_theta, _, rope_scaling) = rope::write(description, rope::Defaults::default());
    let (id2label, label2id) = labels::named(description);
    let mut config = Config {
        architectures: Some(kin.architectures.named(description.head)),
        model_type: kin.family.model_type.to_owned(),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        intermediate_size: description.inner,
        num_hidden_layers: description.layers,
        num_attention_heads: description.heads,
        num_key_value_heads: Some(description.key_heads()),
        head_dim: Some(description.head_width()),
        hidden_act: Some(activation_name(description.activation).to_owned()),
        max_position_embeddings: description.positions,
        rms_norm_eps: Some(description.norm_epsilon),
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
    };
    (kin.spell)(description, &mut config);
    serde_json::to_string_pretty(&config)
}

/// The windows that a configuration sets by `layer_types`, or for the layers from `first` on.
///
/// # Errors
/// If a type of layer is unknown, or a layer has a window whose size is not told.
pub(super) fn window(
    config: &Config,
    size: Option<usize>,
    first: usize,
) -> Result<Option<Window>, ModelError> {
    let Some(types) = &config.layer_types else {
        let layers = (0..config.num_hidden_layers.min(1 << 16)).map(|layer| layer >= first).collect();
        return Ok(size
            .map(|tokens| Window { tokens, layers })
            .filter(|window| window.layers.contains(&true)));
    };
    let windowed = |name: &String| match name.as_str() {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => {
            let reason = "use \"full_attention\" or \"sliding_attention\"";
            Err(ModelError::field("layer_types", format!("{other:?}"), reason))
        }
    };
    let layers: Vec<bool> = types.iter().map(windowed).collect::<Result<_, _>>()?;
    match size {
        _ if !layers.contains(&true) => Ok(None),
        Some(tokens) => Ok(Some(Window { tokens, layers })),
        None => {
            let reason = "layer_types has sliding_attention: give a number of tokens";
            Err(ModelError::field("sliding_window", "none", reason))
        }
    }
}

/// The `layer_types` of a model that is saved.
pub(super) fn layer_types(description: &Description) -> Vec<String> {
    let name = |layer| match description.window(layer) {
        Some(_) => "sliding_attention".to_owned(),
        None => "full_attention".to_owned(),
    };
    (0..description.layers).map(name).collect()
}
