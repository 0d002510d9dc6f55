//! Checkpoints from outside through a prepare stage: shards, tokenizer files, adapters, and what is wrong with them.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use fulcrum_collective::Solo;
use fulcrum_common::{
    Key,
    plan::{Architecture, Estimate, Prepare, Spec, Stage, Work},
    source,
};
use fulcrum_methods::{Error, Gang, Job, run};
use fulcrum_models::{Model, ModelFiles};

/// Files of an artifact, by name.
type Files = BTreeMap<String, PathBuf>;

/// Runs preparations, each into a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    runs: usize,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), runs: 0 }
    }

    fn run(&mut self, prepare: Prepare, locations: &[(&str, &Path)]) -> Result<Files, Error> {
        self.runs += 1;
        let output = self.folder.path().join(self.runs.to_string());
        fs::create_dir(&output).unwrap();
        let spec = Spec { work: Work::Prepare(prepare), inputs: BTreeMap::new() };
        let locations = locations.iter().map(|(role, path)| ((*role).to_owned(), path.display().to_string()));
        let (locations, estimate) = (locations.collect(), Estimate::default());
        let stage = Stage { key: spec.key(), name: "stage".into(), spec, locations, estimate, workers: None };
        let (inputs, device) = (BTreeMap::new(), tch::Device::Cpu);
        let job = Job { stage: &stage, inputs: &inputs, shard: None, output: &output, device };
        let outcome = run(&job, &Gang::data(Arc::new(Solo::new())), &(), None)?;
        Ok(outcome.files.into_iter().map(|name| (name.clone(), output.join(name))).collect())
    }

    fn made_here(&mut self) -> Files {
        let architecture = Architecture { layers: 2, hidden: 8, heads: 2, context: 16 };
        self.run(Prepare::NewModel { architecture, alphabet: "0123456789".into(), ends: false, seed: 1 }, &[])
            .unwrap()
    }

    /// A folder with copies of these files of a model.
    fn copy(&self, files: &Files, names: &[&str]) -> PathBuf {
        let folder = self.folder.path().join("outside");
        fs::create_dir(&folder).unwrap();
        for name in names {
            fs::copy(&files[*name], folder.join(name)).unwrap();
        }
        folder
    }
}

fn import(folder: &Path) -> Prepare {
    Prepare::Model { digest: source::model_digest(folder).unwrap(), layers: None, adapter: None }
}

#[test]
fn a_sharded_checkpoint_and_its_tokenizer_files_become_one_prepared_model() {
    let mut bench = Bench::new();
    let model = bench.made_here();
    let folder = bench.copy(&model, &["config.json", "tokenizer.json"]);
    for name in
        ["tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "generation_config.json"]
    {
        fs::write(folder.join(name), format!("{{\"from\": {name:?}}}")).unwrap();
    }
    let tensors = tch::Tensor::read_safetensors(&model["model.safetensors"]).unwrap();
    let mut map = BTreeMap::new();
    for (at, half) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let shard = format!("model-{at}.safetensors");
        tch::Tensor::write_safetensors(half, folder.join(&shard)).unwrap();
        map.extend(half.iter().map(|(name, _)| (name.clone(), shard.clone())));
    }
    let index = folder.join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();

    let work = import(&folder);
    let prepared = bench.run(work.clone(), &[("model", &folder)]).unwrap();
    let names: Vec<&str> = prepared.keys().map(String::as_str).collect();
    let expected = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, expected);
    for name in ["model.safetensors", "config.json"] {
        assert_eq!(fs::read(&prepared[name]).unwrap(), fs::read(&model[name]).unwrap(), "{name}");
    }

    fs::write(&index, serde_json::json!({ "weight_map": {"x": "../model.safetensors"} }).to_string())
        .unwrap();
    let error = bench.run(work, &[("model", &folder)]).unwrap_err().to_string();
    assert!(error.contains("\"../model.safetensors\" is not the name of"), "{error}");
}

#[test]
fn a_checkpoint_with_a_weight_that_is_no_number_leaves_nothing() {
    let mut bench = Bench::new();
    let model = bench.made_here();
    let folder = bench.copy(&model, &["config.json", "tokenizer.json", "model.safetensors"]);
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = bench.run(import(&folder), &[("model", &folder)]).unwrap_err();
    let line = error.to_string();
    assert!(line.contains("not finite") && line.contains(&path.display().to_string()), "{line}");
    assert!(!error.retry() && line.lines().count() == 1, "{line}");
}

#[test]
fn adapters_are_merged_before_layers_are_cut() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
    let (base, adapter) = (fixtures.join("bert-classifier"), fixtures.join("adapters/bert-classifier"));
    let mut bench = Bench::new();
    let made = bench.made_here();
    let folder = bench.copy(&made, &["tokenizer.json"]);
    for name in ["config.json", "model.safetensors"] {
        fs::copy(base.join(name), folder.join(name)).unwrap();
    }
    let digest = source::model_digest(&folder).unwrap();
    let places = [("model", folder.as_path()), ("adapter", adapter.as_path())];
    let mut import = |layers, adapter| bench.run(Prepare::Model { digest, layers, adapter }, &places);
    let with = Some(source::adapter_digest(&adapter).unwrap());
    let bytes = |input: &Files| fs::read(&input["model.safetensors"]).unwrap();
    let (plain, merged, cut) =
        (import(None, None).unwrap(), import(None, with).unwrap(), import(Some(1), with).unwrap());
    assert_ne!(bytes(&plain), bytes(&merged));
    let load = |folder: &Path| Model::load(&ModelFiles::in_folder(folder), tch::Device::Cpu).unwrap();
    let expected = load(&base).with_adapter(&adapter).unwrap().merged();
    for (input, expected) in [
        (&merged, load(&base).with_adapter(&adapter).unwrap().merged()),
        (&cut, expected.truncate(1).unwrap()),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        expected.save(scratch.path()).unwrap();
        assert_eq!(bytes(input), fs::read(scratch.path().join("model.safetensors")).unwrap());
    }
    let error = import(None, Some(Key::of(b"then"))).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}
