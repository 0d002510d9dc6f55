//! Files that nobody but their owner can read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Others could read it.
    #[error(
        "{path:?} can be read by others than its owner: chmod 600 it, and let nobody use what it held before"
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("secret {path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl PrivateError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether there is no such file.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads at most `limit` bytes of a file that is its owner's alone.
pub(super) fn read(path: &Path, limit: u64) -> Result<String, PrivateError> {
    let file = File::open(path).map_err(PrivateError::io(path))?;
    if file.metadata().map_err(PrivateError::io(path))?.mode() & 0o077 != 0 {
        return Err(PrivateError::Open { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text).map_err(PrivateError::io(path))?;
    Ok(text)
}

/// Writes one whole or not at all, and never for others.
pub(super) fn write(path: &Path, text: &str) -> Result<(), PrivateError> {
    let aside = path.with_added_extension("new");
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)
        .map_err(PrivateError::io(path))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path))
        .map_err(PrivateError::io(path))
}
