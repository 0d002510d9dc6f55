//! The families of checkpoints: how each spells its configuration, and what it calls its weights.
//!
//! A family is data: a [`Family`] in a file of its own, entered in [`FAMILIES`]. The computation never asks
//! which family it runs; it finds modules by [`Module`] and sizes in the description.

mod bert;
mod distilbert;
mod ends;
mod gemma;
mod gemma2;
mod gpt2;
mod gpt_neox;
mod labels;
mod llama;
mod mistral;
mod module;
mod opt;
mod phi;
mod probe;
mod qwen2;
mod qwen3;
mod roberta;
mod rope;

use std::path::Path;

use fulcrum_common::plan::{Head, Readout};
use serde::Deserialize;

pub(crate) use ends::Ends;
pub(crate) use gpt2::GPT2;
pub(crate) use module::{Module, Weight};
pub(crate) use probe::PROBE;

use crate::{
    ModelError,
    description::{Activation, Description},
};

/// Every family that is known.
static FAMILIES: &[&Family] = &[
    &GPT2,
    &gpt_neox::GPT_NEOX,
    &llama::LLAMA,
    &mistral::MISTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &phi::PHI,
    &gemma::GEMMA,
    &gemma2::GEMMA2,
    &opt::OPT,
    &bert::BERT,
    &roberta::ROBERTA,
    &distilbert::DISTILBERT,
    &PROBE,
];

/// One `model_type` of Hugging Face.
#[derive(Debug)]
pub(crate) struct Family {
    /// As in `config.json`.
    pub(crate) model_type: &'static str,
    /// Whether a token sees only those before it: a decoder, else an encoder.
    pub(crate) causal: bool,
    /// How the sizes are called in `config.json`, for messages.
    pub(crate) fields: Fields,
    /// `config.json` to description, and back to the text of a `config.json`.
    pub(crate) read: fn(&str) -> Result<Description, ReadError>,
    /// See `read`.
    pub(crate) write: fn(&Description) -> serde_json::Result<String>,
    /// What stands before the names of the base model where a head is on top of it.
    pub(crate) prefix: &'static str,
    /// Modules before the first block, in parameter order.
    pub(crate) embeddings: &'static [Weight],
    /// Modules of every block; `{}` in a name is the block's number.
    pub(crate) block: &'static [Weight],
    /// Modules after the last block.
    pub(crate) output: &'static [Weight],
    /// The output to the vocabulary, whose matrix may be the token embedding; takes no prefix.
    pub(crate) unembed: Option<Weight>,
    /// The classification head, which takes no prefix.
    pub(crate) classifier: Weight,
    /// Tensors that are in some checkpoints and carry nothing: endings of their names, without prefix.
    pub(crate) ignored: &'static [&'static str],
    /// A tensor that is a copy of the token embedding where the output is that, and it is present at all.
    pub(crate) unembedding: Option<&'static str>,
    /// Endings of names in old checkpoints, and what they are today.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
}

impl Family {
    /// Whether the blocks have that module.
    pub(crate) fn has(&self, module: Module) -> bool {
        self.block.iter().any(|weight| weight.module == module)
    }
}

/// Names of the sizes in `config.json`.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) positions: &'static str,
    pub(crate) hidden: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) heads: &'static str,
    pub(crate) inner: &'static str,
    pub(crate) norm_epsilon: &'static str,
}

impl Fields {
    /// As most families name them.
    const USUAL: Self = Self {
        positions: "max_position_embeddings",
        hidden: "hidden_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        inner: "intermediate_size",
        norm_epsilon: "layer_norm_eps",
    };
}

/// Why a text is no description.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Not JSON, or a type is wrong.
    Json(serde_json::Error),
    /// A value is wrong.
    Model(ModelError),
}

impl From<serde_json::Error> for ReadError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<ModelError> for ReadError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

/// Reads the text of a `config.json`.
///
/// # Errors
/// If the type is unknown, a field is broken or asks for what is not supported.
pub(crate) fn read(path: &Path, text: &str) -> Result<Description, ModelError> {
    parse(text).map_err(|error| match error {
        ReadError::Json(reason) => ModelError::Config { path: path.to_owned(), reason },
        ReadError::Model(error) => error,
    })
}

fn parse(text: &str) -> Result<Description, ReadError> {
    let common: Common = serde_json::from_str(text)?;
    let known = || FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", ");
    let Some(found) = common.model_type.as_deref() else {
        return Err(ModelError::field("model_type", "none", format!("give one of {}", known())).into());
    };
    let Some(family) = FAMILIES.iter().find(|family| family.model_type == found) else {
        return Err(
            ModelError::field("model_type", format!("{found:?}"), format!("use one of {}", known())).into()
        );
    };
    common.check()?;
    Ok(common.complete((family.read)(text)?)?.check()?)
}

/// The text of a `config.json`.
///
/// # Errors
/// If a number in it has no form in JSON.
pub(crate) fn write(description: &Description) -> serde_json::Result<String> {
    let text = (description.family.write)(description)?;
    let Some(readout) = description.readout else { return Ok(text) };
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)?;
    config.insert(READOUT.to_owned(), serde_json::to_value(readout)?);
    serde_json::to_string_pretty(&config)
}

/// The key of `config.json` that tells a readout other than the family's own. It is ours: transformers carries it
/// along and reads its own token.
const READOUT: &str = "fulcrum_readout";

/// The fields of every `config.json` that decide whether it can be read at all.
#[derive(Deserialize)]
struct Common {
    model_type: Option<String>,
    quantization_config: Option<serde_json::Value>,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default)]
    is_encoder_decoder: bool,
    #[serde(default)]
    pruned_heads: serde_json::Map<String, serde_json::Value>,
    problem_type: Option<String>,
    id2label: Option<labels::Labels>,
    #[serde(rename = "fulcrum_readout")]
    readout: Option<Readout>,
}

impl Common {
    fn check(&self) -> Result<(), ModelError> {
        if let Some(quantization) = &self.quantization_config {
            return Err(ModelError::field("quantization_config", quantization, "save the model without it"));
        }
        must_be("add_cross_attention", self.add_cross_attention, false)?;
        must_be("is_encoder_decoder", self.is_encoder_decoder, false)?;
        if !self.pruned_heads.is_empty() {
            let heads = serde_json::Value::Object(self.pruned_heads.clone());
            return Err(ModelError::field("pruned_heads", heads, "only whole layers are read"));
        }
        match self.problem_type.as_deref() {
            None | Some("single_label_classification" | REGRESSION) => Ok(()),
            Some(other) => Err(ModelError::field(
                "problem_type",
                format!("{other:?}"),
                "use \"single_label_classification\"",
            )),
        }
    }

    /// The description with what every family tells in the same way.
    ///
    /// # Errors
    /// If a number is regressed on by more than one logit.
    fn complete(self, mut description: Description) -> Result<Description, ModelError> {
        if self.problem_type.as_deref() == Some(REGRESSION) && description.head != Some(Head::Reward) {
            let reason = "it takes a head of one label; use \"single_label_classification\" for more";
            return Err(ModelError::field("problem_type", format!("{REGRESSION:?}"), reason));
        }
        if description.logits().is_some() {
            description.labels = self.id2label.as_ref().and_then(labels::names);
            description.readout = self.readout.filter(|&readout| readout != description.own_readout());
        }
        Ok(description)
    }
}

/// The nonlinearity of that name.
///
/// # Errors
/// Names the ones that are known.
fn activation(field: &'static str, name: &str) -> Result<Activation, ModelError> {
    match name {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        other => {
            let reason = "use \"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\", \"silu\" or \"relu\"";
            Err(ModelError::field(field, format!("{other:?}"), reason))
        }
    }
}

/// The name of a nonlinearity.
fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Silu => "silu",
        Activation::Relu => "relu",
        Activation::Tanh => "tanh",
    }
}

/// The problem type of a model with one logit, as transformers names it.
const REGRESSION: &str = "regression";

/// Refuses a switch that is set the other way.
fn must_be(field: &'static str, found: bool, expected: bool) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::field(field, found, format!("only {expected} is")))
}
