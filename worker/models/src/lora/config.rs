//! `adapter_config.json` of PEFT, read with suspicion: a setting that changes the computation and is not followed here
//! is refused by name, whatever version of PEFT it comes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fulcrum_common::plan::{Head, Lora};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::Scaling;
use crate::ModelError;

/// What PEFT calls the heads of sequence classification, of whatever family.
const HEADS: [&str; 2] = ["classifier", "score"];

/// What a head may have beside them, which PEFT trains and saves only if it is told to.
const INNER: [&str; 1] = ["pre_classifier"];

/// Settings that change nothing in what saved adapters compute. How the matrix lies on disk is told by the model.
const WITHOUT_EFFECT: [&str; 11] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
];

/// What is read of the file.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) lora: Lora,
    pub(super) scaling: Scaling,
    /// Modules of the head that were trained too, so that they are in the file.
    pub(super) head: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Targets,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    Endings(Vec<String>),
    Expression(String),
}

/// Reads the text of the file.
///
/// # Errors
/// If it is not JSON, lacks a setting, or has one that is not supported.
pub(super) fn read(path: &Path, text: &str) -> Result<Settings, ModelError> {
    let raw: Raw = serde_json::from_str(text)
        .map_err(|reason| ModelError::AdapterConfig { path: path.to_owned(), reason })?;
    let refuse = |field: &str, value: &Value, reason: &str| {
        let (path, field, value) = (path.to_owned(), field.to_owned(), value.to_string());
        Err(ModelError::AdapterSetting { path, field, value, reason: reason.to_owned() })
    };
    if raw.peft_type != "LORA" {
        return refuse("peft_type", &raw.peft_type.into(), "only \"LORA\" is");
    }
    if let Some(bias) = raw.bias.filter(|bias| bias != "none") {
        return refuse("bias", &bias.into(), "only \"none\" is: merge the adapters with peft");
    }
    // Other beginnings change the weights below the adapters, so what is on disk fits no plain checkpoint.
    let begun = [Value::Null, true.into(), false.into(), "gaussian".into()];
    if !begun.contains(&raw.init_lora_weights) {
        return refuse(
            "init_lora_weights",
            &raw.init_lora_weights,
            "convert the adapters to plain ones with peft",
        );
    }
    for (field, value) in &raw.others {
        if !WITHOUT_EFFECT.contains(&field.as_str()) && !is_off(value) {
            return refuse(field, value, "leave it off, or merge the adapters with peft");
        }
    }
    let saved = raw.modules_to_save.unwrap_or_default();
    let of_head = |name: &str| HEADS.contains(&name) || INNER.contains(&name);
    if let Some(other) = saved.iter().find(|name| !of_head(name)) {
        let reason = "only heads named classifier, pre_classifier or score are";
        return refuse("modules_to_save", &other.as_str().into(), reason);
    }
    let targets = match raw.target_modules {
        Targets::Endings(endings) => endings,
        Targets::Expression(all) if all == super::targets::ALL => vec![all],
        Targets::Expression(other) => {
            return refuse("target_modules", &other.into(), "give a list of name endings, not an expression");
        }
    };
    let lora = Lora { rank: raw.r, alpha: raw.lora_alpha, dropout: raw.lora_dropout, targets };
    let scaling = if raw.use_rslora { Scaling::RootOfRank } else { Scaling::Rank };
    Ok(Settings { lora, scaling, head: saved })
}

/// Whether a setting is as if it were not there.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(entries) => entries.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// What is written: the settings that say something, under PEFT's names; the rest is as PEFT has it by default.
#[derive(Serialize)]
struct Written<'a> {
    base_model_name_or_path: Option<&'a str>,
    bias: &'a str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    lora_alpha: Number,
    lora_dropout: f64,
    modules_to_save: Option<Vec<&'a str>>,
    peft_type: &'a str,
    r: usize,
    target_modules: &'a [String],
    task_type: &'a str,
    use_dora: bool,
    use_rslora: bool,
}

/// The text of the file. `modules` are those of the head; `transposed` says whether the adapted weights lie as
/// `[in, out]` on disk.
///
/// # Errors
/// If the settings cannot be written as JSON.
pub(super) fn write(
    lora: &Lora,
    scaling: Scaling,
    targets: &[String],
    head: Option<Head>,
    modules: &BTreeSet<&str>,
    transposed: bool,
) -> serde_json::Result<String> {
    let whole = (lora.alpha.fract() == 0.0 && lora.alpha < 1e15).then(|| Number::from(lora.alpha as u64));
    let alpha = whole.or_else(|| Number::from_f64(lora.alpha)).unwrap_or_else(|| 0.into());
    let (task_type, modules_to_save) = match head {
        Some(Head::LanguageModel) => ("CAUSAL_LM", None),
        Some(Head::Classifier { .. } | Head::Reward) => {
            let others = modules.iter().copied().filter(|name| !HEADS.contains(name));
            ("SEQ_CLS", Some(others.chain(HEADS).collect()))
        }
        None => ("FEATURE_EXTRACTION", None),
    };
    serde_json::to_string_pretty(&Written {
        base_model_name_or_path: None,
        bias: "none",
        fan_in_fan_out: transposed,
        inference_mode: true,
        init_lora_weights: true,
        lora_alpha: alpha,
        lora_dropout: lora.dropout,
        modules_to_save,
        peft_type: "LORA",
        r: lora.rank,
        target_modules: targets,
        task_type,
        use_dora: false,
        use_rslora: scaling == Scaling::RootOfRank,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q", "v"] })
    }

    fn with(field: &str, value: Value) -> Result<Settings, ModelError> {
        let mut config = base();
        config[field] = value;
        read("a.json".as_ref(), &config.to_string())
    }

    #[test]
    fn what_peft_writes_by_default_is_read() {
        let settings = with("use_rslora", true.into()).unwrap();
        let targets = vec!["q".to_owned(), "v".to_owned()];
        assert_eq!(settings.lora, Lora { rank: 4, alpha: 8.0, dropout: 0.0, targets });
        assert_eq!((settings.scaling, settings.head), (Scaling::RootOfRank, Vec::new()));
        for (field, value) in [
            ("eva_config", Value::Null),
            ("rank_pattern", json!({})),
            ("use_dora", false.into()),
            ("exclude_modules", json!([])),
            ("qalora_group_size", 16.into()),
            ("megatron_core", "megatron.core".into()),
            ("fan_in_fan_out", true.into()),
            ("of_a_later_version", false.into()),
        ] {
            with(field, value).unwrap_or_else(|error| panic!("{field}: {error}"));
        }
        let saved = ["pre_classifier", "classifier", "score"];
        assert_eq!(with("modules_to_save", json!(saved)).unwrap().head, saved);
        assert_eq!(with("target_modules", "all-linear".into()).unwrap().lora.targets, ["all-linear"]);
    }

    #[test]
    fn what_would_compute_otherwise_is_refused_by_name() {
        for (field, value) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("all")),
            ("use_dora", json!(true)),
            ("lora_bias", json!(true)),
            ("rank_pattern", json!({ "q": 2 })),
            ("alpha_pattern", json!({ "q": 2 })),
            ("layers_to_transform", json!([1])),
            ("layer_replication", json!([[0, 1]])),
            ("exclude_modules", json!("q")),
            ("target_parameters", json!(["w"])),
            ("trainable_token_indices", json!([3])),
            ("modules_to_save", json!(["embed_tokens"])),
            ("init_lora_weights", json!("pissa")),
            ("target_modules", json!(".*q")),
            ("of_a_later_version", json!(0.5)),
        ] {
            let error = with(field, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("a.json: {field} = ")), "{error}");
        }
    }

    #[test]
    fn a_broken_file_is_named_with_the_place() {
        for text in ["", "[]", "{", r#"{"peft_type": "LORA"}"#, r#"{"peft_type": "LORA", "r": -1}"#] {
            let error = read("a.json".as_ref(), text).unwrap_err().to_string();
            assert!(
                error.starts_with("a.json is no adapter configuration: ") && error.contains("line"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let targets = vec!["attn.c_attn".to_owned()];
        let lora = Lora { rank: 3, alpha: 1.5, dropout: 0.25, targets };
        let classifier = Some(Head::Classifier { classes: 2 });
        for (scaling, head, modules, saved) in [
            (Scaling::Rank, Some(Head::LanguageModel), &[][..], &[][..]),
            (Scaling::RootOfRank, classifier, &["score"], &["classifier", "score"]),
            (
                Scaling::Rank,
                Some(Head::Reward),
                &["classifier", "pre_classifier"],
                &["pre_classifier", "classifier", "score"],
            ),
        ] {
            let modules = modules.iter().copied().collect();
            let text = write(&lora, scaling, &lora.targets, head, &modules, true).unwrap();
            let read = read("a.json".as_ref(), &text).unwrap();
            assert_eq!((&read.lora, read.scaling), (&lora, scaling));
            assert_eq!(read.head, saved);
        }
        let whole = Lora { alpha: 16.0, ..lora };
        let text = write(&whole, Scaling::Rank, &whole.targets, None, &BTreeSet::new(), false).unwrap();
        assert!(text.contains(r#""lora_alpha": 16,"#), "{text}");
    }
}
