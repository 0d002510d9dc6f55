//! qwen2 (Yang et al. 2024): llama with biases on queries, keys and values, and a sliding window in its upper
//! layers if it is switched on.

use super::{
    Family,
    labels::Architectures,
    llama::{self, Config, Kin},
};
use crate::{ModelError, description::Description};

/// The family.
pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    read: |text| llama::read(text, &KIN),
    write: |description| llama::write(description, &KIN),
    ..llama::LIKE
};

static KIN: Kin = Kin {
    family: &QWEN2,
    architectures: Architectures {
        bare: "Qwen2Model",
        language_model: "Qwen2ForCausalLM",
        classifier: "Qwen2ForSequenceClassification",
    },
    tied: false,
    head_dim: None,
    refine,
    spell: spell_window,
};

fn refine(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    description.traits.biases.attention = true;
    refine_window(config, description)
}

/// The window of the layers from `max_window_layers` on, or of those that `layer_types` names.
///
/// # Errors
/// As [`llama::window`].
pub(super) fn refine_window(config: &Config, description: &mut Description) -> Result<(), ModelError> {
    /// What transformers takes where the switch is on and the configuration silent.
    const DEFAULTS: (usize, usize) = (4096, 28);
    let on = config.use_sliding_window.unwrap_or(false);
    let size = on.then(|| config.sliding_window.unwrap_or(DEFAULTS.0));
    let first = config.max_window_layers.unwrap_or(DEFAULTS.1);
    description.traits.window = llama::window(config, size, first)?;
    Ok(())
}

/// Says which layers have the window, by name.
pub(super) fn spell_window(description: &Description, config: &mut Config) {
    let window = description.traits.window.as_ref();
    config.use_sliding_window = Some(window.is_some());
    config.sliding_window = window.map(|window| window.tokens);
    config.max_window_layers = Some(description.layers);
    config.layer_types = Some(llama::layer_types(description));
}
