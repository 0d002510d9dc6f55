//! The weights of a checkpoint folder in the Hugging Face layout: one safetensors file, or shards under an index.
//!
//! Nothing here needs libtorch: what a folder claims about its tensors is checked before anybody reads a number.

mod header;
mod index;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use header::Header;
pub use index::Index;

/// The file of a checkpoint in one piece.
pub const WEIGHTS: &str = "model.safetensors";

/// The file that says which shard of a checkpoint holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";

/// Endings of pickled weights, which run code when they are read.
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

/// Where the weights of a checkpoint lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightFiles {
    /// One safetensors file.
    Whole(PathBuf),
    /// An index; the shards that it names lie beside it.
    Sharded(PathBuf),
}

/// One file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Where it lies.
    pub path: PathBuf,
    /// The tensors that the index says it holds; none where there is no index.
    pub tensors: Option<BTreeSet<String>>,
}

/// What is wrong with the weights of a folder.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file, or a part of it, is longer than any honest one.
    #[error("{} has {bytes} bytes of {what}, more than the {limit} that are read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The header of a safetensors file is broken, or does not fit its length.
    #[error("{} is no whole safetensors file: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: safetensors::SafeTensorError,
    },
    /// An index is broken, or leads astray.
    #[error("{} is no index of weights: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Index and shard contradict each other.
    #[error("{} {fault} tensor {name:?}: index and shards are not of one checkpoint", shard.display())]
    Contradiction {
        /// The shard.
        shard: PathBuf,
        /// What it does that the index does not say.
        fault: &'static str,
        /// The tensor.
        name: String,
    },
    /// There are pickled weights only.
    #[error(
        "{} holds pickled weights, which can run code when they are read, and no {WEIGHTS}: where you trust them, \
         convert them with python -c \"from transformers import AutoModel{class} as M; \
         M.from_pretrained('{folder}').save_pretrained('{folder}', safe_serialization=True)\"",
        path.display(), folder = path.parent().unwrap_or(path).display()
    )]
    Pickle {
        /// One of them.
        path: PathBuf,
        /// What the class of transformers is called that reads them, after `AutoModel`.
        class: &'static str,
    },
}

impl WeightFiles {
    /// Where a folder has its weights: in one file if there is such a file, else in shards.
    pub fn in_folder(folder: &Path) -> Self {
        let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if !whole.is_file() && index.is_file() { Self::Sharded(index) } else { Self::Whole(whole) }
    }

    /// The files that hold tensors, in the order of their names, each known to lie where it may.
    ///
    /// # Errors
    /// If there are no weights or only pickled ones, or the index is broken or names a file outside its folder.
    pub fn shards(&self) -> Result<Vec<Shard>, CheckpointError> {
        match self {
            Self::Whole(path) if path.is_file() => Ok(vec![Shard { path: path.clone(), tensors: None }]),
            Self::Whole(path) => Err(absent(path)),
            Self::Sharded(path) => Index::open(path)?.beside(path),
        }
    }
}

impl Shard {
    /// Opens the file and checks its header against its length and against the index.
    ///
    /// # Errors
    /// If it is no whole safetensors file, or holds other tensors than the index says.
    pub fn open(&self) -> Result<(File, Header), CheckpointError> {
        let unreadable = |source| CheckpointError::Read { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let header = Header::read(&mut &file, length, &self.path)?;
        if let Some(promised) = &self.tensors {
            let held: BTreeSet<String> = header.names().into_iter().collect();
            let contradiction = |fault, name: &String| CheckpointError::Contradiction {
                shard: self.path.clone(),
                fault,
                name: name.clone(),
            };
            if let Some(name) = promised.difference(&held).next() {
                return Err(contradiction("lacks", name));
            }
            if let Some(name) = held.difference(promised).next() {
                return Err(contradiction("holds, and the index does not place there,", name));
            }
        }
        Ok((file, header))
    }
}

/// What to say of weights that are not there.
fn absent(path: &Path) -> CheckpointError {
    let folder = path.parent().unwrap_or(path);
    let pickled = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        PICKLES.iter().any(|ending| name.ends_with(ending)) && name != "training_args.bin"
    };
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    match entries.filter(pickled).min() {
        Some(path) => CheckpointError::Pickle { class: class(folder), path },
        None => CheckpointError::Read {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::NotFound, "there is no such file"),
        },
    }
}

/// The class of transformers that keeps the head of the folder's model.
fn class(folder: &Path) -> &'static str {
    let config = text(&folder.join("config.json"), "text", index::LIMIT).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let architecture = config["architectures"][0].as_str().unwrap_or_default();
    if architecture.ends_with("ForSequenceClassification") {
        "ForSequenceClassification"
    } else if architecture.ends_with("ForCausalLM") || architecture.ends_with("LMHeadModel") {
        "ForCausalLM"
    } else {
        ""
    }
}

/// The bytes of a file of believable length.
fn text(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let unreadable = |source| CheckpointError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    file.take(limit + 1).read_to_end(&mut text).map_err(unreadable)?;
    let bytes = bytes.max(text.len() as u64);
    if bytes > limit {
        return Err(CheckpointError::TooLong { path: path.to_owned(), what, bytes, limit });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
