//! qwen3 (Yang et al. 2025): qwen2 with norms of the query and key of each head, heads of a width of their own,
//! and biases only if they are switched on.

use super::{
    Family, Module, Weight,
    labels::Architectures,
    llama::{self, Config, Kin},
    qwen2,
};
use crate::{ModelError, description::Description};

/// The family.
pub(super) static QWEN3: Family = Family {
    model_type: "qwen3",
    read: |text| llama::read(text, &KIN),
    write: |description| llama::write(description, &KIN),
    block: &[
        Weight::table(Module::AttentionNorm, "layers.{}.input_layernorm"),
        Weight::linear(Module::AttentionQuery, "layers.{}.self_attn.q_proj"),
        Weight::linear(Module::AttentionKey, "layers.{}.self_attn.k_proj"),
        Weight::linear(Module::AttentionValue, "layers.{}.self_attn.v_proj"),
        Weight::linear(Module::AttentionOutput, "layers.{}.self_attn.o_proj"),
        Weight::table(Module::QueryNorm, "layers.{}.self_attn.q_norm"),
        Weight::table(Module::KeyNorm, "layers.{}.self_attn.k_norm"),
        Weight::table(Module::FeedForwardNorm, "layers.{}.post_attention_layernorm"),
        Weight::linear(Module::FeedForwardGate, "layers.{}.mlp.gate_proj"),
        Weight::linear(Module::FeedForwardUp, "layers.{}.mlp.up_proj"),
        Weight::linear(Module::FeedForwardDown, "layers.{}.mlp.down_proj"),
    ],
    ..llama::LIKE
};

static KIN: Kin = Kin {
    family: &QWEN3,
    architectures: Architectures {
        bare: "Qwen3Model",
        language_model: "Qwen3ForCausalLM",
        classifier: "Qwen3ForSequenceClassification",
    },
    tied: false,
    head_dim: Some(128),
    refine,
    spell,
};

fn refine(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    description.traits.biases.attention = config.attention_bias;
    description.traits.biases.attention_output = config.attention_bias;
    qwen2::refine_window(config, description)
}

fn spell(description: &Description, config: &mut Config) {
    config.attention_bias = description.traits.biases.attention;
    qwen2::spell_window(description, config);
}
