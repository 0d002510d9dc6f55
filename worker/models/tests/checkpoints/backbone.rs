//! Networks for images against torch.

use std::fs;

use fulcrum_models::{Backbone, Given, Model, ModelError, ModelFiles};
use serde_json::json;
use tch::Kind;

use crate::support::{Draft, Expected, device, distance, folder};

const FIXTURE: &str = "backbone";

fn load(draft: &Draft) -> Result<Backbone, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    draft.write(folder.path());
    Backbone::load(&ModelFiles::in_folder(folder.path()), device())
}

#[test]
fn vectors_and_logits_are_those_of_torch_also_after_a_journey() {
    let expected = Expected::of(FIXTURE);
    let kept = tempfile::tempdir().unwrap();
    let read = Backbone::load(&ModelFiles::in_folder(&folder(FIXTURE)), device()).unwrap();
    read.save(kept.path()).unwrap();
    for network in [read, Backbone::load(&ModelFiles::in_folder(kept.path()), device()).unwrap()] {
        for (images, features) in [("images", "features"), ("odd", "odd.features")] {
            let x_bd = network.features(expected.get(images)).unwrap();
            assert!(distance(&x_bd, expected.get(features)) < 1e-5, "{images}");
        }
        let (weight_cd, bias_c) = network.classifier();
        let probe = Model::probe(network.width(), network.parameter_count(), device()).unwrap();
        let probe = probe.with_classifier(weight_cd, bias_c).unwrap();
        let logits_bc = probe.logits(Given::Vectors(expected.get("features"))).unwrap();
        assert!(distance(&logits_bc, expected.get("logits")) < 1e-5);
        // 3x3 kernels and two numbers for each channel of each norm.
        let block = |from: usize, to: usize| 9 * (from + to) * to + 4 * to;
        let blocks = 2 * block(4, 4) + block(4, 8) + block(8, 8) + block(8, 16) + block(16, 16);
        assert_eq!((network.width(), network.parameter_count()), (16, 27 * 4 + 8 + blocks));
    }
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let read = Backbone::load(&ModelFiles::in_folder(&folder(FIXTURE)), device()).unwrap();
    let [one, other] = [(); 2].map(|()| {
        let folder = tempfile::tempdir().unwrap();
        read.save(folder.path()).unwrap();
        ["config.json", "model.safetensors"].map(|file| fs::read(folder.path().join(file)).unwrap())
    });
    assert!(one == other);
}

#[test]
fn a_network_of_another_make_is_refused_by_what_is_at_fault() {
    type Change = fn(&mut Draft);
    let cases: [(Change, &str); 7] = [
        (|draft| draft.config["model_type"] = json!("gpt2"), "model_type = \"gpt2\""),
        (|draft| draft.config["image_std"] = json!([1.0, 0.0, 1.0]), "image_std = 0"),
        (|draft| drop(draft.tensors.remove("linear.bias")), "has no tensor \"linear.bias\""),
        (|draft| drop(draft.tensors.remove("layer2.1.bn2.running_var")), "\"layer2.1.bn2.running_var\""),
        (
            |draft| {
                let first = draft.tensors.get_mut("conv1.weight").unwrap();
                (first.shape[0], first.bytes) = (0, Vec::new());
            },
            "conv1.weight = no channels",
        ),
        (|draft| draft.rename(|name| name.replace("layer3.1.", "layer3.2.")), "layer3.2."),
        (
            |draft| {
                let wide = draft.tensors["layer2.0.conv1.weight"].clone();
                draft.tensors.insert("layer1.0.conv1.weight".to_owned(), wide);
            },
            "layer1.0.conv1.weight",
        ),
    ];
    for (change, expected) in cases {
        let mut draft = Draft::of(FIXTURE);
        change(&mut draft);
        let message = load(&draft).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let network = load(&Draft::of(FIXTURE)).unwrap();
    let floats = Expected::of(FIXTURE).get("images").to_kind(Kind::Float);
    let message = network.features(&floats).unwrap_err().to_string();
    assert!(message.contains("not Uint8 [images, height, width, 3]"), "{message}");
}
