//! New models, new heads, fewer layers, parameters in other storage.

use fulcrum_common::plan::{Architecture, Head};
use fulcrum_models::{Model, SpecialTokens};
use tch::{Device, Kind, Tensor};

use crate::support::{ENCODER_CLASSIFIER, Expected, LANGUAGE_MODEL, all, folder, load};

fn small(seed: u64) -> Model {
    let architecture = Architecture { layers: 2, hidden: 16, heads: 2, context: 8 };
    let tokens = SpecialTokens { pad: Some(0), begin: None, end: Some(1) };
    Model::new(&architecture, 11, tokens, seed, Device::Cpu).unwrap()
}

fn weight<'a>(model: &'a Model, name: &str) -> &'a Tensor {
    let found = model.parameters().iter().find(|(own, _)| own == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

fn deviation(tensor: &Tensor) -> f64 {
    tensor.std(false).double_value(&[])
}

fn saved(model: &Model) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    std::fs::read(folder.path().join("model.safetensors")).unwrap()
}

#[test]
fn a_new_model_has_the_weights_of_gpt2_and_of_its_seed() {
    let model = small(3);
    assert_eq!((model.max_tokens(), model.vocab_size(), model.layers()), (8, 11, 2));
    assert_eq!(model.head(), Some(Head::LanguageModel));
    let per_block = 12 * 16 * 16 + 13 * 16;
    assert_eq!(model.parameter_count(), 11 * 16 + 8 * 16 + 2 * per_block + 2 * 16);
    let close = |name: &str, expected: f64| {
        let found = deviation(weight(&model, name));
        assert!((found / expected - 1.0).abs() < 0.15, "{name}: {found}");
    };
    close("transformer.wte.weight", 0.02);
    close("transformer.h.0.attn.c_attn.weight", 0.02);
    close("transformer.h.1.mlp.c_proj.weight", 0.01);
    assert_eq!(weight(&model, "transformer.ln_f.weight"), &Tensor::ones([16], (Kind::Float, Device::Cpu)));
    assert_eq!(saved(&model), saved(&small(3)));
    assert_ne!(saved(&model), saved(&small(4)));
}

#[test]
fn a_new_model_knows_next_to_nothing() {
    let ids_bt = Tensor::from_slice(&[1i64, 5, 9, 2]).view([1, 4]);
    let logits_btv = small(0).forward(&ids_bt, &ids_bt.ones_like()).unwrap();
    assert_eq!(logits_btv.size(), [1, 4, 11]);
    assert!(logits_btv.abs().max().double_value(&[]) < 1.0);
}

#[test]
fn a_new_model_of_no_or_absurd_size_is_refused_before_it_takes_memory() {
    let good = Architecture { layers: 2, hidden: 16, heads: 2, context: 8 };
    let cases = [
        (Architecture { layers: 0, ..good.clone() }, 11, "n_layer = 0"),
        (Architecture { heads: 0, ..good.clone() }, 11, "n_head = 0"),
        (Architecture { heads: 3, ..good.clone() }, 11, "must divide n_embd = 16"),
        (Architecture { hidden: usize::MAX, ..good.clone() }, 11, "n_embd"),
        (Architecture { context: 0, ..good.clone() }, 11, "n_positions = 0"),
        (Architecture { hidden: 1 << 16, layers: 1000, ..good.clone() }, 11, "from scratch may have"),
        (good, 0, "vocab_size = 0"),
    ];
    for (architecture, vocabulary, fragment) in cases {
        let error =
            Model::new(&architecture, vocabulary, SpecialTokens::default(), 0, Device::Cpu).unwrap_err();
        assert!(error.to_string().contains(fragment), "{error}");
    }
}

#[test]
fn a_head_of_the_same_size_stays_and_another_is_drawn_from_the_seed() {
    for (fixture, score) in [("gpt2-classifier", "score.weight"), (ENCODER_CLASSIFIER, "classifier.weight")] {
        let model = load(&folder(fixture)).unwrap();
        let head = model.head().unwrap();
        let before = weight(&model, score).copy();
        let kept = model.with_head(&head.into(), 1).unwrap();
        assert_eq!(weight(&kept, score), &before, "{fixture}");
        let fresh = |seed| {
            let model = load(&folder(fixture)).unwrap();
            model.with_head(&Head::Classifier { classes: 5 }.into(), seed).unwrap()
        };
        let (one, same, other) = (fresh(1), fresh(1), fresh(2));
        assert_eq!(weight(&one, score).size(), [5, 32]);
        assert_eq!(weight(&one, score), weight(&same, score));
        assert_ne!(weight(&one, score), weight(&other, score));
        assert!((deviation(weight(&one, score)) / 0.02 - 1.0).abs() < 0.2);
    }
}

#[test]
fn a_language_model_becomes_a_classifier_and_back_without_losing_a_weight() {
    let model = load(&folder(LANGUAGE_MODEL)).unwrap();
    let before = saved(&model);
    let classifier = model.with_head(&Head::Classifier { classes: 2 }.into(), 7).unwrap();
    let expected = Expected::of(LANGUAGE_MODEL);
    let logits_bc = classifier.forward(expected.get("ids"), expected.get("mask")).unwrap();
    assert_eq!(logits_bc.size(), [4, 2]);
    assert_eq!(saved(&classifier.with_head(&Head::LanguageModel.into(), 0).unwrap()), before);
}

#[test]
fn heads_that_a_family_cannot_have_are_refused() {
    let error =
        load(&folder(ENCODER_CLASSIFIER)).unwrap().with_head(&Head::LanguageModel.into(), 0).unwrap_err();
    assert_eq!(error.to_string(), "a bert model cannot end in a language model head");
    for classes in [0, 1, usize::MAX] {
        assert!(small(0).with_head(&Head::Classifier { classes }.into(), 0).is_err(), "{classes}");
    }
}

#[test]
fn the_first_layers_of_a_model_are_a_model() {
    for fixture in all() {
        let expected = Expected::of(fixture);
        let logits = |model: &Model| model.forward(expected.get("ids"), expected.get("mask")).unwrap();
        let whole = logits(&load(&folder(fixture)).unwrap());
        let all = load(&folder(fixture)).unwrap().truncate(2).unwrap();
        assert_eq!(logits(&all), whole, "{fixture}");
        let half = load(&folder(fixture)).unwrap().truncate(1).unwrap();
        assert_eq!(half.layers(), 1);
        assert!(half.parameter_count() < all.parameter_count());
        // Silencing what the second block writes is the same as leaving it out, where the norm comes first.
        if fixture.starts_with("gpt2") {
            silence(&all, "transformer.h.1.attn.c_proj");
            silence(&all, "transformer.h.1.mlp.c_proj");
            assert!(logits(&half).allclose(&logits(&all), 1e-5, 1e-5, false), "{fixture}");
        }
        assert_ne!(logits(&half), whole, "{fixture}");
        let saved = tempfile::tempdir().unwrap();
        half.save(saved.path()).unwrap();
        assert_eq!(logits(&load(saved.path()).unwrap()), logits(&half), "{fixture}");
        for layers in [0, 3] {
            let error = load(&folder(fixture)).unwrap().truncate(layers).unwrap_err();
            assert!(error.to_string().contains("from 1 to 2"), "{error}");
        }
    }
}

fn silence(model: &Model, module: &str) {
    let _guard = tch::no_grad_guard();
    for part in ["weight", "bias"] {
        let _ = weight(model, &format!("{module}.{part}")).shallow_clone().zero_();
    }
}

#[test]
fn parameters_are_leaves_and_may_be_moved_into_one_flat_buffer() {
    for fixture in all() {
        let (expected, model) = (Expected::of(fixture), load(&folder(fixture)).unwrap());
        let logits = || model.forward(expected.get("ids"), expected.get("mask")).unwrap();
        let before = logits();
        let parts: Vec<Tensor> =
            model.parameters().iter().map(|(_, tensor)| tensor.detach().flatten(0, -1)).collect();
        let mut flat = Tensor::cat(&parts, 0);
        let mut offset = 0;
        for (name, tensor) in model.parameters() {
            assert!(tensor.is_leaf() && tensor.requires_grad(), "{fixture} {name}");
            let numel = tensor.numel() as i64;
            let view = flat.narrow(0, offset, numel).view_as(tensor);
            tensor.shallow_clone().set_data(&view);
            assert!(tensor.is_leaf() && tensor.requires_grad(), "{fixture} {name}");
            assert_eq!(tensor.data_ptr(), view.data_ptr(), "{fixture} {name}");
            offset += numel;
        }
        assert_eq!(logits(), before, "{fixture}");
        logits().sum(Kind::Float).backward();
        assert!(model.parameters().iter().all(|(_, tensor)| tensor.grad().defined()), "{fixture}");
        let _ = flat.zero_();
        assert_eq!(logits().abs().max().double_value(&[]), 0.0, "{fixture}");
    }
}
