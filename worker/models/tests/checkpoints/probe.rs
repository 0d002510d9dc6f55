//! Heads over vectors that another network has made.
//!
//! Shape suffixes: b rows, d numbers of a vector, c classes.

use fulcrum_common::plan::{Head, Trainable};
use fulcrum_models::{Given, Init, Model, ModelFiles, NewHead};
use tch::{Device, Kind, Tensor};

const CLASSES: Head = Head::Classifier { classes: 3 };

fn vectors() -> Tensor {
    Tensor::from_slice2(&[[1.0f32, -2.0], [0.5, 4.0]])
}

fn classifier() -> Model {
    let weight_cd = Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0], [2.0, -1.0]]);
    let bias_c = Tensor::from_slice(&[0.0f32, 0.5, -1.0]);
    Model::probe(2, 40, Device::Cpu).unwrap().with_classifier(&weight_cd, &bias_c).unwrap()
}

#[test]
fn logits_are_the_classifier_of_the_vectors_also_after_a_journey() {
    let folder = tempfile::tempdir().unwrap();
    classifier().save(folder.path()).unwrap();
    let read = Model::load(&ModelFiles::in_folder(folder.path()), Device::Cpu).unwrap();
    for model in [classifier(), read] {
        let logits_bc = model.logits(Given::Vectors(&vectors())).unwrap();
        let expected = [[1.0f32, -1.5, 3.0], [0.5, 4.5, -4.0]];
        assert_eq!(Vec::<Vec<f32>>::try_from(logits_bc).unwrap(), expected);
        assert_eq!((model.parameter_count(), model.below(), model.width()), (9, 40, 2));
        assert_eq!((model.head(), model.layers()), (Some(CLASSES), 0));
    }
}

#[test]
fn a_bare_probe_is_kept_in_a_file_without_tensors_and_takes_a_head() {
    let folder = tempfile::tempdir().unwrap();
    Model::probe(5, 0, Device::Cpu).unwrap().save(folder.path()).unwrap();
    let bare = Model::load(&ModelFiles::in_folder(folder.path()), Device::Cpu).unwrap();
    assert_eq!((bare.parameter_count(), bare.head()), (0, None));
    let mut model = bare.with_head(&NewHead { init: Init::Zero, ..CLASSES.into() }, 7).unwrap();
    model.freeze(&Trainable::Head).unwrap();
    assert_eq!(model.trainable().count(), 2);
    let logits_bc = model.logits(Given::Vectors(&Tensor::ones([1, 5], (Kind::Float, Device::Cpu)))).unwrap();
    assert_eq!(Vec::<Vec<f32>>::try_from(logits_bc).unwrap(), [[0.0f32; 3]]);
}

#[test]
fn what_is_no_vector_of_its_width_is_refused() {
    let model = classifier();
    let refused = |given: Given<'_>| model.logits(given).unwrap_err().to_string();
    let ids_bt = Tensor::zeros([1, 1], (Kind::Int64, Device::Cpu));
    let tokens = Given::Tokens { ids_bt: &ids_bt, mask_bt: &ids_bt.ones_like() };
    assert!(refused(tokens).contains("it has tokens, but a probe reads vectors"));
    for (x_bd, what) in
        [(vectors().narrow(1, 0, 1), "Float [2, 1]"), (ids_bt.shallow_clone(), "Int64 [1, 1]")]
    {
        let message = refused(Given::Vectors(&x_bd));
        assert!(message.contains(what) && message.contains("not Float [rows, 2]"), "{message}");
    }
    let decoder = Model::new(
        &fulcrum_common::plan::Architecture { layers: 1, hidden: 2, heads: 1, context: 3 },
        5,
        Default::default(),
        0,
        Device::Cpu,
    );
    let message = decoder.unwrap().logits(Given::Vectors(&vectors())).unwrap_err().to_string();
    assert!(message.contains("but a gpt2 model reads tokens"), "{message}");
    assert!(Model::probe(0, 0, Device::Cpu).unwrap_err().to_string().contains("hidden_size = 0"));
}
