//! How families of decoders spell themselves: both spellings of rotary positions, bare models, what is refused.

use fulcrum_common::plan::Head;
use fulcrum_models::Model;
use serde_json::{Value, json};
use tch::Tensor;

use crate::support::{DECODERS, Draft, Expected, distance, folder, load};

fn logits(fixture: &str, model: &Model) -> Tensor {
    let expected = Expected::of(fixture);
    model.forward(expected.get("ids"), expected.get("mask")).unwrap()
}

fn take(config: &mut Value, field: &str) -> Value {
    config.as_object_mut().unwrap().remove(field).unwrap_or(Value::Null)
}

#[test]
fn rotary_positions_may_be_spelled_as_transformers_5_does() {
    for fixture in DECODERS.into_iter().filter(|fixture| !["gpt2-language-model", "opt"].contains(fixture)) {
        let mut draft = Draft::of(fixture);
        let (old, new) = (&mut draft.config, "rope_parameters");
        let mut parameters = match take(old, "rope_scaling") {
            Value::Null => json!({"rope_type": "default"}),
            scaling => scaling,
        };
        let theta = take(old, "rope_theta");
        let bases = [take(old, "rotary_emb_base"), theta];
        parameters["rope_theta"] = bases.into_iter().find(|base| !base.is_null()).unwrap();
        let fractions = [take(old, "rotary_pct"), take(old, "partial_rotary_factor")];
        if let Some(fraction) = fractions.into_iter().find(|fraction| !fraction.is_null()) {
            parameters["partial_rotary_factor"] = fraction;
        }
        old[new] = parameters;
        let same =
            logits(fixture, &draft.load().unwrap()) == logits(fixture, &load(&folder(fixture)).unwrap());
        assert!(same, "{fixture}");
        draft.config[new]["rope_theta"] = json!(77.0);
        let other =
            logits(fixture, &draft.load().unwrap()) == logits(fixture, &load(&folder(fixture)).unwrap());
        assert!(!other, "{fixture} heeds its parameters");
    }
}

#[test]
fn the_old_name_of_the_kind_of_scaling_is_read() {
    let mut draft = Draft::of("llama-linear");
    draft.config["rope_scaling"] = json!({"type": "linear", "factor": 4});
    let same = logits("llama-linear", &draft.load().unwrap());
    assert_eq!(same, logits("llama-linear", &load(&folder("llama-linear")).unwrap()));
}

#[test]
fn scaled_positions_reach_as_far_as_the_scaling_says() {
    let cases = [
        ("llama", 24),
        ("llama-linear", 32),
        ("llama-dynamic", 32),
        ("llama-yarn", 32),
        ("llama-llama3", 24),
        ("mistral-yarn", 24),
    ];
    for (fixture, tokens) in cases {
        assert_eq!(load(&folder(fixture)).unwrap().max_tokens(), tokens, "{fixture}");
    }
}

#[test]
fn every_id_that_ends_a_text_is_kept() {
    let model = load(&folder("qwen3")).unwrap();
    let saved = tempfile::tempdir().unwrap();
    model.save(saved.path()).unwrap();
    for model in [model, load(saved.path()).unwrap()] {
        assert_eq!((model.ends(), model.special_tokens().end), (vec![2, 3], Some(2)));
    }
    assert_eq!(load(&folder("llama")).unwrap().ends(), [2]);
}

#[test]
fn a_bare_decoder_gives_states_unless_its_output_is_its_embedding() {
    for (fixture, bare, head) in
        [("llama", "LlamaModel", None), ("qwen3", "Qwen3Model", Some(Head::LanguageModel))]
    {
        let mut draft = Draft::of(fixture);
        draft.config["architectures"] = json!([bare]);
        draft.tensors.remove("lm_head.weight");
        draft.rename(|name| name.trim_start_matches("model.").to_owned());
        let model = draft.load().unwrap();
        assert_eq!(model.head(), head, "{fixture}");
        let expected = Expected::of(fixture);
        let whole = load(&folder(fixture)).unwrap();
        let states = whole.states(expected.get("ids"), expected.get("mask")).unwrap();
        assert_eq!(model.states(expected.get("ids"), expected.get("mask")).unwrap(), states);
        let width = if head.is_some() { 97 } else { 32 };
        assert_eq!(logits(fixture, &model).size()[2], width, "{fixture}");
        let saved = tempfile::tempdir().unwrap();
        model.save(saved.path()).unwrap();
        assert_eq!(load(saved.path()).unwrap().head(), head);
    }
}

#[test]
fn an_output_of_its_own_is_read_under_both_its_names_and_must_be_there() {
    let mut draft = Draft::of("gpt_neox");
    draft.rename(|name| name.replace("embed_out", "lm_head"));
    assert_eq!(
        logits("gpt_neox", &draft.load().unwrap()),
        logits("gpt_neox", &load(&folder("gpt_neox")).unwrap())
    );
    for (fixture, name) in [("gpt_neox", "embed_out.weight"), ("llama", "lm_head.weight")] {
        let mut draft = Draft::of(fixture);
        assert!(draft.tensors.remove(name).is_some());
        let message = draft.load().unwrap_err().to_string();
        assert!(message.contains(&format!("no tensor {name:?}")), "{message}");
    }
}

#[test]
fn an_output_of_its_own_has_no_place_under_a_classifier() {
    for (tied, fragment) in [(false, "does not have"), (true, "differs from \"model.embed_tokens.weight\"")] {
        let mut draft = Draft::of("llama");
        draft.config["architectures"] = json!(["LlamaForSequenceClassification"]);
        draft.config["tie_word_embeddings"] = json!(tied);
        let mut score = draft.tensors["model.embed_tokens.weight"].clone();
        score.bytes.truncate(2 * 32 * 4);
        score.shape = vec![2, 32];
        draft.tensors.insert("score.weight".to_owned(), score);
        let message = draft.load().unwrap_err().to_string();
        assert!(message.contains("\"lm_head.weight\"") && message.contains(fragment), "{message}");
        draft.tensors.remove("lm_head.weight");
        assert_eq!(draft.load().unwrap().head(), Some(Head::Classifier { classes: 2 }));
    }
}

#[test]
fn a_classifier_without_output_becomes_a_language_model_through_its_embedding() {
    let model = load(&folder("llama")).unwrap();
    let classifier = model.with_head(&Head::Classifier { classes: 3 }.into(), 1).unwrap();
    assert_eq!(logits("llama", &classifier).size(), [4, 3]);
    let spoken = classifier.with_head(&Head::LanguageModel.into(), 0).unwrap();
    assert!(spoken.parameters().iter().all(|(name, _)| name != "lm_head.weight"));
    let saved = tempfile::tempdir().unwrap();
    spoken.save(saved.path()).unwrap();
    let again = logits("llama", &load(saved.path()).unwrap());
    assert!(distance(&again, &logits("llama", &spoken)) == 0.0);
}

#[test]
fn an_output_that_is_the_embedding_may_have_a_bias_of_its_own() {
    let mut copied = Draft::of("phi");
    let embedding = copied.tensors["model.embed_tokens.weight"].clone();
    copied.tensors.insert("lm_head.weight".to_owned(), embedding);
    let mut tied = Draft::of("phi");
    tied.config["tie_word_embeddings"] = json!(true);
    tied.tensors.remove("lm_head.weight");
    let model = tied.load().unwrap();
    assert_eq!(logits("phi", &model), logits("phi", &copied.load().unwrap()));
    let saved = tempfile::tempdir().unwrap();
    model.save(saved.path()).unwrap();
    assert_eq!(logits("phi", &load(saved.path()).unwrap()), logits("phi", &model));
    tied.tensors.remove("lm_head.bias");
    let message = tied.load().unwrap_err().to_string();
    assert!(message.contains("no tensor \"lm_head.bias\""), "{message}");
}

#[test]
fn a_decoder_that_cannot_be_followed_is_refused_by_field_and_value() {
    let yarn = |field: &str, value: Value| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 4.0});
        scaling[field] = value;
        scaling
    };
    let llama3 =
        json!({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0});
    let cases = [
        ("llama", "num_key_value_heads", json!(3), "num_key_value_heads = 3"),
        ("llama", "num_key_value_heads", json!(0), "it must divide num_attention_heads = 4"),
        ("llama", "num_attention_heads", json!(0), "num_attention_heads = 0"),
        ("llama", "head_dim", json!(0), "head_dim = 0"),
        ("llama", "head_dim", json!(u64::MAX), "head_dim = 18446744073709551615"),
        ("llama", "head_dim", json!(7), "an even number of at least 4"),
        ("llama", "hidden_act", json!("mish"), "hidden_act = \"mish\""),
        ("llama", "hidden_size", Value::Null, "is no model configuration"),
        ("llama", "rms_norm_eps", json!(0.0), "rms_norm_eps = 0"),
        (
            "llama",
            "architectures",
            json!(["LlamaForTokenClassification"]),
            "use LlamaModel, LlamaForCausalLM or",
        ),
        ("llama", "rope_theta", json!(0.0), "rope_theta = 0"),
        ("llama", "rope_theta", json!("wide"), "is no model configuration"),
        ("llama", "rope_scaling", json!({"rope_type": "longrope"}), "rope_type = \"longrope\""),
        ("llama", "rope_scaling", json!({"rope_type": "linear"}), "factor = none"),
        ("llama", "rope_scaling", json!({"rope_type": "linear", "factor": 0.5}), "factor = 0.5"),
        ("llama", "rope_scaling", json!({"rope_type": "dynamic", "factor": -1}), "factor = -1"),
        ("llama", "rope_scaling", yarn("beta_fast", json!(0.5)), "beta_fast = 0.5"),
        ("llama", "rope_scaling", yarn("original_max_position_embeddings", json!(0)), "embeddings = 0"),
        ("llama", "rope_scaling", llama3, "high_freq_factor = 4"),
        ("llama", "rope_parameters", json!({"full_attention": {}}), "one set of angles for all layers"),
        ("gpt_neox", "rotary_pct", json!(1.5), "partial_rotary_factor = 1.5"),
        ("gpt_neox", "rotary_pct", json!(0.2), "head_dim = 8, of which 1 rotate"),
        ("mistral", "sliding_window", json!(0), "sliding_window = 0"),
        ("mistral", "layer_types", json!(["full_attention"]), "leave the field out"),
        ("qwen3", "use_sliding_window", json!(false), "sliding_window = none"),
        ("qwen3", "layer_types", json!(["sliding_attention"]), "layer_types = 1"),
        ("qwen3", "layer_types", json!(["chunked_attention", "full_attention"]), "\"chunked_attention\""),
        ("qwen3", "eos_token_id", json!("end"), "is no model configuration"),
    ];
    for (fixture, field, value, fragment) in cases {
        let mut draft = Draft::of(fixture);
        draft.config[field] = value.clone();
        let message = draft.load().map(|_| "it was not refused".to_owned()).unwrap_or_else(|e| e.to_string());
        assert!(message.contains(fragment), "{fixture} {field} = {value}: {message}");
    }
}
