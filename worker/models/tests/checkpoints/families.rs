//! What single families spell in a way of their own.

use fulcrum_common::plan::{Head, Readout, Trainable};
use fulcrum_models::{Init, Model, NewHead};
use serde_json::{Value, json};
use tch::Tensor;

use crate::support::{DECODERS, Draft, ENCODERS, Expected, Stored, all, folder, load};

fn logits(fixture: &str, model: &Model) -> Tensor {
    let expected = Expected::of(fixture);
    model.forward(expected.get("ids"), expected.get("mask")).unwrap()
}

fn weight<'a>(model: &'a Model, name: &str) -> Option<&'a Tensor> {
    model.parameters().iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor)
}

fn saved(model: &Model) -> (Value, Model) {
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let config = std::fs::read(folder.path().join("config.json")).unwrap();
    (serde_json::from_slice(&config).unwrap(), load(folder.path()).unwrap())
}

#[test]
fn a_model_of_any_family_ends_in_a_classifier_or_a_reward_and_outlives_its_file() {
    for fixture in all() {
        for (head, logits_per_row) in [(Head::Classifier { classes: 5 }, 5), (Head::Reward, 1)] {
            for readout in [None, Some(Readout::Mean)] {
                let new = NewHead { head, init: Init::Normal, readout };
                let model = load(&folder(fixture)).unwrap().with_head(&new, 1).unwrap();
                assert_eq!(logits(fixture, &model).size(), [4, logits_per_row], "{fixture}");
                let (config, again) = saved(&model);
                let architecture = config["architectures"][0].as_str().unwrap();
                assert!(architecture.ends_with("ForSequenceClassification"), "{fixture}: {architecture}");
                assert_eq!((again.head(), again.readout()), (model.head(), model.readout()), "{fixture}");
                assert_eq!(logits(fixture, &again), logits(fixture, &model), "{fixture}");
            }
        }
    }
}

#[test]
fn an_unembedding_head_takes_its_rows_from_the_output_be_it_tied_or_free() {
    for fixture in DECODERS {
        let model = load(&folder(fixture)).unwrap();
        let free = ["lm_head.weight", "embed_out.weight"].into_iter().find_map(|name| weight(&model, name));
        let rows = free.unwrap_or(&model.parameters()[0].1).index_select(0, &Tensor::from_slice(&[9i64, 4]));
        let untied = free.is_some();
        let new = |init| NewHead { head: Head::Classifier { classes: 2 }, init, readout: None };
        let model = model.with_head(&new(Init::Unembedding(vec![9, 4])), 1).unwrap();
        assert_eq!(weight(&model, "score.weight").unwrap(), &rows, "{fixture}");
        let again = model.with_head(&new(Init::Unembedding(vec![1, 2])), 1);
        match again {
            Ok(_) => assert!(!untied, "{fixture}"),
            Err(error) => {
                assert!(untied && error.to_string().contains("has lost its unembedding"), "{error}")
            }
        }
    }
}

#[test]
fn a_probe_of_any_family_trains_what_stands_after_the_readout() {
    for fixture in all() {
        let new = Head::Classifier { classes: 3 };
        let mut model = load(&folder(fixture)).unwrap().with_head(&new.into(), 1).unwrap();
        model.freeze(&Trainable::Head).unwrap();
        logits(fixture, &model).square().sum(tch::Kind::Float).backward();
        let names: Vec<&str> = model.trainable().map(|(name, _)| name).collect();
        let expected: &[&str] = match fixture {
            "bert-classifier" => &[
                "bert.pooler.dense.weight",
                "bert.pooler.dense.bias",
                "classifier.weight",
                "classifier.bias",
            ],
            "roberta-classifier" => &[
                "classifier.dense.weight",
                "classifier.dense.bias",
                "classifier.out_proj.weight",
                "classifier.out_proj.bias",
            ],
            "distilbert-reward" => {
                &["pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"]
            }
            _ => &["score.weight"],
        };
        assert_eq!(names, expected, "{fixture}");
        for (name, tensor) in model.parameters() {
            assert_eq!(tensor.grad().defined(), expected.contains(&name.as_str()), "{fixture} {name}");
        }
    }
}

#[test]
fn an_encoder_as_it_was_pretrained_is_read_without_its_outputs() {
    let stored = |shape: &[usize]| {
        let numbers: usize = shape.iter().product();
        Stored { dtype: safetensors::Dtype::F32, shape: shape.to_vec(), bytes: vec![0; 4 * numbers] }
    };
    let cases: [(&str, &str, &[&str]); 3] = [
        ("bert-classifier", "BertForPreTraining", &["cls.predictions.bias", "cls.seq_relationship.weight"]),
        (
            "roberta-classifier",
            "RobertaForMaskedLM",
            &["lm_head.bias", "lm_head.dense.weight", "roberta.pooler.dense.weight"],
        ),
        ("distilbert-reward", "DistilBertForMaskedLM", &["vocab_transform.weight", "vocab_projector.bias"]),
    ];
    for (fixture, architecture, outputs) in cases {
        let mut draft = Draft::of(fixture);
        draft.config["architectures"] = json!([architecture]);
        draft
            .tensors
            .retain(|name, _| !name.starts_with("classifier") && !name.starts_with("pre_classifier"));
        draft.tensors.extend(outputs.iter().map(|name| (name.to_string(), stored(&[3]))));
        let model = draft.load().unwrap();
        assert_eq!(model.head(), None, "{fixture}");
        let whole = load(&folder(fixture)).unwrap();
        let expected = Expected::of(fixture);
        let states = whole.states(expected.get("ids"), expected.get("mask")).unwrap();
        assert_eq!(logits(fixture, &model), states, "{fixture}");
        assert_eq!(logits(fixture, &saved(&model).1), states, "{fixture}");
        draft.tensors.insert("surprise".to_owned(), stored(&[3]));
        assert!(draft.load().unwrap_err().to_string().contains("surprise"), "{fixture}");
    }
}

#[test]
fn a_cap_that_is_null_is_none_and_one_that_is_not_told_is_the_familys() {
    let capped = logits("gemma2", &load(&folder("gemma2")).unwrap());
    let with = |value: Option<Value>| {
        let mut draft = Draft::of("gemma2");
        let config = draft.config.as_object_mut().unwrap();
        config.remove("final_logit_softcapping");
        config.extend(value.map(|value| ("final_logit_softcapping".to_owned(), value)));
        draft.load().unwrap()
    };
    let (free, default) = (with(Some(Value::Null)), with(None));
    let near = |a: &Tensor, b: &Tensor| a.allclose(b, 1e-4, 1e-4, false);
    let cap = |cap: f64| (logits("gemma2", &free) / cap).tanh() * cap;
    assert!(near(&cap(5.0), &capped) && near(&cap(30.0), &logits("gemma2", &default)));
    assert!(!near(&cap(5.0), &cap(30.0)));
    for (model, value) in [(&free, Value::Null), (&default, json!(30.0))] {
        let (config, again) = saved(model);
        assert_eq!(config["final_logit_softcapping"], value);
        assert_eq!(logits("gemma2", &again), logits("gemma2", model));
    }
}

#[test]
fn every_other_layer_of_gemma2_has_the_window_unless_the_types_say_otherwise() {
    let told = logits("gemma2", &load(&folder("gemma2")).unwrap());
    let with = |types: Option<Value>| {
        let mut draft = Draft::of("gemma2");
        draft.config.as_object_mut().unwrap().remove("layer_types");
        draft.config.as_object_mut().unwrap().extend(types.map(|types| ("layer_types".to_owned(), types)));
        logits("gemma2", &draft.load().unwrap())
    };
    assert_eq!(with(None), told);
    assert_ne!(with(Some(json!(["full_attention", "sliding_attention"]))), told);
    assert_ne!(with(Some(json!(["full_attention", "full_attention"]))), told);
}

#[test]
fn what_single_families_do_not_carry_is_refused_by_field_and_value() {
    let cases = [
        ("opt", "do_layer_norm_before", json!(false), "do_layer_norm_before = false"),
        ("opt", "word_embed_proj_dim", json!(16), "word_embed_proj_dim = 16"),
        ("opt", "_remove_final_layer_norm", json!(true), "_remove_final_layer_norm = true"),
        ("opt", "layer_norm_elementwise_affine", json!(false), "layer_norm_elementwise_affine = false"),
        ("phi", "qk_layernorm", json!(true), "qk_layernorm = true"),
        ("phi", "partial_rotary_factor", json!(0.0), "partial_rotary_factor = 0"),
        ("gemma", "hidden_act", json!("mish"), "hidden_act = \"mish\""),
        ("gemma2", "hidden_activation", json!("mish"), "hidden_activation = \"mish\""),
        ("gemma2", "query_pre_attn_scalar", json!(0), "query_pre_attn_scalar = 0"),
        ("gemma2", "attn_logit_softcapping", json!(-1), "attn_logit_softcapping = -1"),
        ("gemma2", "final_logit_softcapping", json!(0), "final_logit_softcapping = 0"),
        ("gemma2", "sliding_window", json!(0), "sliding_window = 0"),
        ("roberta-classifier", "pad_token_id", json!(-1), "pad_token_id = -1"),
        ("roberta-classifier", "pad_token_id", json!(25), "below max_position_embeddings = 25"),
        ("roberta-classifier", "pad_token_id", json!(i64::MAX), "below max_position_embeddings = 25"),
        ("roberta-classifier", "position_embedding_type", json!("relative_key"), "only \"absolute\" is"),
        ("roberta-classifier", "architectures", json!(["RobertaForCausalLM"]), "RobertaForMaskedLM or"),
        ("distilbert-reward", "n_heads", json!(5), "must divide dim = 32"),
        ("distilbert-reward", "activation", json!("mish"), "activation = \"mish\""),
        (
            "distilbert-reward",
            "architectures",
            json!(["DistilBertForMultipleChoice"]),
            "DistilBertForMaskedLM or",
        ),
    ];
    for (fixture, field, value, fragment) in cases {
        let mut draft = Draft::of(fixture);
        draft.config[field] = value.clone();
        let message = draft.load().map(|_| "it was not refused".to_owned()).unwrap_or_else(|e| e.to_string());
        assert!(message.contains(fragment), "{fixture} {field} = {value}: {message}");
    }
}

#[test]
fn no_encoder_speaks_or_has_an_unembedding() {
    for fixture in ENCODERS {
        let with = |new: NewHead| load(&folder(fixture)).unwrap().with_head(&new, 0).unwrap_err().to_string();
        assert!(
            with(Head::LanguageModel.into()).contains("cannot end in a language model head"),
            "{fixture}"
        );
        let init = Init::Unembedding(vec![1]);
        assert!(
            with(NewHead { head: Head::Reward, init, readout: None }).contains("is an encoder"),
            "{fixture}"
        );
    }
}
