//! The numbers of transformers, with and without padding.

use fulcrum_common::plan::Head;
use fulcrum_models::Model;
use tch::{Kind, Tensor};

use crate::support::{Draft, Expected, LANGUAGE_MODEL, all, distance, folder, load};

#[test]
fn logits_equal_those_of_transformers_for_padded_rows() {
    for fixture in all() {
        let expected = Expected::of(fixture);
        let logits =
            load(&folder(fixture)).unwrap().forward(expected.get("ids"), expected.get("mask")).unwrap();
        let visible = |logits: &Tensor| match logits.dim() {
            3 => logits * expected.get("mask").unsqueeze(2),
            _ => logits.shallow_clone(),
        };
        let distance = distance(&visible(&logits), &visible(expected.get("logits")));
        assert!(distance < 1e-4, "{fixture}: {distance}");
    }
}

#[test]
fn a_row_gives_the_same_logits_alone_and_padded_on_the_left() {
    for fixture in all() {
        let (expected, model) = (Expected::of(fixture), load(&folder(fixture)).unwrap());
        for row in 0..4 {
            let ids_bt = expected.row(row);
            let tokens = ids_bt.size()[1];
            let reference = match expected.get("logits").narrow(0, row, 1) {
                logits if logits.dim() == 3 => logits.narrow(1, 0, tokens),
                logits => logits,
            };
            let alone = model.forward(&ids_bt, &ids_bt.ones_like()).unwrap();
            let distance_alone = distance(&alone, &reference);
            let pad = Tensor::full([1, 5], 96, (Kind::Int64, ids_bt.device()));
            let mask_bt = Tensor::cat(&[pad.zeros_like(), ids_bt.ones_like()], 1);
            let padded = model.forward(&Tensor::cat(&[pad, ids_bt], 1), &mask_bt).unwrap();
            let padded = if padded.dim() == 3 { padded.narrow(1, 5, tokens) } else { padded };
            let distance_padded = distance(&padded, &reference);
            assert!(distance_alone < 1e-4, "{fixture} row {row}: {distance_alone}");
            assert!(distance_padded < 1e-4, "{fixture} row {row} padded: {distance_padded}");
        }
    }
}

#[test]
fn loss_and_gradients_equal_those_of_transformers() {
    for fixture in all() {
        let (expected, model) = (Expected::of(fixture), load(&folder(fixture)).unwrap());
        let loss = loss(&expected, &model.forward(expected.get("ids"), expected.get("mask")).unwrap());
        assert!(distance(&loss, expected.get("loss")) < 1e-4, "{fixture}");
        loss.backward();
        compare_gradients(fixture, &model, &expected);
    }
}

#[test]
fn a_classifier_or_a_reward_on_a_language_model_gives_the_numbers_of_transformers() {
    const MODELS: [&str; 9] =
        ["gpt_neox", "llama", "mistral", "qwen2", "qwen3", "phi", "gemma", "gemma2", "opt"];
    for fixture in MODELS {
        let (batch, expected) = (Expected::of(fixture), Expected::of(&format!("heads/{fixture}")));
        let score_cd = expected.get("score.weight");
        let head = match score_cd.size()[0] {
            1 => Head::Reward,
            classes => Head::Classifier { classes: classes as usize },
        };
        let model = load(&folder(fixture)).unwrap().with_head(&head.into(), 1).unwrap();
        let (_, own_cd) = model.parameters().iter().find(|(name, _)| name == "score.weight").unwrap();
        tch::no_grad(|| own_cd.shallow_clone().copy_(score_cd));
        let logits_bc = model.forward(batch.get("ids"), batch.get("mask")).unwrap();
        let apart = distance(&logits_bc, expected.get("logits"));
        assert!(apart < 1e-4, "{fixture}: {apart}");
        let loss = loss(&expected, &logits_bc);
        assert!(distance(&loss, expected.get("loss")) < 1e-4, "{fixture}");
        loss.backward();
        compare_gradients(fixture, &model, &expected);
    }
}

/// The gradients of a model after a backward pass with those that are expected, of at least four weights.
fn compare_gradients(fixture: &str, model: &Model, expected: &Expected) {
    for (name, reference) in expected.gradients() {
        let (_, parameter) = model.parameters().iter().find(|(own, _)| own == name).unwrap();
        // The matrices of gpt2 lie transposed on disk.
        let transposed = name.contains(".c_") && name.ends_with(".weight");
        let gradient = if transposed { parameter.grad().tr() } else { parameter.grad() };
        let relative = (gradient - reference).norm().double_value(&[]) / reference.norm().double_value(&[]);
        assert!(relative < 1e-3, "{fixture} {name}: {relative}");
    }
    assert!(expected.gradients().count() >= 4, "{fixture}");
}

/// Mean cross-entropy against the next tokens or the labels, or that of rewards which should be high.
pub(crate) fn loss(expected: &Expected, logits: &Tensor) -> Tensor {
    if logits.dim() == 2 && logits.size()[1] == 1 {
        return -logits.log_sigmoid().mean(Kind::Float);
    }
    if logits.dim() == 2 {
        return logits.cross_entropy_for_logits(expected.get("labels"));
    }
    let tokens = logits.size()[1];
    let targets = expected.get("ids").narrow(1, 1, tokens - 1).flatten(0, 1);
    let seen = expected.get("mask").narrow(1, 1, tokens - 1).flatten(0, 1).nonzero().squeeze_dim(1);
    let logits = logits.narrow(1, 0, tokens - 1).flatten(0, 1);
    logits.index_select(0, &seen).cross_entropy_for_logits(&targets.index_select(0, &seen))
}

#[test]
fn what_is_saved_loads_as_the_same_model_and_saves_as_the_same_bytes() {
    for fixture in all() {
        let (expected, model) = (Expected::of(fixture), load(&folder(fixture)).unwrap());
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        model.save(folders[0].path()).unwrap();
        let again = load(folders[0].path()).unwrap();
        again.save(folders[1].path()).unwrap();
        assert_eq!((again.head(), again.special_tokens()), (model.head(), model.special_tokens()));
        let logits = |model: &Model| model.forward(expected.get("ids"), expected.get("mask")).unwrap();
        assert_eq!(logits(&model), logits(&again), "{fixture}");
        for file in ["config.json", "model.safetensors"] {
            let [one, two] = [0, 1].map(|i| std::fs::read(folders[i].path().join(file)).unwrap());
            assert_eq!(one, two, "{fixture} {file}");
        }
    }
}

#[test]
fn a_checkpoint_loads_under_the_names_of_old_and_bare_ones() {
    let logits = |fixture: &str, draft: &Draft| {
        let expected = Expected::of(fixture);
        draft.load().unwrap().forward(expected.get("ids"), expected.get("mask")).unwrap()
    };
    for fixture in all() {
        let reference = logits(fixture, &Draft::of(fixture));
        let mut bare = Draft::of(fixture);
        bare.rename(|name| {
            let prefixes = ["transformer.", "gpt_neox.", "model.", "bert.", "roberta.", "distilbert."];
            prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name).to_owned()
        });
        assert_eq!(logits(fixture, &bare), reference, "{fixture} without prefix");
        let mut old = Draft::of(fixture);
        old.rename(|name| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        });
        assert_eq!(logits(fixture, &old), reference, "{fixture} with old names");
    }
}

#[test]
fn tensors_that_carry_nothing_are_passed_over() {
    let mut bert = Draft::of("bert-classifier");
    let positions = (0..24i64).flat_map(i64::to_le_bytes).collect();
    let positions =
        crate::support::Stored { dtype: safetensors::Dtype::I64, shape: vec![1, 24], bytes: positions };
    bert.tensors.insert("bert.embeddings.position_ids".to_owned(), positions);
    assert!(bert.load().is_ok());
    let mut gpt2 = Draft::of(LANGUAGE_MODEL);
    let copy = gpt2.tensors["transformer.wte.weight"].clone();
    let mask = gpt2.tensors["transformer.h.0.ln_1.bias"].clone();
    gpt2.tensors.insert("lm_head.weight".to_owned(), copy);
    gpt2.tensors.insert("transformer.h.0.attn.bias".to_owned(), mask);
    assert!(gpt2.load().is_ok());
}
