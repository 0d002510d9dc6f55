//! Broken and hostile checkpoints: each is refused, and the message names what is at fault.

use std::fs;

use safetensors::Dtype;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::support::{DECODER_CLASSIFIER, Draft, ENCODER_CLASSIFIER, LANGUAGE_MODEL, Stored, folder, load};

fn refusal(draft: &Draft) -> String {
    draft.load().unwrap_err().to_string()
}

#[test]
fn a_configuration_that_cannot_be_followed_is_refused_by_field_and_value() {
    let cases: &[(&str, &str, Value, &str)] = &[
        (LANGUAGE_MODEL, "model_type", json!("mamba"), "model_type = \"mamba\""),
        (LANGUAGE_MODEL, "model_type", json!("mamba"), "use one of gpt2, "),
        (LANGUAGE_MODEL, "model_type", Value::Null, "model_type = none"),
        (LANGUAGE_MODEL, "n_head", json!(0), "n_head = 0"),
        (
            LANGUAGE_MODEL,
            "n_head",
            json!(5),
            "n_head = 5 of a model configuration is not supported: it must divide n_embd = 32",
        ),
        (LANGUAGE_MODEL, "n_head", json!(-4), "is no model configuration"),
        (LANGUAGE_MODEL, "n_embd", json!(4_000_000_000u64), "n_embd = 4000000000"),
        (LANGUAGE_MODEL, "n_embd", json!(u64::MAX), "n_embd = 18446744073709551615"),
        (LANGUAGE_MODEL, "n_embd", json!(32.5), "is no model configuration"),
        (LANGUAGE_MODEL, "n_layer", json!(1_000_000), "n_layer = 1000000"),
        (LANGUAGE_MODEL, "n_inner", json!(0), "n_inner = 0"),
        (LANGUAGE_MODEL, "vocab_size", json!(1u64 << 40), "vocab_size = 1099511627776"),
        (LANGUAGE_MODEL, "n_positions", json!(0), "n_positions = 0"),
        (LANGUAGE_MODEL, "layer_norm_epsilon", json!(0.0), "layer_norm_epsilon = 0"),
        (LANGUAGE_MODEL, "layer_norm_epsilon", json!(-1e-5), "layer_norm_epsilon = -0.00001"),
        (LANGUAGE_MODEL, "pad_token_id", json!(97), "pad_token_id = 97"),
        (LANGUAGE_MODEL, "pad_token_id", json!(-1), "pad_token_id = -1"),
        (LANGUAGE_MODEL, "activation_function", json!("mish"), "activation_function = \"mish\""),
        (LANGUAGE_MODEL, "scale_attn_weights", json!(false), "scale_attn_weights = false"),
        (
            LANGUAGE_MODEL,
            "scale_attn_by_inverse_layer_idx",
            json!(true),
            "scale_attn_by_inverse_layer_idx = true",
        ),
        (LANGUAGE_MODEL, "tie_word_embeddings", json!(false), "tie_word_embeddings = false"),
        (LANGUAGE_MODEL, "add_cross_attention", json!(true), "add_cross_attention = true"),
        (LANGUAGE_MODEL, "quantization_config", json!({"bits": 4}), "quantization_config = {\"bits\":4}"),
        (LANGUAGE_MODEL, "pruned_heads", json!({"0": [1]}), "pruned_heads = {\"0\":[1]}"),
        (
            LANGUAGE_MODEL,
            "architectures",
            json!(["GPT2DoubleHeadsModel"]),
            "architectures = [\"GPT2DoubleHeadsModel\"]",
        ),
        (LANGUAGE_MODEL, "architectures", json!(["GPT2Model", "GPT2LMHeadModel"]), "name one"),
        (DECODER_CLASSIFIER, "id2label", json!({"0": "a", "2": "b"}), "class 1 must come before it"),
        (DECODER_CLASSIFIER, "id2label", json!({"0": "a"}), "config.json makes it [1, 32]"),
        (DECODER_CLASSIFIER, "problem_type", json!("regression"), "problem_type = \"regression\""),
        (
            ENCODER_CLASSIFIER,
            "position_embedding_type",
            json!("relative_key"),
            "position_embedding_type = \"relative_key\"",
        ),
        (ENCODER_CLASSIFIER, "hidden_act", json!("mish"), "hidden_act = \"mish\""),
        (ENCODER_CLASSIFIER, "is_decoder", json!(true), "is_decoder = true"),
        (ENCODER_CLASSIFIER, "type_vocab_size", json!(0), "type_vocab_size = 0"),
        (ENCODER_CLASSIFIER, "num_attention_heads", json!(3), "must divide hidden_size = 32"),
        (
            ENCODER_CLASSIFIER,
            "architectures",
            json!(["BertForQuestionAnswering"]),
            "architectures = [\"BertForQuestionAnswering\"]",
        ),
    ];
    for (fixture, field, value, fragment) in cases {
        let mut draft = Draft::of(fixture);
        draft.config[*field] = value.clone();
        let message = refusal(&draft);
        assert!(message.contains(fragment), "{field} = {value}: {message}");
    }
}

#[test]
fn a_configuration_that_is_no_json_or_no_text_is_refused() {
    let long = "x".repeat((1 << 22) + 1);
    for (text, fragment) in [
        (&b"{"[..], "is no model configuration"),
        (b"[]", "is no model configuration"),
        (b"\xff\xfe", "cannot read"),
        (long.as_bytes(), "more than the 4194304"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), text).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains(fragment) && message.contains("config.json"), "{message}");
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let empty = tempfile::tempdir().unwrap();
    assert!(load(empty.path()).unwrap_err().to_string().contains("config.json"));
    fs::copy(folder(LANGUAGE_MODEL).join("config.json"), empty.path().join("config.json")).unwrap();
    assert!(load(empty.path()).unwrap_err().to_string().contains("model.safetensors"));
}

#[test]
fn a_missing_tensor_is_named() {
    let cases = [
        (LANGUAGE_MODEL, "transformer.h.1.mlp.c_fc.bias"),
        (DECODER_CLASSIFIER, "score.weight"),
        (ENCODER_CLASSIFIER, "bert.pooler.dense.weight"),
    ];
    for (fixture, name) in cases {
        let mut draft = Draft::of(fixture);
        assert!(draft.tensors.remove(name).is_some());
        let message = refusal(&draft);
        assert!(message.contains(&format!("no tensor {name:?}")), "{message}");
    }
}

#[test]
fn an_extra_tensor_is_named() {
    for name in ["transformer.h.2.ln_1.weight", "score.weight", "wte.weight", "surprise"] {
        let mut draft = Draft::of(LANGUAGE_MODEL);
        let some = draft.tensors["transformer.ln_f.weight"].clone();
        draft.tensors.insert(name.to_owned(), some);
        let message = refusal(&draft);
        // The same weight under two names: whichever comes second in the file is one too many.
        assert!(message.contains(name) && message.contains("does not have"), "{message}");
    }
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let mut draft = Draft::of(LANGUAGE_MODEL);
    draft.tensors.get_mut("transformer.h.0.attn.c_attn.weight").unwrap().shape = vec![96, 32];
    let message = refusal(&draft);
    assert!(message.starts_with("tensor \"transformer.h.0.attn.c_attn.weight\" of "), "{message}");
    assert!(
        message.ends_with("model.safetensors has shape [96, 32], but config.json makes it [32, 96]"),
        "{message}"
    );
    let mut draft = Draft::of(ENCODER_CLASSIFIER);
    draft.config["vocab_size"] = json!(98);
    assert!(refusal(&draft).contains("bert.embeddings.word_embeddings.weight"));
}

#[test]
fn a_tensor_of_another_kind_is_named() {
    let mut draft = Draft::of(LANGUAGE_MODEL);
    draft.tensors.get_mut("transformer.ln_f.bias").unwrap().dtype = Dtype::I32;
    let message = refusal(&draft);
    assert!(message.contains("transformer.ln_f.bias") && message.contains("I32"), "{message}");
}

#[test]
fn a_weight_that_is_not_finite_is_refused_in_every_kind() {
    let nan_f32 = f32::NAN.to_le_bytes();
    let infinite_f32 = f32::NEG_INFINITY.to_le_bytes();
    let cases: [(&str, &str, &[u8]); 4] = [
        (LANGUAGE_MODEL, "transformer.wpe.weight", &nan_f32),
        (LANGUAGE_MODEL, "transformer.wpe.weight", &infinite_f32),
        // bf16 keeps the upper half of an f32; f16 is infinite at 0x7c00.
        (DECODER_CLASSIFIER, "transformer.wpe.weight", &nan_f32[2..]),
        (ENCODER_CLASSIFIER, "classifier.weight", &[0x00, 0x7c]),
    ];
    for (fixture, name, number) in cases {
        let mut draft = Draft::of(fixture);
        let bytes = &mut draft.tensors.get_mut(name).unwrap().bytes;
        let middle = bytes.len() / 2;
        bytes[middle..middle + number.len()].copy_from_slice(number);
        let message = refusal(&draft);
        assert!(message.contains(name) && message.contains("not finite"), "{message}");
    }
}

#[test]
fn an_output_that_is_not_the_token_embedding_is_refused() {
    let mut draft = Draft::of(LANGUAGE_MODEL);
    let mut other = draft.tensors["transformer.wte.weight"].clone();
    other.bytes[0] ^= 1;
    draft.tensors.insert("lm_head.weight".to_owned(), other);
    let message = refusal(&draft);
    assert!(
        message.contains("\"lm_head.weight\" of ")
            && message.contains("differs from \"transformer.wte.weight\""),
        "{message}"
    );
    let small = Stored { dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] };
    draft.tensors.insert("lm_head.weight".to_owned(), small);
    assert!(refusal(&draft).contains("model.safetensors has shape [1]"));
}

#[test]
fn a_weights_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Draft::of(DECODER_CLASSIFIER).write(folder.path());
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 7, 8, 9, header - 1, header, header + 1, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("is no whole safetensors file"), "{length}: {message}");
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(load(folder.path()).is_err(), "a longer file");
}

#[test]
fn a_hostile_header_is_refused_before_it_takes_memory() {
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let cases = [
        [u64::MAX.to_le_bytes(), *b"{}      "].concat(),
        header("{"),
        header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,16],\"data_offsets\":[0,0]}}"),
        header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1000000000],\"data_offsets\":[0,4000000000]}}"),
        header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}"),
        header(&"[".repeat(100_000)),
    ];
    for bytes in cases {
        let scratch = tempfile::tempdir().unwrap();
        fs::copy(folder(LANGUAGE_MODEL).join("config.json"), scratch.path().join("config.json")).unwrap();
        fs::write(scratch.path().join("model.safetensors"), &bytes).unwrap();
        let message = load(scratch.path()).unwrap_err().to_string();
        assert!(message.contains("is no whole safetensors file"), "{message}");
    }
}

#[test]
fn a_batch_that_does_not_fit_the_model_is_refused() {
    let ids = |rows: &[&[i64]]| {
        Tensor::stack(&rows.iter().map(|row| Tensor::from_slice(row)).collect::<Vec<_>>(), 0)
    };
    let ones = |tokens: i64| Tensor::ones([1, tokens], (Kind::Int64, Device::Cpu));
    let cases = [
        (ids(&[&[1, 2]]), ones(3), "both must be [rows, tokens]"),
        (Tensor::from_slice(&[1i64, 2]), Tensor::from_slice(&[1i64, 1]), "both must be [rows, tokens]"),
        (ones(0), ones(0), "both must be [rows, tokens]"),
        (ones(25), ones(25), "25 tokens in a row, the model takes 24"),
        (ids(&[&[1, 97]]), ones(2), "token 97 is outside the vocabulary of 97"),
        (ids(&[&[-1, 2]]), ones(2), "token -1"),
        (ids(&[&[1, 2]]), ones(2).to_kind(Kind::Float), "not Int64"),
        (ids(&[&[1, 2]]), ids(&[&[1, 2]]), "other than 0 and 1"),
        (ids(&[&[1, 2]]), ids(&[&[0, 0]]), "tokens are none"),
        (ids(&[&[1, 2, 3]]), ids(&[&[1, 0, 1]]), "interrupted by padding"),
        (ids(&[&[1, 2, 3, 4]]), ids(&[&[0, 1, 0, 1]]), "interrupted by padding"),
    ];
    for fixture in [LANGUAGE_MODEL, ENCODER_CLASSIFIER] {
        let model = load(&folder(fixture)).unwrap();
        for (ids_bt, mask_bt, fragment) in &cases {
            let message = model.forward(ids_bt, mask_bt).unwrap_err().to_string();
            assert!(message.contains(fragment), "{message}");
        }
    }
}

#[test]
fn a_model_that_diverged_is_not_saved() {
    let model = load(&folder(LANGUAGE_MODEL)).unwrap();
    let (name, tensor) = &model.parameters()[3];
    let _ = tch::no_grad(|| tensor.shallow_clone().fill_(f64::NAN));
    let folder = tempfile::tempdir().unwrap();
    let message = model.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains(name.as_str()) && message.contains("not finite"), "{message}");
    assert!(!folder.path().join("model.safetensors").exists());
}
