//! roberta (Liu et al. 2019): bert without segments that mean anything, whose positions begin after the padding
//! token's id, and whose classifier has a layer of its own instead of the pooler.

use std::collections::BTreeMap;

use fulcrum_common::plan::Head;
use serde::{Deserialize, Serialize};

use super::{
    Family, Module, ReadError, Weight, activation, activation_name, bert,
    labels::{self, Labels},
    must_be,
};
use crate::{
    ModelError,
    description::{Description, Positions, SpecialTokens, Traits},
};

/// The family.
pub(super) static ROBERTA: Family = Family {
    model_type: "roberta",
    read,
    write,
    prefix: "roberta.",
    output: &[Weight::biased(Module::HeadInner, "classifier.dense")],
    classifier: Weight::biased(Module::Classifier, "classifier.out_proj"),
    // Positions 0, 1, 2, ...; the pooler of a bare model, which the classifier does not read; the output for masked
    // tokens.
    ignored: &[
        "embeddings.position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
        "lm_head.bias",
        "lm_head.dense.weight",
        "lm_head.dense.bias",
        "lm_head.layer_norm.weight",
        "lm_head.layer_norm.bias",
        "lm_head.decoder.weight",
        "lm_head.decoder.bias",
    ],
    ..bert::LIKE
};

const BARE: &str = "RobertaModel";
const MASKED: &str = "RobertaForMaskedLM";
const CLASSIFIER: &str = "RobertaForSequenceClassification";

/// `config.json`, with the defaults of transformers. The dropouts are read by nobody: training here has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    pad_token_id: i64,
    bos_token_id: Option<i64>,
    eos_token_id: Option<i64>,
    position_embedding_type: String,
    is_decoder: bool,
    torch_dtype: Option<String>,
    #[serde(skip_serializing)]
    num_labels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2label: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label2id: Option<BTreeMap<String, usize>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: None,
            model_type: ROBERTA.model_type.to_owned(),
            vocab_size: 50265,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: 1,
            bos_token_id: Some(0),
            eos_token_id: Some(2),
            position_embedding_type: "absolute".to_owned(),
            is_decoder: false,
            torch_dtype: Some("float32".to_owned()),
            num_labels: None,
            id2label: None,
            label2id: None,
        }
    }
}

fn read(text: &str) -> Result<Description, ReadError> {
    let config: Config = serde_json::from_str(text)?;
    must_be("is_decoder", config.is_decoder, false)?;
    bert::check_position_kind(&config.position_embedding_type)?;
    bert::check_segments(config.type_vocab_size)?;
    // The table has rows for all ids up to the padding token's, which no token uses.
    let rows = config.max_position_embeddings;
    let unused = usize::try_from(config.pad_token_id).ok().and_then(|pad| pad.checked_add(1));
    let Some((offset, positions)) = unused.and_then(|offset| Some((offset, rows.checked_sub(offset)?)))
    else {
        let reason = format!("it must be from 0 to below max_position_embeddings = {rows}");
        return Err(ModelError::field("pad_token_id", config.pad_token_id, reason).into());
    };
    Ok(Description {
        family: &ROBERTA,
        vocabulary: config.vocab_size,
        positions,
        segments: config.type_vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: activation("hidden_act", &config.hidden_act)?,
        norm_epsilon: config.layer_norm_eps,
        traits: Traits { place: Positions::Learned { offset }, ..Traits::default() },
        tokens: SpecialTokens {
            pad: Some(config.pad_token_id),
            begin: config.bos_token_id,
            end: config.eos_token_id,
        },
        further_ends: Vec::new(),
        head: head(&config)?,
        readout: None,
        labels: None,
    })
}

fn head(config: &Config) -> Result<Option<Head>, ModelError> {
    match labels::architecture(config.architectures.as_deref())? {
        None | Some(BARE | MASKED) => Ok(None),
        Some(CLASSIFIER) => labels::sequence_head(config.id2label.as_ref(), config.num_labels).map(Some),
        Some(other) => Err(ModelError::field(
            "architectures",
            format!("[{other:?}]"),
            format!("use {BARE}, {MASKED} or {CLASSIFIER}"),
        )),
    }
}

fn write(description: &Description) -> serde_json::Result<String> {
    let offset = match description.traits.place {
        Positions::Learned { offset } => offset,
        Positions::Rotary(_) => 0,
    };
    let (id2label, label2id) = labels::named(description);
    serde_json::to_string_pretty(&Config {
        architectures: Some(vec![description.head.map_or(BARE, |_| CLASSIFIER).to_owned()]),
        vocab_size: description.vocabulary,
        hidden_size: description.hidden,
        num_hidden_layers: description.layers,
        num_attention_heads: description.heads,
        intermediate_size: description.inner,
        hidden_act: activation_name(description.activation).to_owned(),
        max_position_embeddings: offset + description.positions,
        type_vocab_size: description.segments,
        layer_norm_eps: description.norm_epsilon,
        pad_token_id: offset as i64 - 1,
        bos_token_id: description.tokens.begin,
        eos_token_id: description.tokens.end,
        id2label,
        label2id,
        ..Config::default()
    })
}
