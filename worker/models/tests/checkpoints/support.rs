//! The fixtures, and changed copies of them.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use fulcrum_models::{Model, ModelError, ModelFiles};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub(crate) const LANGUAGE_MODEL: &str = "gpt2-language-model";
pub(crate) const DECODER_CLASSIFIER: &str = "gpt2-classifier";
pub(crate) const ENCODER_CLASSIFIER: &str = "bert-classifier";
/// A language model of each family of decoders, and of each way to scale rotary positions.
pub(crate) const DECODERS: [&str; 16] = [
    LANGUAGE_MODEL,
    "gpt_neox",
    "gpt_neox-sequential",
    "llama",
    "llama-linear",
    "llama-dynamic",
    "llama-yarn",
    "llama-llama3",
    "mistral",
    "mistral-yarn",
    "qwen2",
    "qwen3",
    "phi",
    "gemma",
    "gemma2",
    "opt",
];
/// A model of each family of encoders.
pub(crate) const ENCODERS: [&str; 3] = [ENCODER_CLASSIFIER, "roberta-classifier", "distilbert-reward"];

/// Every fixture.
pub(crate) fn all() -> Vec<&'static str> {
    [&DECODERS[..], &[DECODER_CLASSIFIER], &ENCODERS].concat()
}

/// Asks at run time first: these tests are carried to machines with a GPU, where the crate lies elsewhere.
pub(crate) fn folder(fixture: &str) -> PathBuf {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&root).join("tests/fixtures").join(fixture)
}

/// Where the models are: on the CPU, unless the environment asks for a GPU.
pub(crate) fn device() -> Device {
    fulcrum_torch_shim::cuda::test_device().unwrap()
}

pub(crate) fn load(folder: &Path) -> Result<Model, ModelError> {
    Model::load(&ModelFiles::in_folder(folder), device())
}

/// What transformers gave for a fixture, by name, on the device of the models.
pub(crate) struct Expected(BTreeMap<String, Tensor>);

impl Expected {
    pub(crate) fn of(fixture: &str) -> Self {
        let bytes = fs::read(folder(fixture).join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        Self(file.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect())
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }

    pub(crate) fn gradients(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("gradient/")?, tensor)))
    }

    /// Tokens of the row without its padding, `[1, t]`.
    pub(crate) fn row(&self, row: i64) -> Tensor {
        let tokens = self.get("mask").select(0, row).sum(Kind::Int64).int64_value(&[]);
        self.get("ids").narrow(0, row, 1).narrow(1, 0, tokens)
    }
}

fn tensor(view: &TensorView<'_>) -> Tensor {
    let kind = match view.dtype() {
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        Dtype::F32 => Kind::Float,
        other => panic!("no fixture holds {other}"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind).to_device(device())
}

/// The largest absolute difference.
pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// A fixture that may be changed before it is loaded.
pub(crate) struct Draft {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Stored>,
}

/// A tensor as it lies on disk.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Draft {
    pub(crate) fn of(fixture: &str) -> Self {
        let files = ModelFiles::in_folder(&folder(fixture));
        let bytes = fs::read(folder(fixture).join(ModelFiles::WEIGHTS)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let stored = |view: TensorView<'_>| Stored {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        Self {
            config: serde_json::from_slice(&fs::read(files.config).unwrap()).unwrap(),
            tensors: file.iter().map(|(name, view)| (name.to_owned(), stored(view))).collect(),
        }
    }

    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> String) {
        self.tensors =
            std::mem::take(&mut self.tensors).into_iter().map(|(old, it)| (name(&old), it)).collect();
    }

    pub(crate) fn write(&self, folder: &Path) {
        let files = ModelFiles::in_folder(folder);
        fs::write(files.config, self.config.to_string()).unwrap();
        let views = self
            .tensors
            .iter()
            .map(|(name, it)| (name, TensorView::new(it.dtype, it.shape.clone(), &it.bytes).unwrap()));
        safetensors::serialize_to_file(views, None, &folder.join(ModelFiles::WEIGHTS)).unwrap();
    }

    pub(crate) fn load(&self) -> Result<Model, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        load(folder.path())
    }
}
