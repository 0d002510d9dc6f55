//! The probe: no network of its own, but a head over vectors that another one has made. The layout is ours.

use serde::{Deserialize, Serialize};

use super::{
    Family, Fields, Module, ReadError, Weight,
    labels::{self, Labels},
};
use crate::{ModelError, description::Description};

/// The family.
pub(crate) static PROBE: Family = Family {
    model_type: "fulcrum_probe",
    causal: false,
    fields: Fields::USUAL,
    read,
    write,
    prefix: "",
    embeddings: &[],
    block: &[],
    output: &[],
    unembed: None,
    classifier: Weight::biased(Module::Classifier, "classifier"),
    ignored: &[],
    unembedding: None,
    renamed: &[],
};

const BARE: &str = "FulcrumProbe";
const CLASSIFIER: &str = "FulcrumProbeForSequenceClassification";

/// `config.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    hidden_size: usize,
    /// Parameters of the network that makes the vectors.
    #[serde(default)]
    parameters_below: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Labels>,
}

fn read(text: &str) -> Result<Description, ReadError> {
    let config: Config = serde_json::from_str(text)?;
    let head = match labels::architecture(config.architectures.as_deref())? {
        None | Some(BARE) => None,
        Some(CLASSIFIER) => Some(labels::sequence_head(config.id2label.as_ref(), None)?),
        Some(other) => {
            let way_out = format!("use {BARE} or {CLASSIFIER}");
            return Err(ModelError::field("architectures", format!("[{other:?}]"), way_out).into());
        }
    };
    let mut description = Description { head, ..Description::of_vectors(&PROBE, config.hidden_size) };
    description.traits.below = config.parameters_below;
    Ok(description)
}

fn write(description: &Description) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Config {
        architectures: Some(vec![description.head.map_or(BARE, |_| CLASSIFIER).to_owned()]),
        model_type: PROBE.model_type.to_owned(),
        hidden_size: description.hidden,
        parameters_below: description.traits.below,
        id2label: labels::named(description).0,
    })
}
