//! The artifact store: what every stage leaves behind, immutable, under its content key.
//!
//! ```text
//! <store>/artifacts/<key>/manifest.json        written last, once: the artifact exists
//! <store>/artifacts/<key>/<epoch>/<file name>  bytes, each attempt under its own fencing number
//! <store>/training/<key>/...                   checkpoints of trainings under way, see `checkpoint`
//! <store>/lock                                 held shared by everyone who has the store open
//! <store>/identity                             which store this is, written once
//! ```
//!
//! It is a folder, or lies in a bucket of object storage (`bucket`), which has no lock.
//!
//! Nothing is visible before its manifest, nothing visible ever changes, and what is read is compared with
//! its digest first. Files are written aside, synced and renamed, and the manifest is linked into place only
//! where none stands: of two attempts that finish, one wins and the other learns who. `docs/store.md` says
//! what that survives.

mod backend;
mod bucket;
mod checkpoint;
mod clean;
mod copies;
mod error;
pub mod faulty;
mod identity;
mod manifest;
mod place;
mod read;
mod seal;
mod write;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use object_store::{ObjectStore, local::LocalFileSystem};

use bucket::{Objects, Remote};
use copies::Copies;

pub use backend::{Backend, Entry};
pub use bucket::{Access, AccessError, Trouble};
pub use checkpoint::Checkpoint;
pub use clean::{Fault, Swept, Verification};
pub use copies::cache_folder;
pub use error::{StoreError, way_out};
pub use manifest::{File, Manifest};
pub use place::{Bucket, Place, PlaceError};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The folder, or the address of the bucket: what the paths that a back-end takes begin with.
    root: PathBuf,
    backend: Arc<dyn Backend>,
    /// What is particular to a bucket.
    remote: Option<Remote>,
    /// Paths whose bytes this process has compared with a digest.
    verified: Mutex<HashSet<File>>,
    lock: Lock,
}

/// Who else may have the store open. A lock is given back when the last clone of the store is dropped.
#[derive(Debug)]
enum Lock {
    /// Others, who do not clean it; no file on file systems without locks.
    Shared(Option<fs::File>),
    /// Nobody.
    Alone(#[expect(dead_code, reason = "an open file is a held lock")] fs::File),
    /// A bucket has none.
    None,
    /// Nobody, says a person.
    Vouched,
}

impl Store {
    /// Opens the store at a place. A bucket is not asked for anything yet; its credentials are those of the environment.
    ///
    /// # Errors
    /// If the folder cannot be made or written, or the environment does not say how to reach the bucket.
    pub fn at(place: &Place) -> Result<Self> {
        match place {
            Place::Folder(folder) => Self::open(folder),
            Place::Bucket(bucket) => {
                let access = Access::from_environment().map_err(StoreError::access(bucket))?;
                let cache = cache_folder().ok_or_else(|| StoreError::NoCache(bucket.to_string().into()))?;
                Self::in_bucket(bucket, access, &cache)
            }
        }
    }

    /// Opens the store in a folder, which is made if it is not there. Waits while someone cleans it.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
    pub fn open(root: &Path) -> Result<Self> {
        Self::over(root, |backend| Arc::new(backend))
    }

    /// Opens the store in a bucket; copies of its files are kept below `cache`.
    ///
    /// # Errors
    /// If the client cannot be made, or the folder for copies.
    pub fn in_bucket(bucket: &Bucket, access: Access, cache: &Path) -> Result<Self> {
        let copies = Copies::open(cache, bucket)?;
        let backend = Objects::new(bucket, access).map_err(StoreError::access(bucket))?;
        let (root, backend) = (backend.root().to_owned(), Arc::new(backend));
        let remote = Some(Remote::new(bucket.clone(), copies));
        let lock = Lock::None;
        Ok(Self { inner: Arc::new(Inner { root, backend, remote, verified: Mutex::default(), lock }) })
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
        let (remote, verified) = (None, Mutex::default());
        Ok(Self { inner: Arc::new(Inner { root, backend, remote, verified, lock }) })
    }

    /// Where it is, for another process: a folder by its whole path.
    pub fn place(&self) -> Place {
        match &self.inner.remote {
            None => self.inner.root.clone().into(),
            Some(remote) => remote.bucket().clone().into(),
        }
    }

    /// The folder for what belongs to the store on this machine: itself or, of a bucket, one in the cache.
    pub fn home(&self) -> &Path {
        self.inner.remote.as_ref().map_or(&self.inner.root, |remote| remote.copies().home())
    }

    fn objects(&self) -> &dyn ObjectStore {
        self.inner.backend.objects()
    }

    /// What the back-end says of a path in the store, with the path in it.
    fn refused(&self, path: &str) -> impl FnOnce(object_store::Error) -> StoreError {
        let (path, is_remote) = (self.inner.root.join(path), self.inner.remote.is_some());
        move |error| match is_remote {
            true => StoreError::Bucket { path, why: Trouble::of(&error) },
            false => StoreError::backend(path)(error),
        }
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
            Ok(()) => Ok(Self::Shared(Some(file))),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                tracing::warn!(path = %path.display(), "file system without locks: the store cannot be cleaned");
                Ok(Self::Shared(None))
            }
            Err(error) => Err(StoreError::io(path)(error)),
        }
    }

    fn alone(root: &Path) -> Result<Self> {
        let (file, _) = Self::file(root)?;
        file.try_lock().map_err(|error| StoreError::lock(root, error))?;
        Ok(Self::Alone(file))
    }
}

/// The back-end's form of a path in the store.
fn location(path: &str) -> Result<object_store::path::Path> {
    object_store::path::Path::parse(path).map_err(|error| StoreError::backend(path)(error.into()))
}

/// Whether nothing lies under a path. That its bucket is not there is another matter.
fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !matches!(Trouble::of(error), Trouble::NoBucket)
}

#[cfg(test)]
mod tests;
