//! The files of a checkpoint.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use fulcrum_common::source::{WeightFiles, checkpoint};

use crate::ModelError;

/// Where the files of a checkpoint lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// `config.json`.
    pub config: PathBuf,
    /// `model.safetensors`, or an index with its shards.
    pub weights: WeightFiles,
    /// `tokenizer.json`, for whoever makes tokens of texts: this crate does not read it.
    pub tokenizer: Option<PathBuf>,
}

impl ModelFiles {
    /// File name of the configuration.
    pub const CONFIG: &'static str = "config.json";
    /// File name of the weights that [`Model::save`] writes.
    pub const WEIGHTS: &'static str = checkpoint::WEIGHTS;
    /// File name of the tokenizer.
    pub const TOKENIZER: &'static str = "tokenizer.json";
    /// File name of what a model's authors say of generation, where they do.
    pub const GENERATION: &'static str = "generation_config.json";

    /// The files of a checkpoint directory, the tokenizer if it is there.
    pub fn in_folder(folder: &Path) -> Self {
        let tokenizer = Some(folder.join(Self::TOKENIZER)).filter(|path| path.is_file());
        Self { config: folder.join(Self::CONFIG), weights: WeightFiles::in_folder(folder), tokenizer }
    }
}

/// The text of a configuration of believable length.
pub(crate) fn read_config(path: &Path) -> Result<String, ModelError> {
    /// A configuration is a page of text; the longest name tens of thousands of classes.
    const LIMIT: u64 = 1 << 22;
    let unreadable = |source| ModelError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(unreadable)?.take(LIMIT + 1);
    file.read_to_string(&mut text).map_err(unreadable)?;
    let bytes = text.len() as u64;
    if bytes > LIMIT {
        return Err(ModelError::TooLong { path: path.to_owned(), what: "text", bytes, limit: LIMIT });
    }
    Ok(text)
}
