//! The artifact store: what every stage leaves behind, immutable, under its content key.
//!
//! ```text
//! <store>/artifacts/<key>/manifest.json        written last, once: the artifact exists
//! <store>/artifacts/<key>/<epoch>/<file name>  bytes, each attempt under its own fencing number
//! <store>/training/<key>/...                   checkpoints of trainings under way, see `checkpoint`
//! <store>/lock                                 held shared by everyone who has the store open
//! ```
//!
//! Nothing is visible before its manifest, nothing visible ever changes, and what is read is compared with
//! its digest first. Files are written aside, synced and renamed, and the manifest is linked into place only
//! where none stands: of two attempts that finish, one wins and the other learns who. `docs/store.md` says
//! what that survives.

mod backend;
mod checkpoint;
mod clean;
mod error;
pub mod faulty;
mod manifest;
mod read;
mod seal;
mod write;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use object_store::local::LocalFileSystem;

pub use backend::Backend;
pub use checkpoint::Checkpoint;
pub use clean::{Fault, Swept, Verification};
pub use error::{StoreError, way_out};
pub use manifest::{File, Manifest};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    backend: Arc<dyn Backend>,
    /// Paths whose bytes this process has compared with a digest.
    verified: Mutex<HashSet<File>>,
    lock: Lock,
}

/// The shared lock, given back when the last clone of the store is dropped. None on file systems without locks.
#[derive(Debug)]
struct Lock {
    _held: Option<fs::File>,
}

impl Store {
    /// Opens the store in a folder, which is made if it is not there. Waits while someone cleans it.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
    pub fn open(root: &Path) -> Result<Self> {
        Self::over(root, |backend| Arc::new(backend))
    }

    /// [`Store::open`] with something between the store and the folder.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
    pub fn over(root: &Path, wrap: impl FnOnce(LocalFileSystem) -> Arc<dyn Backend>) -> Result<Self> {
        let artifacts = root.join("artifacts");
        if !artifacts.is_dir() {
            fs::create_dir_all(&artifacts).map_err(StoreError::io(&artifacts))?;
            // What is synced below a folder is lost with the folder's own entry.
            fs::File::open(root).and_then(|folder| folder.sync_all()).map_err(StoreError::io(root))?;
        }
        let root = root.canonicalize().map_err(StoreError::io(root))?;
        let lock = Lock::shared(&root)?;
        let backend = LocalFileSystem::new_with_prefix(&root).map_err(StoreError::backend(&root))?;
        let backend = wrap(backend.with_fsync(true));
        Ok(Self { inner: Arc::new(Inner { root, backend, verified: Mutex::default(), lock }) })
    }

    /// What the back-end says of a path in the store, with the path in it.
    fn refused(&self, path: &str) -> impl FnOnce(object_store::Error) -> StoreError {
        StoreError::backend(self.inner.root.join(path))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }
}

impl Lock {
    fn file(root: &Path) -> Result<(fs::File, PathBuf)> {
        let path = root.join("lock");
        let options = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        Ok((options.map_err(StoreError::io(&path))?, path))
    }

    fn shared(root: &Path) -> Result<Self> {
        let (file, path) = Self::file(root)?;
        match file.lock_shared() {
            Ok(()) => Ok(Self { _held: Some(file) }),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                tracing::warn!(path = %path.display(), "file system without locks: the store cannot be cleaned");
                Ok(Self { _held: None })
            }
            Err(error) => Err(StoreError::io(path)(error)),
        }
    }
}

/// The back-end's form of a path in the store.
fn location(path: &str) -> Result<object_store::path::Path> {
    object_store::path::Path::parse(path).map_err(|error| StoreError::backend(path)(error.into()))
}

#[cfg(test)]
mod tests;
