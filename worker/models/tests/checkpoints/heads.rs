//! New heads: how they begin, what they read, and what is trained beside them.

use fulcrum_common::plan::{Head, Readout, Trainable};
use fulcrum_models::{Init, Model, NewHead};
use tch::{Device, Kind, Tensor};

use crate::support::{
    DECODER_CLASSIFIER, Draft, ENCODER_CLASSIFIER, Expected, LANGUAGE_MODEL, distance, folder, load,
};

const TWO: Head = Head::Classifier { classes: 2 };

fn fresh(fixture: &str, head: Head, init: Init, readout: Option<Readout>) -> Model {
    load(&folder(fixture)).unwrap().with_head(&NewHead { head, init, readout }, 3).unwrap()
}

fn logits(fixture: &str, model: &Model) -> Tensor {
    let expected = Expected::of(fixture);
    model.forward(expected.get("ids"), expected.get("mask")).unwrap()
}

fn weight<'a>(model: &'a Model, name: &str) -> &'a Tensor {
    let found = model.parameters().iter().find(|(own, _)| own == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

fn reloaded(model: &Model) -> Model {
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    load(folder.path()).unwrap()
}

#[test]
fn a_reward_is_one_logit_and_outlives_its_file() {
    for fixture in [LANGUAGE_MODEL, DECODER_CLASSIFIER, ENCODER_CLASSIFIER] {
        let model = fresh(fixture, Head::Reward, Init::Normal, None);
        let rewards_b1 = logits(fixture, &model);
        assert_eq!(rewards_b1.size(), [4, 1], "{fixture}");
        let again = reloaded(&model);
        assert_eq!((again.head(), logits(fixture, &again)), (Some(Head::Reward), rewards_b1), "{fixture}");
    }
}

#[test]
fn a_reward_may_call_itself_a_regression_and_a_classifier_may_not() {
    let folder = tempfile::tempdir().unwrap();
    fresh(LANGUAGE_MODEL, Head::Reward, Init::Normal, None).save(folder.path()).unwrap();
    let path = folder.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replacen('{', "{\"problem_type\": \"regression\",", 1)).unwrap();
    assert_eq!(load(folder.path()).unwrap().head(), Some(Head::Reward));
    let mut draft = Draft::of(DECODER_CLASSIFIER);
    draft.config["problem_type"] = "regression".into();
    let message = draft.load().unwrap_err().to_string();
    assert!(message.contains("it takes a head of one label"), "{message}");
}

#[test]
fn an_unembedding_head_begins_with_the_logits_of_its_tokens() {
    let mut expected = Expected::of(LANGUAGE_MODEL);
    let tokens_b = expected.get("mask").sum_dim_intlist(1, false, Kind::Int64);
    let at_b1v = (tokens_b - 1).view([4, 1, 1]).expand([4, 1, 97], false);
    let last_bv = expected.get("logits").gather(1, &at_b1v, false).squeeze_dim(1);
    let cases =
        [(TWO, vec![17, 4]), (Head::Reward, vec![96]), (Head::Classifier { classes: 3 }, vec![0, 5, 5])];
    for (head, ids) in cases {
        let reference_bc = last_bv.index_select(1, &Tensor::from_slice(&ids));
        let model = fresh(LANGUAGE_MODEL, head, Init::Unembedding(ids), None);
        let distance = distance(&logits(LANGUAGE_MODEL, &model), &reference_bc);
        assert!(distance < 1e-4, "{head:?}: {distance}");
    }
    expected = Expected::of(DECODER_CLASSIFIER);
    let model =
        fresh(DECODER_CLASSIFIER, Head::Classifier { classes: 3 }, Init::Unembedding(vec![7, 8, 9]), None);
    assert_ne!(
        &logits(DECODER_CLASSIFIER, &model),
        expected.get("logits"),
        "a head that is there begins anew"
    );
    assert_eq!(
        weight(&model, "score.weight"),
        &weight(&model, "transformer.wte.weight").narrow(0, 7, 3),
        "rows of the token embedding, which is the output too"
    );
}

#[test]
fn a_head_of_zeros_gives_zeros_and_learns() {
    for fixture in [LANGUAGE_MODEL, DECODER_CLASSIFIER, ENCODER_CLASSIFIER] {
        let model = fresh(fixture, Head::Classifier { classes: 3 }, Init::Zero, None);
        let logits_bc = logits(fixture, &model);
        assert_eq!(logits_bc.abs().max().double_value(&[]), 0.0, "{fixture}");
        logits_bc.cross_entropy_for_logits(&Tensor::from_slice(&[0i64, 1, 2, 2])).backward();
        let moved = |name: &str| weight(&model, name).grad().abs().max().double_value(&[]) > 1e-4;
        let name = if fixture == ENCODER_CLASSIFIER { "classifier.weight" } else { "score.weight" };
        assert!(moved(name), "{fixture}");
    }
}

#[test]
fn a_readout_reads_the_state_that_it_names_wherever_the_padding_is() {
    let ids_t = [5i64, 6, 7, 8];
    for fixture in [LANGUAGE_MODEL, ENCODER_CLASSIFIER] {
        for readout in [Readout::First, Readout::Mean, Readout::Last] {
            let model = fresh(fixture, TWO, Init::Normal, Some(readout));
            assert_eq!(model.readout(), Some(readout));
            let row = |ids: &[i64], mask: &[i64]| {
                let bt = |row: &[i64]| Tensor::from_slice(row).unsqueeze(0);
                model.forward(&bt(ids), &bt(mask)).unwrap()
            };
            let alone = row(&ids_t, &[1; 4]);
            for (ids, mask) in [
                ([5, 6, 7, 8, 9, 10], [1, 1, 1, 1, 0, 0]),
                ([9, 10, 5, 6, 7, 8], [0, 0, 1, 1, 1, 1]),
                ([9, 5, 6, 7, 8, 10], [0, 1, 1, 1, 1, 0]),
            ] {
                let distance = distance(&row(&ids, &mask), &alone);
                assert!(distance < 1e-5, "{fixture} {readout:?} {mask:?}: {distance}");
            }
            // A single token is first, last and mean at once.
            let single = |readout| {
                let model = fresh(fixture, TWO, Init::Normal, Some(readout));
                logits_of_one(&model)
            };
            assert!(distance(&single(readout), &single(Readout::First)) < 1e-5, "{fixture} {readout:?}");
        }
        let all = [Readout::First, Readout::Mean, Readout::Last]
            .map(|readout| logits(fixture, &fresh(fixture, TWO, Init::Normal, Some(readout))));
        assert!(distance(&all[0], &all[1]) > 1e-3 && distance(&all[1], &all[2]) > 1e-3, "{fixture}");
    }
}

fn logits_of_one(model: &Model) -> Tensor {
    let ids_bt = Tensor::from_slice(&[5i64]).view([1, 1]);
    model.forward(&ids_bt, &ids_bt.ones_like()).unwrap()
}

#[test]
fn the_mean_readout_of_a_decoder_is_the_mean_of_what_its_last_readout_gives_to_every_beginning() {
    let ids = [5i64, 6, 7, 8];
    let forward = |readout, ids: &[i64]| {
        let ids_bt = Tensor::from_slice(ids).unsqueeze(0);
        fresh(LANGUAGE_MODEL, TWO, Init::Normal, Some(readout)).forward(&ids_bt, &ids_bt.ones_like()).unwrap()
    };
    let beginnings: Vec<_> = (1..=4).map(|tokens| forward(Readout::Last, &ids[..tokens])).collect();
    let mean_bc = Tensor::cat(&beginnings, 0).mean_dim(0, true, Kind::Float);
    assert!(distance(&forward(Readout::Mean, &ids), &mean_bc) < 1e-5);
    assert!(distance(&forward(Readout::First, &ids), &beginnings[0]) < 1e-5);
}

#[test]
fn a_readout_is_kept_in_the_file_only_where_it_is_not_the_familys_own() {
    for (fixture, own) in [(LANGUAGE_MODEL, Readout::Last), (ENCODER_CLASSIFIER, Readout::First)] {
        for readout in [Readout::First, Readout::Mean, Readout::Last] {
            let model = fresh(fixture, TWO, Init::Normal, Some(readout));
            let folder = tempfile::tempdir().unwrap();
            model.save(folder.path()).unwrap();
            let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
            assert_eq!(config.contains("fulcrum_readout"), readout != own, "{fixture} {readout:?}");
            let again = load(folder.path()).unwrap();
            assert_eq!(again.readout(), Some(readout));
            assert_eq!(logits(fixture, &again), logits(fixture, &model), "{fixture} {readout:?}");
            // Putting the same head on again changes nothing, and another readout only the readout.
            let kept = again.with_head(&TWO.into(), 9).unwrap();
            assert_eq!((kept.readout(), logits(fixture, &kept)), (Some(readout), logits(fixture, &model)));
            let other = kept.with_head(&NewHead { readout: Some(own), ..TWO.into() }, 9).unwrap();
            let reference = fresh(fixture, TWO, Init::Normal, Some(own));
            assert_eq!(logits(fixture, &other), logits(fixture, &reference), "{fixture} {readout:?}");
        }
    }
    let mut draft = Draft::of(DECODER_CLASSIFIER);
    draft.config["fulcrum_readout"] = "median".into();
    assert!(draft.load().unwrap_err().to_string().contains("unknown variant `median`"));
}

#[test]
fn the_names_of_classes_outlive_load_and_save_and_not_another_head() {
    let mut draft = Draft::of(DECODER_CLASSIFIER);
    draft.config["id2label"] = serde_json::json!({"0": "no", "1": "yes", "2": "LABEL_2"});
    let model = draft.load().unwrap();
    let config = |model: &Model| -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path()).unwrap();
        serde_json::from_slice(&std::fs::read(folder.path().join("config.json")).unwrap()).unwrap()
    };
    let saved = config(&reloaded(&model));
    assert_eq!(saved["id2label"], draft.config["id2label"]);
    assert_eq!(saved["label2id"], serde_json::json!({"no": 0, "yes": 1, "LABEL_2": 2}));
    let other = model.with_head(&TWO.into(), 0).unwrap();
    assert_eq!(config(&other)["id2label"], serde_json::json!({"0": "LABEL_0", "1": "LABEL_1"}));
}

#[test]
fn a_head_that_cannot_begin_as_told_is_refused() {
    let cases = [
        (LANGUAGE_MODEL, TWO, Init::Unembedding(vec![1]), None, "1 tokens for 2 logits"),
        (
            LANGUAGE_MODEL,
            TWO,
            Init::Unembedding(vec![1, 97]),
            None,
            "token 97 is outside the vocabulary of 97",
        ),
        (LANGUAGE_MODEL, TWO, Init::Unembedding(vec![-1, 9]), None, "token -1 is outside"),
        (ENCODER_CLASSIFIER, TWO, Init::Unembedding(vec![1, 2]), None, "a bert model is an encoder"),
        (LANGUAGE_MODEL, Head::LanguageModel, Init::Zero, None, "reads every token"),
        (LANGUAGE_MODEL, Head::LanguageModel, Init::Normal, Some(Readout::Mean), "reads every token"),
    ];
    for (fixture, head, init, readout, fragment) in cases {
        let new = NewHead { head, init, readout };
        let message = load(&folder(fixture)).unwrap().with_head(&new, 0).unwrap_err().to_string();
        assert!(message.contains(fragment), "{message}");
    }
}

#[test]
fn a_probe_trains_its_head_and_leaves_no_gradient_in_the_trunk() {
    let heads = [
        (LANGUAGE_MODEL, &["score.weight"][..]),
        (
            ENCODER_CLASSIFIER,
            &["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"],
        ),
    ];
    for (fixture, head) in heads {
        let mut model = fresh(fixture, TWO, Init::Normal, None);
        model.freeze(&Trainable::Head).unwrap();
        let names: Vec<&str> = model.trainable().map(|(name, _)| name).collect();
        assert_eq!(names, head, "{fixture}");
        logits(fixture, &model).sum(Kind::Float).backward();
        for (name, tensor) in model.parameters() {
            assert_eq!(tensor.grad().defined(), head.contains(&name.as_str()), "{fixture} {name}");
        }
        // Nothing was kept of the trunk: with the head frozen too, there is no graph at all.
        for (_, tensor) in model.parameters() {
            let _ = tensor.shallow_clone().set_requires_grad(false);
        }
        assert!(!logits(fixture, &model).requires_grad(), "{fixture}");
        model.freeze(&Trainable::All).unwrap();
        assert_eq!(model.trainable().count(), model.parameters().len(), "{fixture}");
    }
}

#[test]
fn what_is_frozen_by_name_wants_no_gradient() {
    let mut model = load(&folder(LANGUAGE_MODEL)).unwrap();
    let patterns = ["transformer.wte.weight", "*.ln_1.*", "transformer.h.0.mlp*bias"].map(str::to_owned);
    model.freeze(&Trainable::Except(patterns.to_vec())).unwrap();
    let frozen: Vec<&str> = model
        .parameters()
        .iter()
        .filter(|(_, tensor)| !tensor.requires_grad())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        frozen,
        [
            "transformer.wte.weight",
            "transformer.h.0.ln_1.weight",
            "transformer.h.0.ln_1.bias",
            "transformer.h.0.mlp.c_fc.bias",
            "transformer.h.0.mlp.c_proj.bias",
            "transformer.h.1.ln_1.weight",
            "transformer.h.1.ln_1.bias",
        ]
    );
    assert_eq!(model.trainable().count() + frozen.len(), model.parameters().len());
    logits(LANGUAGE_MODEL, &model).sum(Kind::Float).backward();
    assert!(model.parameters().iter().all(|(_, tensor)| tensor.grad().defined() == tensor.requires_grad()));
}

#[test]
fn a_choice_that_trains_nothing_or_names_nothing_is_refused() {
    let except = |patterns: &[&str]| Trainable::Except(patterns.iter().map(ToString::to_string).collect());
    let cases = [
        (except(&["*"]), "nothing would be trained"),
        (except(&["transformer.*", "*.bias"]), "nothing would be trained"),
        (
            except(&["transformer.h.0.*", "transformer.wte.wieght"]),
            "\"transformer.wte.wieght\" matches no name; the nearest are transformer.wte.weight, ",
        ),
        (Trainable::Head, "no head of its own"),
    ];
    for (trainable, fragment) in cases {
        let mut model = load(&folder(LANGUAGE_MODEL)).unwrap();
        let message = model.freeze(&trainable).unwrap_err().to_string();
        assert!(message.contains(fragment), "{message}");
        assert_eq!(model.trainable().count(), model.parameters().len(), "a refusal changes nothing");
    }
}

#[test]
fn a_new_head_and_fewer_layers_are_made_where_the_model_is() {
    let model =
        fresh(LANGUAGE_MODEL, TWO, Init::Unembedding(vec![3, 4]), Some(Readout::Mean)).truncate(1).unwrap();
    assert_eq!(
        (model.device(), model.readout(), model.head()),
        (Device::Cpu, Some(Readout::Mean), Some(TWO))
    );
    assert_eq!(weight(&model, "score.weight"), &weight(&model, "transformer.wte.weight").narrow(0, 3, 2));
}
