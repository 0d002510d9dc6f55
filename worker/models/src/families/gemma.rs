//! gemma (Gemma Team 2024): llama whose embeddings are scaled on their way in, whose norms store their gain less 1,
//! whose feed-forward networks are gated by a gelu, and whose heads have a width of their own.

use super::{
    Family, activation, activation_name,
    labels::Architectures,
    llama::{self, Config, Kin},
};
use crate::{
    ModelError,
    description::{Description, NormKind},
};

/// The family.
pub(super) static GEMMA: Family = Family {
    model_type: "gemma",
    read: |text| llama::read(text, &KIN),
    write: |description| llama::write(description, &KIN),
    ..llama::LIKE
};

static KIN: Kin = Kin {
    family: &GEMMA,
    architectures: Architectures {
        bare: "GemmaModel",
        language_model: "GemmaForCausalLM",
        classifier: "GemmaForSequenceClassification",
    },
    tied: true,
    head_dim: Some(256),
    refine,
    spell,
};

fn refine(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    // Which of the two fields counts has changed over time; transformers of today reads the older.
    refine_common(
        "hidden_act",
        config.hidden_act.as_ref().or(config.hidden_activation.as_ref()),
        config,
        description,
    )
}

fn spell(description: &Description, config: &mut Config) {
    config.attention_bias = description.traits.biases.attention;
    config.hidden_activation = config.hidden_act.clone();
}

/// What gemma and gemma2 add to llama in the same way.
pub(super) fn refine_common(
    field: &'static str,
    nonlinearity: Option<&String>,
    config: &Config,
    description: &mut Description,
) -> Result<(), ModelError> {
    let default = activation_name(crate::description::Activation::GeluTanh);
    description.activation = activation(field, nonlinearity.map_or(default, String::as_str))?;
    let traits = &mut description.traits;
    traits.norm = NormKind::RmsPlusOne;
    traits.embedding_scale = Some((description.hidden as f64).sqrt());
    traits.biases.attention = config.attention_bias;
    traits.biases.attention_output = config.attention_bias;
    Ok(())
}
