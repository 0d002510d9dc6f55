//! Adapters in the PEFT layout: a folder of its own, for a model that lies elsewhere.

use std::path::{Path, PathBuf};

use super::{SourceError, digest, existing, unreadable};
use crate::Key;

/// The files that make adapters what they are.
pub const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Adapters on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFolder {
    /// Absolute path of the folder.
    pub path: PathBuf,
    /// See [`adapter_digest`].
    pub digest: Key,
}

impl AdapterFolder {
    /// Digests a folder of adapters.
    ///
    /// # Errors
    /// If a file is missing or cannot be read.
    pub fn open(folder: &Path) -> Result<Self, SourceError> {
        let digest = adapter_digest(folder)?;
        let path = folder.canonicalize().map_err(|error| unreadable(folder, error))?;
        Ok(Self { path, digest })
    }
}

/// The digest of adapters: BLAKE3 over one line `NAME DIGEST` for each of [`ADAPTER_FILES`].
///
/// # Errors
/// If one of them is missing or cannot be read.
pub fn adapter_digest(folder: &Path) -> Result<Key, SourceError> {
    let way_out = "adapters are a folder as PEFT saves it, with safetensors";
    let line = |name| {
        let path = existing(folder.join(name), way_out.to_owned())?;
        Ok(format!("{name} {}\n", digest(&path)?))
    };
    let lines = ADAPTER_FILES.into_iter().map(line).collect::<Result<String, SourceError>>()?;
    Ok(Key::of(lines.as_bytes()))
}
