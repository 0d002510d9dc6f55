//! opt (Zhang et al. 2022): gpt2 in other names, with relu, separate matrices for queries, keys and values, and a
//! table of positions whose first two rows no position uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight, activation, activation_name,
    ends::Ends,
    labels::{self, Architectures, Labels},
    must_be,
};
use crate::{
    ModelError,
    description::{Biases, Description, Positions, SpecialTokens, Traits},
};

/// The family.
pub(super) static OPT: Family = Family {
    model_type: "opt",
    causal: true,
    fields: Fields { inner: "ffn_dim", ..Fields::USUAL },
    read,
    write,
    prefix: "model.",
    embeddings: &[
        Weight::table(Module::TokenEmbedding, "decoder.embed_tokens"),
        Weight::table(Module::PositionEmbedding, "decoder.embed_positions"),
    ],
    block: &[
        Weight::biased(Module::AttentionNorm, "decoder.layers.{}.self_attn_layer_norm"),
        Weight::linear(Module::AttentionQuery, "decoder.layers.{}.self_attn.q_proj"),
        Weight::linear(Module::AttentionKey, "decoder.layers.{}.self_attn.k_proj"),
        Weight::linear(Module::AttentionValue, "decoder.layers.{}.self_attn.v_proj"),
        Weight::linear(Module::AttentionOutput, "decoder.layers.{}.self_attn.out_proj"),
        Weight::biased(Module::FeedForwardNorm, "decoder.layers.{}.final_layer_norm"),
        Weight::linear(Module::FeedForwardUp, "decoder.layers.{}.fc1"),
        Weight::linear(Module::FeedForwardDown, "decoder.layers.{}.fc2"),
    ],
    output: &[Weight::biased(Module::FinalNorm, "decoder.final_layer_norm")],
    unembed: Some(Weight::table(Module::Unembedding, "lm_head")),
    classifier: Weight::table(Module::Classifier, "score"),
    ignored: &[],
    unembedding: Some("lm_head.weight"),
    renamed: &[],
};

const ARCHITECTURES: Architectures = Architectures {
    bare: "OPTModel",
    language_model: "OPTForCausalLM",
    classifier: "OPTForSequenceClassification",
};

/// `config.json`. Sizes must be there. The dropouts are read by nobody: training here has none.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    ffn_dim: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    activation_function: Option<String>,
    word_embed_proj_dim: Option<usize>,
    do_layer_norm_before: Option<bool>,
    #[serde(default, rename = "_remove_final_layer_norm")]
    remove_final_layer_norm: bool,
    enable_bias: Option<bool>,
    layer_norm_elementwise_affine: Option<bool>,
    tie_word_embeddings: Option<bool>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<Ends>,
    pad_token_id: Option<i64>,
    #[serde(skip_deserializing)]
    dropout: f64,
    #[serde(skip_deserializing)]
    attention_dropout: f64,
    #[serde(skip_deserializing)]
    layerdrop: f64,
    #[serde(skip_deserializing)]
    torch_dtype: String,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<BTreeMap<String, usize>>,
}

impl Config {
    /// Refuses what one checkpoint of the family (opt-350m) has and no other: norms after each half of a block, and
    /// embeddings of another width than the states.
    fn check(&self) -> Result<(), ModelError> {
        must_be("do_layer_norm_before", self.do_layer_norm_before.unwrap_or(true), true)?;
        must_be("_remove_final_layer_norm", self.remove_final_layer_norm, false)?;
        must_be("layer_norm_elementwise_affine", self.layer_norm_elementwise_affine.unwrap_or(true), true)?;
        match self.word_embed_proj_dim {
            Some(width) if width != self.hidden_size => {
                let reason = format!("only hidden_size = {} is", self.hidden_size);
                Err(ModelError::field("word_embed_proj_dim", width, reason))
            }
            _ => Ok(()),
        }
    }
}

fn read(text: &str) -> Result<Description, ReadError> {
    /// The family has no field for it.
    const EPSILON: f64 = 1e-5;
    /// Rows of the table before the first position.
    const OFFSET: usize = 2;
    let mut config: Config = serde_json::from_str(text)?;
    config.check()?;
    let bias = config.enable_bias.unwrap_or(true);
    let tied = config.tie_word_embeddings.unwrap_or(true);
    let (end, further_ends) = Ends::split(config.eos_token_id.take());
    let labels = (config.id2label.as_ref(), config.num_labels);
    Ok(Description {
        family: &OPT,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        segments: 0,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.ffn_dim,
        activation: activation(
            "activation_function",
            config.activation_function.as_deref().unwrap_or("relu"),
        )?,
        norm_epsilon: EPSILON,
        traits: Traits {
            place: Positions::Learned { offset: OFFSET },
            tied,
            biases: Biases { attention: bias, attention_output: bias, feed_forward: bias },
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
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(ARCHITECTURES.named(description.head)),
        model_type: OPT.model_type.to_owned(),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        num_hidden_layers: description.layers,
        ffn_dim: description.inner,
        num_attention_heads: description.heads,
        max_position_embeddings: description.positions,
        activation_function: Some(activation_name(description.activation).to_owned()),
        word_embed_proj_dim: Some(description.hidden),
        do_layer_norm_before: Some(true),
        enable_bias: Some(description.traits.biases.attention),
        layer_norm_elementwise_affine: Some(true),
        tie_word_embeddings: Some(description.traits.tied),
        bos_token_id: description.tokens.begin,
        eos_token_id: Ends::joined(description.tokens.end, &description.further_ends),
        pad_token_id: description.tokens.pad,
        torch_dtype: "float32".to_owned(),
        id2label,
        label2id,
        ..Config::default()
    })
}
