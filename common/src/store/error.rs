//! What can be wrong with a store.

use std::{
    error::Error,
    fs::TryLockError,
    io,
    path::{Path, PathBuf},
};

use super::{AccessError, Bucket, Trouble};
use crate::Key;

/// The way out of damage.
const REPAIR: &str =
    "`fulcrum artifacts verify --repair` removes what is damaged, and the next run makes it again";

/// The same where a checkpoint of a training is damaged: nothing is to be done.
const EARLIER: &str = "the training goes on from an earlier checkpoint, or anew, and makes the same";

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
    #[error("checkpoint of {key}: {reason}: {EARLIER}", key = key.short())]
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
    #[error("{path} is missing: {}", remedy_of(path))]
    Missing {
        /// Path in the store.
        path: String,
    },
    /// A file does not have the bytes that its manifest states.
    #[error("{path} is damaged: {found}, expected {expected}: {}", remedy_of(path))]
    Damaged {
        /// Path in the store.
        path: String,
        /// Length or digest found.
        found: String,
        /// Length or digest stated.
        expected: String,
    },
    /// What tells the store from others is not what was written.
    #[error(
        "the store's file `identity`: {0}: remove it while no run uses the store, and the next one writes it anew"
    )]
    Identity(String),
    /// A test made it fail.
    #[error(transparent)]
    Injected(#[from] crate::fault::Injected),
    /// Cleaning needs the store for itself.
    #[error("the store {0} is in use: stop its runs first")]
    InUse(PathBuf),
    /// Cleaning a bucket needs a person's word.
    #[error(
        "the store {0} is in a bucket, which has no lock to tell whether it is in use: stop its runs on all machines, then say --alone"
    )]
    NoLock(PathBuf),
    /// How the bucket is reached is not known, or makes no sense.
    #[error("{path}: {why}")]
    Access {
        /// The bucket.
        path: PathBuf,
        /// Told already, so no source of its own.
        why: AccessError,
    },
    /// Copies of a bucket's files need a place.
    #[error("there is no folder for copies of what lies in {0}: set FULCRUM_CACHE")]
    NoCache(PathBuf),
    /// A bucket's server refused.
    #[error("{path}: {why}")]
    Bucket {
        /// What was worked on.
        path: PathBuf,
        /// Told already, so no source of its own.
        why: Trouble,
    },
    /// Exporting never overwrites.
    #[error("{0} is not empty: name a new folder")]
    NotEmpty(PathBuf),
    /// The operating system refused.
    #[error("{path}: {source}{}", way_out(source))]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The back-end refused.
    #[error("{path}: {source}")]
    Backend {
        /// What was worked on.
        path: PathBuf,
        /// Why.
        source: object_store::Error,
    },
}

impl StoreError {
    /// Whether bytes in the store are not what was put there, so that asking again cannot help.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Manifest { .. } | Self::Missing { .. } | Self::Damaged { .. } | Self::Identity(_)
        )
    }

    /// Why the store in `root` cannot be had alone: others have it open, or it cannot be locked at all.
    pub(super) fn lock(root: &Path, error: TryLockError) -> Self {
        match error {
            TryLockError::WouldBlock => Self::InUse(root.to_owned()),
            TryLockError::Error(source) => Self::io(root.join("lock"))(source),
        }
    }

    /// What the back-end says of a path: where the operating system refused, what that said.
    pub(super) fn backend(path: impl AsRef<Path>) -> impl FnOnce(object_store::Error) -> Self {
        move |error| {
            let path = path.as_ref().to_owned();
            match of_system(&error).map(|it| (it.raw_os_error(), it.kind(), it.to_string())) {
                Some((Some(code), ..)) => Self::Io { path, source: io::Error::from_raw_os_error(code) },
                Some((None, kind, text)) => Self::Io { path, source: io::Error::new(kind, text) },
                None => Self::Backend { path, source: error },
            }
        }
    }

    pub(super) fn access(bucket: &Bucket) -> impl FnOnce(AccessError) -> Self {
        let path = PathBuf::from(bucket.to_string());
        move |why| Self::Access { path, why }
    }

    pub(super) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), source }
    }
}

/// What the operating system said, where that is at the bottom of an error.
fn of_system<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    error.downcast_ref().or_else(|| of_system(error.source()?))
}

/// What to do about a file that is not what was put.
fn remedy_of(path: &str) -> &'static str {
    if path.starts_with("training/") { EARLIER } else { REPAIR }
}

/// What to do about what the operating system said, after a colon; nothing where that says it itself.
pub fn way_out(error: &io::Error) -> &'static str {
    /// What Linux says of a disk that fails.
    const EIO: i32 = 5;
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            ": make room on this disk (`fulcrum artifacts gc` removes what no experiment needs)"
        }
        FileTooLarge => ": raise the limit on the size of files (`ulimit -f`)",
        PermissionDenied | ReadOnlyFilesystem => ": make it writable for this user",
        _ if error.raw_os_error() == Some(EIO) => {
            ": the disk fails (the system's log says how): if it does again, move the store to another"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_with_the_file_and_a_way_out() {
        for (code, remedy) in [(28, "make room"), (122, "make room"), (5, "the disk fails"), (30, "writable")]
        {
            let source = object_store::Error::Generic {
                store: "disk",
                source: Box::new(io::Error::from_raw_os_error(code)),
            };
            let told = StoreError::backend("/store/artifacts/x")(source).to_string();
            assert!(told.starts_with("/store/artifacts/x: ") && told.contains(remedy), "{told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn damage_of_a_checkpoint_is_nothing_to_repair() {
        let missing = |path: &str| StoreError::Missing { path: path.to_owned() }.to_string();
        assert!(missing("artifacts/x/1/a").contains("verify --repair"));
        assert!(missing("training/x/1-2/a").contains("an earlier checkpoint"));
    }
}
