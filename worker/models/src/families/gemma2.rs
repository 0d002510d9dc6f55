//! gemma2 (Gemma Team 2024, the second report): gemma with norms before and after each half of a block, a sliding
//! window in every other layer, and capped attention scores and logits.

use super::{
    Family, Module, Weight, activation_name, gemma,
    labels::Architectures,
    llama::{self, Config, Kin},
};
use crate::{
    ModelError,
    description::{Description, Window},
};

/// The family.
pub(super) static GEMMA2: Family = Family {
    model_type: "gemma2",
    read: |text| llama::read(text, &KIN),
    write: |description| llama::write(description, &KIN),
    block: &[
        Weight::table(Module::AttentionNorm, "layers.{}.input_layernorm"),
        Weight::linear(Module::AttentionQuery, "layers.{}.self_attn.q_proj"),
        Weight::linear(Module::AttentionKey, "layers.{}.self_attn.k_proj"),
        Weight::linear(Module::AttentionValue, "layers.{}.self_attn.v_proj"),
        Weight::linear(Module::AttentionOutput, "layers.{}.self_attn.o_proj"),
        Weight::table(Module::AttentionPostNorm, "layers.{}.post_attention_layernorm"),
        Weight::table(Module::FeedForwardNorm, "layers.{}.pre_feedforward_layernorm"),
        Weight::linear(Module::FeedForwardGate, "layers.{}.mlp.gate_proj"),
        Weight::linear(Module::FeedForwardUp, "layers.{}.mlp.up_proj"),
        Weight::linear(Module::FeedForwardDown, "layers.{}.mlp.down_proj"),
        Weight::table(Module::FeedForwardPostNorm, "layers.{}.post_feedforward_layernorm"),
    ],
    ..llama::LIKE
};

static KIN: Kin = Kin {
    family: &GEMMA2,
    architectures: Architectures {
        bare: "Gemma2Model",
        language_model: "Gemma2ForCausalLM",
        classifier: "Gemma2ForSequenceClassification",
    },
    tied: true,
    head_dim: Some(256),
    refine,
    spell,
};

/// What transformers takes where a configuration is silent; it may also say that there is none.
const WINDOW: usize = 4096;
const SCALAR: f64 = 256.0;
const ATTENTION_CAP: f64 = 50.0;
const LOGIT_CAP: f64 = 30.0;

fn refine(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    gemma::refine_common("hidden_activation", config.hidden_activation.as_ref(), config, description)?;
    let size = config.sliding_window.unwrap_or(WINDOW);
    let traits = &mut description.traits;
    traits.window = match config.layer_types {
        Some(_) => llama::window(config, Some(size), 0)?,
        None => {
            // A configuration of absurd depth is refused later.
            let layers = (0..config.num_hidden_layers.min(1 << 16)).map(|layer| layer % 2 == 0).collect();
            Some(Window { tokens: size, layers })
        }
    };
    let scalar = config.query_pre_attn_scalar.unwrap_or(SCALAR);
    if !(scalar.is_finite() && scalar > 0.0) {
        return Err(ModelError::field("query_pre_attn_scalar", scalar, "it must be a number above 0"));
    }
    traits.attention_scale = Some(scalar.sqrt().recip());
    traits.attention_cap = config.attn_logit_softcapping.unwrap_or(Some(ATTENTION_CAP));
    traits.logit_cap = config.final_logit_softcapping.unwrap_or(Some(LOGIT_CAP));
    Ok(())
}

fn spell(description: &Description, config: &mut Config) {
    let traits = &description.traits;
    config.attention_bias = traits.biases.attention;
    config.hidden_act = None;
    config.hidden_activation = Some(activation_name(description.activation).to_owned());
    config.sliding_window = traits.window.as_ref().map(|window| window.tokens);
    config.layer_types = Some(llama::layer_types(description));
    config.query_pre_attn_scalar = traits.attention_scale.map(scalar);
    config.attn_logit_softcapping = Some(traits.attention_cap);
    config.final_logit_softcapping = Some(traits.logit_cap);
}

/// The number whose inverse root is `scale`, without the noise of the way there and back.
fn scalar(scale: f64) -> f64 {
    const GRID: f64 = 1e6;
    ((scale * scale).recip() * GRID).round() / GRID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scalar_of_a_scale_is_the_one_it_was_made_of() {
        for number in [1.0, 24.0, 144.0, 224.0, 256.0, 0.5] {
            assert_eq!(scalar(f64::sqrt(number).recip()), number);
        }
    }
}
