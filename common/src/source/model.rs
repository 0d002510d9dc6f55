//! A pretrained model folder in the Hugging Face layout: its digest, and the little of its `config.json`
//! that a plan depends on.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{SourceError, WeightFiles, digest, unreadable};
use crate::Key;

/// The tokenizer, which every model has, and what some models have beside it: all of it goes where the model goes.
pub const COMPANIONS: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "generation_config.json",
];

/// The `model_type` of a network that makes vectors of images.
pub const BACKBONE: &str = "cifar_resnet";

/// Largest `config.json` that is read, in bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// A pretrained model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFolder {
    /// Absolute path of the folder.
    pub path: PathBuf,
    /// See [`model_digest`].
    pub digest: Key,
    /// Number of blocks.
    pub layers: usize,
    /// Longest sequence, in tokens.
    pub positions: usize,
    /// What the checkpoint was saved for.
    pub purpose: Purpose,
}

/// What a checkpoint's head is for, from `architectures` and `model_type` in its `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Next-token logits.
    LanguageModel,
    /// Class logits.
    Classifier,
    /// Hidden states only.
    Base,
    /// Vectors of images.
    Images,
}

impl ModelFolder {
    /// Digests a model folder and reads its description.
    ///
    /// # Errors
    /// If a file that must be there is missing or cannot be read; see [`model_files`].
    pub fn open(folder: &Path) -> Result<Self, SourceError> {
        let config = Config::read(&folder.join("config.json"))?;
        let digest = model_digest(folder)?;
        let path = folder.canonicalize().map_err(|error| unreadable(folder, error))?;
        Ok(Self {
            path,
            digest,
            layers: config.layers,
            positions: config.positions,
            purpose: config.purpose(),
        })
    }
}

/// The files that make a model what it is: `config.json`, the weights (one file, or an index and its shards),
/// `tokenizer.json`, and those of [`COMPANIONS`] that are there.
///
/// # Errors
/// If there are no weights that can be read, or an index leads out of the folder.
pub fn model_files(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let weights = WeightFiles::in_folder(folder);
    let mut files = vec![folder.join("config.json")];
    if let WeightFiles::Sharded(index) = &weights {
        files.push(index.clone());
    }
    files.extend(weights.shards()?.into_iter().map(|shard| shard.path));
    let [tokenizer, others @ ..] = COMPANIONS.map(|name| folder.join(name));
    if !reads_images(folder) {
        files.push(tokenizer);
    }
    files.extend(others.into_iter().filter(|path| path.is_file()));
    Ok(files)
}

/// The digest of a model: BLAKE3 over one line `NAME DIGEST` for each of its [`model_files`].
///
/// # Errors
/// If one that must be there is missing, or one cannot be read.
pub fn model_digest(folder: &Path) -> Result<Key, SourceError> {
    let line = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().display();
        Ok(format!("{name} {}\n", digest(&path)?))
    };
    let files = model_files(folder)?;
    let lines = files.into_iter().map(line).collect::<Result<String, SourceError>>()?;
    Ok(Key::of(lines.as_bytes()))
}

/// Whether the model of a folder reads images, and so has no tokenizer.
pub fn reads_images(folder: &Path) -> bool {
    Config::read(&folder.join("config.json")).is_ok_and(|config| config.purpose() == Purpose::Images)
}

/// What is read of `config.json` first.
#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
}

/// What is read of `config.json`; the models crate reads the rest.
#[derive(Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    #[serde(alias = "num_hidden_layers", alias = "n_layer")]
    layers: usize,
    #[serde(alias = "max_position_embeddings", alias = "n_positions")]
    positions: usize,
}

impl Config {
    fn read(path: &Path) -> Result<Self, SourceError> {
        let mut text = Vec::new();
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        file.take(CONFIG_LIMIT).read_to_end(&mut text).map_err(|error| unreadable(path, error))?;
        let kind = serde_json::from_slice(&text).ok().and_then(|Kind { model_type }| model_type);
        if kind.as_deref() == Some(BACKBONE) {
            // Its depth is that of its weights.
            return Ok(Self { architectures: None, model_type: kind, layers: 0, positions: 0 });
        }
        serde_json::from_slice(&text).map_err(|error| SourceError::Config {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    fn purpose(&self) -> Purpose {
        if self.model_type.as_deref() == Some(BACKBONE) {
            return Purpose::Images;
        }
        let architecture = self.architectures.as_ref().and_then(|names| names.first());
        match architecture.map(String::as_str) {
            // With a tied output a bare gpt2 lacks nothing of a language model.
            Some("GPT2Model") => Purpose::LanguageModel,
            None if self.model_type.as_deref() == Some("gpt2") => Purpose::LanguageModel,
            Some(name) if name.ends_with("ForSequenceClassification") => Purpose::Classifier,
            Some(name) if name.ends_with("LMHeadModel") || name.ends_with("ForCausalLM") => {
                Purpose::LanguageModel
            }
            _ => Purpose::Base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), "weights").unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
        dir
    }

    #[test]
    fn both_spellings_of_a_configuration_are_read() {
        for (config, layers, positions, purpose) in [
            (
                r#"{"architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_positions": 64}"#,
                2,
                64,
                Purpose::LanguageModel,
            ),
            (
                r#"{"architectures": ["BertForSequenceClassification"], "num_hidden_layers": 6, "max_position_embeddings": 512}"#,
                6,
                512,
                Purpose::Classifier,
            ),
            (r#"{"num_hidden_layers": 1, "max_position_embeddings": 8}"#, 1, 8, Purpose::Base),
            (r#"{"architectures": null, "n_layer": 1, "n_positions": 8}"#, 1, 8, Purpose::Base),
        ] {
            let dir = folder(config);
            let model = ModelFolder::open(dir.path()).unwrap();
            assert_eq!(
                (model.layers, model.positions, model.purpose),
                (layers, positions, purpose),
                "{config}"
            );
        }
    }

    #[test]
    fn a_bare_gpt2_is_a_language_model_and_a_bare_bert_is_not() {
        for (keys, purpose) in [
            (r#""model_type": "gpt2", "architectures": ["GPT2Model"]"#, Purpose::LanguageModel),
            (r#""model_type": "gpt2", "architectures": null"#, Purpose::LanguageModel),
            (r#""model_type": "gpt2", "architectures": []"#, Purpose::LanguageModel),
            (r#""model_type": "gpt2""#, Purpose::LanguageModel),
            (
                r#""model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"]"#,
                Purpose::Classifier,
            ),
            (r#""model_type": "bert", "architectures": ["BertModel"]"#, Purpose::Base),
            (r#""model_type": "bert""#, Purpose::Base),
        ] {
            let dir = folder(&format!(r#"{{{keys}, "n_layer": 2, "n_positions": 64}}"#));
            assert_eq!(ModelFolder::open(dir.path()).unwrap().purpose, purpose, "{keys}");
        }
    }

    #[test]
    fn a_broken_configuration_is_an_error_that_names_it() {
        for config in ["", "[]", "{}", r#"{"n_layer": -1, "n_positions": 64}"#] {
            let dir = folder(config);
            let error = ModelFolder::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("config.json is no model description"), "{error}");
        }
    }

    #[test]
    fn the_digest_changes_with_each_file_and_with_no_other() {
        let dir = folder(r#"{"n_layer": 2, "n_positions": 64}"#);
        let first = model_digest(dir.path()).unwrap();
        std::fs::write(dir.path().join("README.md"), "new").unwrap();
        assert_eq!(model_digest(dir.path()).unwrap(), first);
        for name in ["config.json", "model.safetensors"].iter().chain(&COMPANIONS) {
            let path = dir.path().join(name);
            let old = std::fs::read(&path).ok();
            std::fs::write(&path, "other").unwrap();
            assert_ne!(model_digest(dir.path()).unwrap(), first, "{name}");
            match old {
                Some(old) => std::fs::write(&path, old).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
        }
        assert_eq!(model_digest(dir.path()).unwrap(), first);
    }

    #[test]
    fn the_digest_covers_the_index_and_every_shard() {
        let dir = folder(r#"{"n_layer": 2, "n_positions": 64}"#);
        let at = |name: &str| dir.path().join(name);
        std::fs::remove_file(at("model.safetensors")).unwrap();
        let index = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;
        std::fs::write(at("model.safetensors.index.json"), index).unwrap();
        for name in ["a.safetensors", "b.safetensors"] {
            assert!(model_digest(dir.path()).unwrap_err().to_string().contains(name));
            std::fs::write(at(name), name).unwrap();
        }
        let mut digests = vec![model_digest(dir.path()).unwrap()];
        std::fs::write(at("b.safetensors"), "other").unwrap();
        digests.push(model_digest(dir.path()).unwrap());
        std::fs::write(at("model.safetensors.index.json"), format!("{index} ")).unwrap();
        digests.push(model_digest(dir.path()).unwrap());
        std::fs::write(at("model.safetensors.index.json"), index.replace("a.s", "../a.s")).unwrap();
        let error = ModelFolder::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("\"../a.safetensors\""), "{error}");
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    }
}
