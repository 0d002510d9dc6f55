//! mistral (Jiang et al. 2023): llama without biases and with one sliding window for all layers.

use super::{
    Family,
    labels::Architectures,
    llama::{self, Config, Kin},
};
use crate::{ModelError, description::Description};

/// The family.
pub(super) static MISTRAL: Family = Family {
    model_type: "mistral",
    read: |text| llama::read(text, &KIN),
    write: |description| llama::write(description, &KIN),
    ..llama::LIKE
};

static KIN: Kin = Kin {
    family: &MISTRAL,
    architectures: Architectures {
        bare: "MistralModel",
        language_model: "MistralForCausalLM",
        classifier: "MistralForSequenceClassification",
    },
    tied: false,
    head_dim: None,
    refine,
    spell,
};

fn refine(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    if let Some(types) = &config.layer_types {
        let reason = "mistral has one window for all layers: leave the field out";
        return Err(ModelError::field("layer_types", format!("{types:?}"), reason));
    }
    description.traits.window = llama::window(config, config.sliding_window, 0)?;
    Ok(())
}

fn spell(description: &Description, config: &mut Config) {
    config.sliding_window = description.traits.window.as_ref().map(|window| window.tokens);
}
