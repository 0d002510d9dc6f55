//! What can be wrong with a store.

use std::{
    fs::TryLockError,
    path::{Path, PathBuf},
};

use crate::Key;

/// The way out of damage.
const REPAIR: &str =
    "`fulcrum artifacts verify --repair` removes what is damaged, and the next run makes it again";

/// What can be wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file name that could leave the store or clash with its own files.
    #[error(
        "{0:?} is no file name of an artifact: expected 1 to 128 of a-z A-Z 0-9 . _ - and no dot in front"
    )]
    Name(String),
    /// A manifest that does not hold together.
    #[error("manifest of {key}: {reason}: {REPAIR}", key = key.short())]
    Manifest {
        /// The artifact.
        key: Key,
        /// What does not fit.
        reason: String,
    },
    /// A checkpoint of a training that does not hold together.
    #[error("checkpoint of {key}: {reason}", key = key.short())]
    Checkpoint {
        /// The stage that is trained.
        key: Key,
        /// What does not fit.
        reason: String,
    },
    /// No manifest stands under the key.
    #[error("artifact {key} is not in the store: run the experiment that makes it", key = .0.short())]
    Absent(Key),
    /// The artifact has no file of that name.
    #[error("artifact {key} has no file {name:?}", key = key.short())]
    NoFile {
        /// The artifact.
        key: Key,
        /// The name asked for.
        name: String,
    },
    /// A file that a manifest names is gone.
    #[error("{path} is missing: {REPAIR}")]
    Missing {
        /// Path in the store.
        path: String,
    },
    /// A file does not have the bytes that its manifest states.
    #[error("{path} is damaged: {found}, expected {expected}: {REPAIR}")]
    Damaged {
        /// Path in the store.
        path: String,
        /// Length or digest found.
        found: String,
        /// Length or digest stated.
        expected: String,
    },
    /// A test made it fail.
    #[error(transparent)]
    Injected(#[from] crate::fault::Injected),
    /// Cleaning needs the store for itself.
    #[error("the store {0} is in use: stop its runs first")]
    InUse(PathBuf),
    /// Exporting never overwrites.
    #[error("{0} is not empty: name a new folder")]
    NotEmpty(PathBuf),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The back-end refused.
    #[error("store: {0}")]
    Backend(#[from] object_store::Error),
}

impl StoreError {
    /// Whether bytes in the store are not what was put there, so that asking again cannot help.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Manifest { .. } | Self::Missing { .. } | Self::Damaged { .. })
    }

    /// Why the store in `root` cannot be had alone: others have it open, or it cannot be locked at all.
    pub(super) fn lock(root: &Path, error: TryLockError) -> Self {
        match error {
            TryLockError::WouldBlock => Self::InUse(root.to_owned()),
            TryLockError::Error(source) => Self::io(root.join("lock"))(source),
        }
    }

    pub(super) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), source }
    }
}
