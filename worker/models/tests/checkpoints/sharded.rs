//! Checkpoints in several files: the same model, or an error that names file and tensor.

use std::{collections::BTreeMap, fs, path::Path};

use fulcrum_models::ModelFiles;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tch::Tensor;

use crate::support::{Draft, Expected, LANGUAGE_MODEL, all, folder, load};

const INDEX: &str = "model.safetensors.index.json";

/// Writes a draft in as many shards, tensors dealt out in turn; gives the `weight_map`.
fn write(draft: &Draft, folder: &Path, shards: usize) -> BTreeMap<String, String> {
    fs::write(folder.join(ModelFiles::CONFIG), draft.config.to_string()).unwrap();
    let name = |shard: usize| format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
    for shard in 0..shards {
        let own = draft.tensors.iter().enumerate().filter(|(at, _)| at % shards == shard);
        let views = own
            .map(|(_, (name, it))| (name, TensorView::new(it.dtype, it.shape.clone(), &it.bytes).unwrap()));
        safetensors::serialize_to_file(views, None, &folder.join(name(shard))).unwrap();
    }
    let map = draft.tensors.keys().enumerate().map(|(at, tensor)| (tensor.clone(), name(at % shards)));
    let map: BTreeMap<_, _> = map.collect();
    write_index(folder, &json!({"metadata": {"total_size": 1}, "weight_map": map}));
    map
}

fn write_index(folder: &Path, index: &Value) {
    fs::write(folder.join(INDEX), index.to_string()).unwrap();
}

#[test]
fn a_model_in_shards_is_the_model_in_one_file() {
    for fixture in all() {
        let expected = Expected::of(fixture);
        let logits =
            |folder: &Path| load(folder).unwrap().forward(expected.get("ids"), expected.get("mask")).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        write(&Draft::of(fixture), scratch.path(), 3);
        assert_eq!(logits(scratch.path()), logits(&folder(fixture)), "{fixture}");
    }
}

#[test]
fn a_fault_in_a_shard_names_shard_and_tensor() {
    type Change = fn(&mut Draft);
    let cases: [(Change, &str); 4] = [
        (|draft| drop(draft.tensors.remove("transformer.ln_f.bias")), "has no tensor"),
        (
            |draft| {
                let copy = draft.tensors["transformer.ln_f.bias"].clone();
                draft.tensors.insert("transformer.ln_f.extra".into(), copy);
            },
            "\"transformer.ln_f.extra\"",
        ),
        (
            |draft| draft.tensors.get_mut("transformer.ln_f.bias").unwrap().shape = vec![4, 8],
            "\"transformer.ln_f.bias\" of",
        ),
        (
            |draft| {
                let bytes = &mut draft.tensors.get_mut("transformer.ln_f.bias").unwrap().bytes;
                bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            },
            "\"transformer.ln_f.bias\" of",
        ),
    ];
    for (at, (change, fragment)) in cases.into_iter().enumerate() {
        let (mut draft, scratch) = (Draft::of(LANGUAGE_MODEL), tempfile::tempdir().unwrap());
        change(&mut draft);
        let map = write(&draft, scratch.path(), 2);
        let file = match at {
            0 => INDEX,
            1 => &map["transformer.ln_f.extra"],
            _ => &map["transformer.ln_f.bias"],
        };
        let message = load(scratch.path()).unwrap_err().to_string();
        assert!(message.contains(fragment) && message.contains(file), "{message}");
    }
}

#[test]
fn an_index_that_leads_out_of_its_folder_reads_nothing_there() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("model");
    fs::create_dir(&model).unwrap();
    let mut map = write(&Draft::of(LANGUAGE_MODEL), &model, 2);
    let first = map.values().next().unwrap().clone();
    fs::rename(model.join(&first), scratch.path().join(&first)).unwrap();
    for place in [format!("../{first}"), scratch.path().join(&first).display().to_string()] {
        map.values_mut().filter(|shard| shard.ends_with(&first)).for_each(|shard| *shard = place.clone());
        write_index(&model, &json!({ "weight_map": map }));
        let message = load(&model).unwrap_err().to_string();
        assert!(message.contains(&place) && message.contains("is not the name of"), "{message}");
    }
}

#[test]
fn numbers_of_every_float_kind_become_f32() {
    let scratch = tempfile::tempdir().unwrap();
    let reference = load(&folder(LANGUAGE_MODEL)).unwrap();
    let name = "transformer.ln_f.weight";
    let weights = |model: &fulcrum_models::Model| {
        model.parameters().iter().find(|(own, _)| own == name).unwrap().1.detach()
    };
    let numbers = Vec::<f32>::try_from(weights(&reference)).unwrap();
    let stored = |kind: Dtype| -> Vec<u8> {
        let half = |number: &f32| (number.to_bits() >> 16) as u16;
        match kind {
            Dtype::F64 => numbers.iter().flat_map(|&number| f64::from(number).to_le_bytes()).collect(),
            Dtype::BF16 => numbers.iter().flat_map(|number| half(number).to_le_bytes()).collect(),
            // One and a half, in the ten bits of f16's fraction.
            _ => numbers.iter().flat_map(|_| 0x3e00u16.to_le_bytes()).collect(),
        }
    };
    for (kind, tolerance, expected) in [
        (Dtype::F64, 0.0, weights(&reference)),
        (Dtype::BF16, 0.01, weights(&reference)),
        (Dtype::F16, 0.0, weights(&reference).full_like(1.5)),
    ] {
        let mut draft = Draft::of(LANGUAGE_MODEL);
        let tensor = draft.tensors.get_mut(name).unwrap();
        (tensor.dtype, tensor.bytes) = (kind, stored(kind));
        draft.write(scratch.path());
        let found: Tensor = weights(&load(scratch.path()).unwrap());
        assert_eq!(found.kind(), tch::Kind::Float);
        assert!(found.allclose(&expected, tolerance, tolerance, false), "{kind}");
    }
    let mut draft = Draft::of(LANGUAGE_MODEL);
    let tensor = draft.tensors.get_mut(name).unwrap();
    tensor.dtype = Dtype::F64;
    tensor.bytes = numbers.iter().flat_map(|_| 1e300f64.to_le_bytes()).collect();
    draft.write(scratch.path());
    let message = load(scratch.path()).unwrap_err().to_string();
    assert!(message.contains(name) && message.contains("not finite"), "{message}");
}

#[test]
fn a_folder_with_pickled_weights_only_says_how_to_convert_them() {
    let scratch = tempfile::tempdir().unwrap();
    fs::copy(folder(LANGUAGE_MODEL).join("config.json"), scratch.path().join("config.json")).unwrap();
    fs::write(scratch.path().join("pytorch_model.bin"), "pickle").unwrap();
    let message = load(scratch.path()).unwrap_err().to_string();
    assert!(message.contains("pytorch_model.bin") && message.contains("AutoModelForCausalLM"), "{message}");
}
