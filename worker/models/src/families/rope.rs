//! How a `config.json` spells rotary positions: `rope_theta` and `rope_scaling` (transformers 4), or all of it in
//! `rope_parameters` (transformers 5). Models are saved in the first spelling, which both read.

use serde::{Deserialize, Serialize};

use super::ReadError;
use crate::{
    ModelError,
    description::{Description, Positions},
    rotary::{Llama3, Rotary, Scaling, Yarn},
};

/// What a family takes where its configuration is silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) base: f64,
    pub(super) fraction: f64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { base: 10_000.0, fraction: 1.0 }
    }
}

/// The fields of a `config.json` that are about rotary positions.
#[derive(Deserialize)]
struct Fields {
    rope_theta: Option<f64>,
    /// What gpt_neox calls `rope_theta`, and may repeat under that name.
    rotary_emb_base: Option<f64>,
    partial_rotary_factor: Option<f64>,
    /// What gpt_neox calls `partial_rotary_factor`.
    rotary_pct: Option<f64>,
    rope_scaling: Option<Parameters>,
    rope_parameters: Option<Parameters>,
}

/// `rope_scaling`, or `rope_parameters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    /// The old name of `rope_type`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    old_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_rotary_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_fast: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_slow: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mscale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mscale_all_dim: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_freq_factor: Option<f64>,
    #[serde(skip_serializing)]
    full_attention: Option<serde_json::Value>,
}

/// Reads the rotary positions of a `config.json`; `rope_scaling` counts before `rope_parameters`, and what stands
/// in either before what stands beside it.
///
/// # Errors
/// If the kind of scaling is not known or lacks a number.
pub(super) fn read(text: &str, defaults: Defaults) -> Result<Rotary, ReadError> {
    let fields: Fields = serde_json::from_str(text)?;
    let parameters = fields.rope_scaling.or(fields.rope_parameters).unwrap_or_default();
    if let Some(nested) = &parameters.full_attention {
        let reason = "only one set of angles for all layers is";
        return Err(
            ModelError::field("rope_parameters", format!("{{full_attention: {nested}}}"), reason).into()
        );
    }
    let base = parameters.rope_theta.or(fields.rotary_emb_base).or(fields.rope_theta);
    let fraction = parameters.partial_rotary_factor.or(fields.rotary_pct).or(fields.partial_rotary_factor);
    let (base, fraction) = (base.unwrap_or(defaults.base), fraction.unwrap_or(defaults.fraction));
    Ok(Rotary { base, fraction, scaling: parameters.scaling()? })
}

impl Parameters {
    fn scaling(self) -> Result<Scaling, ModelError> {
        let kind = self.rope_type.as_deref().or(self.old_type.as_deref()).unwrap_or("default");
        let given = |field: &'static str, number: Option<f64>| {
            number.ok_or_else(|| ModelError::field(field, "none", format!("{kind:?} scaling needs it")))
        };
        match kind {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear { factor: given("factor", self.factor)? }),
            "dynamic" => Ok(Scaling::Dynamic { factor: given("factor", self.factor)? }),
            "yarn" => Ok(Scaling::Yarn(Yarn {
                factor: given("factor", self.factor)?,
                original: self.original_max_position_embeddings,
                attention: self.attention_factor,
                magnitudes: self.mscale.zip(self.mscale_all_dim).filter(|&(over, under)| over * under != 0.0),
                fast: self.beta_fast.filter(|&turns| turns != 0.0).unwrap_or(32.0),
                slow: self.beta_slow.filter(|&turns| turns != 0.0).unwrap_or(1.0),
                truncate: self.truncate.unwrap_or(true),
            })),
            "llama3" => Ok(Scaling::Llama3(Llama3 {
                factor: given("factor", self.factor)?,
                original: self.original_max_position_embeddings,
                low: given("low_freq_factor", self.low_freq_factor)?,
                high: given("high_freq_factor", self.high_freq_factor)?,
            })),
            other => {
                let reason = "use \"default\", \"linear\", \"dynamic\", \"yarn\" or \"llama3\"";
                Err(ModelError::field("rope_type", format!("{other:?}"), reason))
            }
        }
    }
}

/// The base, the fraction and the `rope_scaling` of a model that is saved.
pub(super) fn write(description: &Description, defaults: Defaults) -> (f64, f64, Option<Parameters>) {
    match &description.traits.place {
        Positions::Rotary(rotary) => {
            (rotary.base, rotary.fraction, scaling(&rotary.scaling, description.positions))
        }
        Positions::Learned { .. } => (defaults.base, defaults.fraction, None),
    }
}

fn scaling(scaling: &Scaling, positions: usize) -> Option<Parameters> {
    let named = |kind: &str, factor: f64| Parameters {
        rope_type: Some(kind.to_owned()),
        factor: Some(factor),
        ..Parameters::default()
    };
    match scaling {
        Scaling::None => None,
        Scaling::Linear { factor } => Some(named("linear", *factor)),
        Scaling::Dynamic { factor } => Some(named("dynamic", *factor)),
        Scaling::Yarn(yarn) => Some(Parameters {
            original_max_position_embeddings: Some(yarn.original.unwrap_or(positions)),
            attention_factor: yarn.attention,
            mscale: yarn.magnitudes.map(|(over, _)| over),
            mscale_all_dim: yarn.magnitudes.map(|(_, under)| under),
            beta_fast: Some(yarn.fast),
            beta_slow: Some(yarn.slow),
            truncate: Some(yarn.truncate),
            ..named("yarn", yarn.factor)
        }),
        Scaling::Llama3(llama) => Some(Parameters {
            original_max_position_embeddings: Some(llama.original.unwrap_or(positions)),
            low_freq_factor: Some(llama.low),
            high_freq_factor: Some(llama.high),
            ..named("llama3", llama.factor)
        }),
    }
}
