//! Low-rank adapters: the numbers and the files of PEFT.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use fulcrum_common::plan::{Head, Lora, Trainable};
use fulcrum_models::{Model, ModelError, Noise};
use serde_json::{Value, json};
use tch::Tensor;

use crate::support::{
    DECODER_CLASSIFIER, Draft, ENCODER_CLASSIFIER, Expected, LANGUAGE_MODEL, distance, folder, load,
};

/// An encoder with a layer of its own before its last.
const REWARD: &str = "distilbert-reward";

const ADAPTED: [&str; 6] =
    [DECODER_CLASSIFIER, ENCODER_CLASSIFIER, LANGUAGE_MODEL, "llama", "gpt_neox", REWARD];

fn adapters(fixture: &str) -> String {
    format!("adapters/{fixture}")
}

/// The checkpoint under the adapters that PEFT wrote, and what it computed with them.
fn adapted(fixture: &str) -> (Model, Expected) {
    let model = load(&folder(fixture)).unwrap().with_adapter(&folder(&adapters(fixture))).unwrap();
    (model, Expected::of(&adapters(fixture)))
}

fn logits(model: &Model, expected: &Expected) -> Tensor {
    let logits = model.forward(expected.get("ids"), expected.get("mask")).unwrap();
    visible(&logits, expected)
}

/// Without what stands at padding.
fn visible(logits: &Tensor, expected: &Expected) -> Tensor {
    match logits.dim() {
        3 => logits * expected.get("mask").unsqueeze(2),
        _ => logits.shallow_clone(),
    }
}

fn lora(targets: &[&str]) -> Lora {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    Lora { rank: 3, alpha: 6.0, dropout: 0.0, targets }
}

fn names(model: &Model) -> Vec<&str> {
    model.parameters().iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn logits_and_gradients_equal_those_of_peft() {
    for fixture in ADAPTED {
        let (model, expected) = adapted(fixture);
        let reference = visible(expected.get("logits"), &expected);
        assert!(distance(&logits(&model, &expected), &reference) < 1e-4, "{fixture}");
        let plain = load(&folder(fixture)).unwrap();
        assert!(
            distance(&logits(&plain, &expected), &reference) > 1e-2,
            "{fixture}: the adapters do something"
        );

        let found = model.forward(expected.get("ids"), expected.get("mask")).unwrap();
        let loss = crate::parity::loss(&expected, &found);
        assert!(distance(&loss, expected.get("loss")) < 1e-4, "{fixture}");
        loss.backward();
        let mut trained: BTreeSet<&str> = BTreeSet::new();
        for (name, reference) in expected.gradients() {
            let (_, parameter) = model.parameters().iter().find(|(own, _)| own == name).unwrap();
            let difference = (parameter.grad() - reference).norm().double_value(&[]);
            let relative = difference / reference.norm().double_value(&[]);
            assert!(relative < 1e-3, "{fixture} {name}: {relative}");
            trained.insert(name);
        }
        let wanting = model.parameters().iter().filter(|(_, tensor)| tensor.requires_grad());
        let wanting: BTreeSet<&str> = wanting.map(|(name, _)| name.as_str()).collect();
        assert_eq!(wanting, trained, "{fixture}: what PEFT trains is what is trained here");
    }
}

#[test]
fn merged_adapters_compute_the_same_in_a_plain_model() {
    for fixture in ADAPTED {
        let (model, expected) = adapted(fixture);
        let before = logits(&model, &expected);
        let error = model.save(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
        assert!(error.contains("merge them first"), "{error}");
        let merged = model.merged();
        assert!(distance(&logits(&merged, &expected), &before) < 1e-4, "{fixture}");
        let plain = load(&folder(fixture)).unwrap();
        assert_eq!(names(&merged), names(&plain));
        assert!(merged.parameters().iter().all(|(_, tensor)| tensor.requires_grad()));
        let target = tempfile::tempdir().unwrap();
        merged.save(target.path()).unwrap();
        let again = load(target.path()).unwrap();
        assert_eq!(logits(&again, &expected), logits(&merged, &expected), "{fixture}");
    }
}

#[test]
fn what_is_saved_is_read_again_and_holds_what_peft_wrote() {
    for fixture in ADAPTED {
        let (model, expected) = adapted(fixture);
        let target = tempfile::tempdir().unwrap();
        model.save_adapter(target.path()).unwrap();
        let again = load(&folder(fixture)).unwrap().with_adapter(target.path()).unwrap();
        assert_eq!(logits(&again, &expected), logits(&model, &expected), "{fixture}");
        let weights = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
        let config = |folder: &Path| -> Value {
            serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
        };
        let of_peft = folder(&adapters(fixture));
        assert_eq!(weights(target.path()), weights(&of_peft), "{fixture}");
        let (ours, theirs) = (config(target.path()), config(&of_peft));
        for (field, value) in ours.as_object().unwrap() {
            match field.as_str() {
                "base_model_name_or_path" => assert!(value.is_null()),
                // PEFT keeps them in a set.
                "target_modules" => {
                    let set = |value: &Value| -> BTreeSet<String> {
                        serde_json::from_value(value.clone()).unwrap()
                    };
                    assert_eq!(set(value), set(&theirs[field]), "{fixture}");
                }
                _ => assert_eq!(*value, theirs[field], "{fixture} {field}"),
            }
        }
    }
}

#[test]
fn fresh_adapters_change_nothing_until_they_are_trained() {
    for fixture in ADAPTED {
        let (plain, expected) = (load(&folder(fixture)).unwrap(), Expected::of(fixture));
        let before = logits(&plain, &expected);
        let base: Vec<String> = names(&plain).into_iter().map(str::to_owned).collect();
        let count = plain.parameter_count();
        let model = plain.with_lora(&lora(&["all-linear"]), 1).unwrap();
        assert_eq!(logits(&model, &expected), before, "{fixture}");
        assert_eq!(names(&model)[..base.len()], base, "{fixture}: the base keeps its order");
        assert!(model.parameter_count() > count);
        for (name, tensor) in &model.parameters()[base.len()..] {
            let zero = tensor.abs().max().double_value(&[]) == 0.0;
            assert_eq!(zero, name.ends_with(".lora_B.weight"), "{name}");
            if !zero {
                let bound = (tensor.size()[1] as f64).sqrt().recip();
                let largest = tensor.abs().max().double_value(&[]);
                assert!((0.7 * bound..=bound).contains(&largest), "{name}: {largest}");
            }
        }
    }
}

#[test]
fn targets_are_endings_of_names() {
    let adapted = |targets: &[&str]| {
        let model = load(&folder(LANGUAGE_MODEL)).unwrap().with_lora(&lora(targets), 1).unwrap();
        let names = names(&model).into_iter().filter_map(|name| name.strip_suffix(".lora_A.weight"));
        names.map(|name| name.strip_prefix("transformer.h.").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(adapted(&["c_attn"]), ["0.attn.c_attn", "1.attn.c_attn"]);
    assert_eq!(adapted(&["attn.c_proj", "0.mlp.c_fc"]), ["0.attn.c_proj", "0.mlp.c_fc", "1.attn.c_proj"]);
    assert_eq!(adapted(&["transformer.h.1.mlp.c_fc"]), ["1.mlp.c_fc"]);
    assert_eq!(adapted(&["c_proj"]).len(), 4);
    assert_eq!(adapted(&["all-linear"]).len(), 8);
}

#[test]
fn adapters_that_make_no_sense_are_refused_with_the_way_out() {
    let refused = |fixture: &str, lora: Lora| {
        let error = load(&folder(fixture)).unwrap().with_lora(&lora, 1).unwrap_err();
        assert!(matches!(error, ModelError::Adapter(_)), "{error}");
        error.to_string()
    };
    for (targets, says) in [
        (["c_attm"], "\"c_attm\"; the nearest endings are c_attn"),
        (["attn"], "\"attn\""),
        (["wte"], "\"wte\""),
        (["score"], "\"score\""),
        ([""], "\"\""),
    ] {
        let error = refused(DECODER_CLASSIFIER, lora(&targets));
        assert!(error.contains(says), "{error}");
    }
    for (wrong, says) in [
        (Lora { rank: 0, ..lora(&["c_attn"]) }, "rank is 0"),
        (Lora { rank: usize::MAX, ..lora(&["c_attn"]) }, "the rank is"),
        (Lora { alpha: f64::NAN, ..lora(&["c_attn"]) }, "alpha is NaN"),
        (Lora { dropout: 1.0, ..lora(&["c_attn"]) }, "dropout is 1"),
        (lora(&[]), "no targets"),
    ] {
        let error = refused(LANGUAGE_MODEL, wrong);
        assert!(error.contains(says), "{error}");
    }
    let (mut model, _) = adapted(DECODER_CLASSIFIER);
    let error = model.freeze(&Trainable::Head).unwrap_err().to_string();
    assert!(error.contains("merge them first"), "{error}");
    let error = model.with_lora(&lora(&["c_attn"]), 1).unwrap_err().to_string();
    assert!(error.contains("adapters already"), "{error}");
}

#[test]
fn adapters_stay_on_what_is_left_of_a_model() {
    let model = load(&folder(LANGUAGE_MODEL)).unwrap().with_lora(&lora(&["c_attn"]), 1).unwrap();
    let short = model.truncate(1).unwrap();
    let last: Vec<&str> = names(&short).into_iter().filter(|name| name.contains("lora")).collect();
    assert_eq!(
        last,
        ["transformer.h.0.attn.c_attn.lora_A.weight", "transformer.h.0.attn.c_attn.lora_B.weight"]
    );
    let head = Head::Classifier { classes: 2 };
    let classifier = short.with_head(&head.into(), 1).unwrap();
    let trained = classifier.parameters().iter().filter(|(_, tensor)| tensor.requires_grad()).count();
    assert_eq!(trained, 3, "A, B and the new head");
}

#[test]
fn dropout_needs_noise_and_depends_on_nothing_else() {
    let with_dropout = Lora { dropout: 0.5, ..lora(&["c_attn", "c_fc"]) };
    let (trained, expected) = adapted(LANGUAGE_MODEL);
    let model = load(&folder(LANGUAGE_MODEL)).unwrap().with_lora(&with_dropout, 1).unwrap();
    // B is zero at first, and what is dropped before it would not show.
    for (name, tensor) in model.parameters() {
        if name.ends_with("lora_B.weight") {
            let _ = tch::no_grad(|| tensor.shallow_clone().fill_(0.1));
        }
    }
    let (ids_bt, mask_bt) = (expected.get("ids"), expected.get("mask"));
    let noise = |rows: &[u64]| Noise { seed: 3, step: 4, rows: rows.to_vec() };
    let noisy = visible(&model.forward_training(ids_bt, mask_bt, &noise(&[5, 6, 7, 8])).unwrap(), &expected);
    assert!(distance(&noisy, &logits(&model, &expected)) > 1e-2);
    for row in 0..4 {
        let ids_1t = expected.row(row);
        let alone = model.forward_training(&ids_1t, &ids_1t.ones_like(), &noise(&[5 + row as u64])).unwrap();
        let together = noisy.narrow(0, row, 1).narrow(1, 0, ids_1t.size()[1]);
        assert!(distance(&alone, &together) < 1e-5, "row {row}");
    }
    let error = model.forward_training(ids_bt, mask_bt, &noise(&[5])).unwrap_err().to_string();
    assert!(error.contains("noise is for 1"), "{error}");
    // Without dropout there is no noise.
    let calm = trained.forward_training(ids_bt, mask_bt, &noise(&[5, 6, 7, 8])).unwrap();
    assert_eq!(visible(&calm, &expected), logits(&trained, &expected));
}

/// A changed copy of the adapters of a classifier.
fn broken(change: impl FnOnce(&Path)) -> String {
    let copy = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(folder(&adapters(DECODER_CLASSIFIER)).join(file), copy.path().join(file)).unwrap();
    }
    change(copy.path());
    load(&folder(DECODER_CLASSIFIER)).unwrap().with_adapter(copy.path()).unwrap_err().to_string()
}

fn configured(field: &str, value: Value) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join("adapter_config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[field] = value;
        fs::write(&path, config.to_string()).unwrap();
    }
}

#[test]
fn broken_folders_are_refused_by_name() {
    for (field, value, says) in [
        ("use_dora", json!(true), "use_dora = true is not supported"),
        ("bias", json!("all"), "bias = \"all\" is not supported"),
        ("r", json!(5), "shape [3, 32], but config.json makes it [5, 32]"),
        ("r", json!(0), "rank is 0"),
        (
            "target_modules",
            json!(["c_attn"]),
            "has a tensor \"base_model.model.transformer.h.0.attn.c_proj.lora_A",
        ),
        ("target_modules", json!(["nothing"]), "\"nothing\""),
        ("modules_to_save", Value::Null, "has a tensor \"base_model.model.score.weight\""),
        ("lora_alpha", json!("much"), "is no adapter configuration"),
    ] {
        let error = broken(configured(field, value));
        assert!(error.contains(says), "{field}: {error}");
    }
    let weights = |folder: &Path| folder.join("adapter_model.safetensors");
    let error = broken(|folder| fs::remove_file(weights(folder)).unwrap());
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    let error = broken(|folder| {
        let bytes = fs::read(weights(folder)).unwrap();
        fs::write(weights(folder), &bytes[..bytes.len() - 4]).unwrap();
    });
    assert!(error.contains("no whole safetensors file"), "{error}");
    let error = broken(|folder| {
        let mut bytes = fs::read(weights(folder)).unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(weights(folder), bytes).unwrap();
    });
    assert!(error.contains("not finite"), "{error}");
    let bare = |fixture, change: Box<dyn FnOnce(&Path)>| {
        let target = tempfile::tempdir().unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(folder(&adapters(fixture)).join(file), target.path().join(file)).unwrap();
        }
        change(target.path());
        without_head(fixture).with_adapter(target.path()).unwrap_err().to_string()
    };
    let error = bare(REWARD, Box::new(configured("modules_to_save", json!(["classifier"]))));
    assert!(error.contains("a head that lacks pre_classifier.weight"), "{error}");
    let error = bare(LANGUAGE_MODEL, Box::new(configured("modules_to_save", json!(["score"]))));
    assert!(error.contains("a head that lacks score.weight"), "{error}");
}

/// The checkpoint of a fixture as it was before a classifier or a reward was put on it.
fn without_head(fixture: &str) -> Model {
    let mut draft = Draft::of(fixture);
    let architecture = draft.config["architectures"][0].as_str().unwrap();
    draft.config["architectures"] = json!([architecture.replace("ForSequenceClassification", "Model")]);
    let of_head =
        |name: &str| ["score", "classifier", "pre_classifier"].iter().any(|head| name.starts_with(head));
    draft.tensors.retain(|name, _| !of_head(name));
    draft.load().unwrap()
}

#[test]
fn a_head_that_comes_with_adapters_is_put_on_a_model_without_one() {
    for fixture in [DECODER_CLASSIFIER, ENCODER_CLASSIFIER, REWARD] {
        let (model, expected) = adapted(fixture);
        let bare = without_head(fixture);
        assert_ne!(bare.head(), model.head(), "{fixture}");
        let found = bare.with_adapter(&folder(&adapters(fixture))).unwrap();
        assert_eq!((found.head(), names(&found)), (model.head(), names(&model)), "{fixture}");
        assert_eq!(logits(&found, &expected), logits(&model, &expected), "{fixture}");
    }
}

/// With `FULCRUM_PYTHON`, a Python that has transformers and peft, peft itself reads what is saved.
#[test]
fn peft_reads_what_is_saved() {
    let Ok(python) = env::var("FULCRUM_PYTHON") else {
        eprintln!("FULCRUM_PYTHON names no Python with peft: its reading of saved adapters is not checked");
        return;
    };
    for fixture in ADAPTED {
        let (model, expected) = adapted(fixture);
        // Not the fixture's own numbers.
        let _guard = tch::no_grad_guard();
        let trained = model.parameters().iter().filter(|(_, tensor)| tensor.requires_grad());
        trained.for_each(|(_, tensor)| drop(tensor.shallow_clone().g_mul_scalar_(0.9)));
        let target = tempfile::tempdir().unwrap();
        model.save_adapter(target.path()).unwrap();
        let batch = folder(&adapters(fixture)).join("expected.safetensors");
        let script = folder("adapters").join("logits.py");
        let run =
            Command::new(&python).arg(script).arg(folder(fixture)).arg(target.path()).arg(batch).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{fixture}: {}", String::from_utf8_lossy(&run.stderr));
        let numbers: Vec<f32> = serde_json::from_slice(&run.stdout).unwrap();
        let found = logits(&model, &expected);
        let reference = visible(&Tensor::from_slice(&numbers).view_as(&found), &expected);
        assert!(distance(&found, &reference) < 1e-4, "{fixture}");
    }
}
