//! What a store stands on.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use object_store::{ObjectStore, local::LocalFileSystem};

/// An object store, and what is done to its folders beside it. Everything that a store does to its disk or its bucket
/// goes through here, so that tests can put [`Faulty`](super::faulty::Faulty) in between.
///
/// Paths begin with where the store is: its folder, or the address of its bucket.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Where objects are put and got, under their paths in the store.
    fn objects(&self) -> &dyn ObjectStore;

    /// A file, to be read from its beginning, off the asynchronous threads.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// What lies in a folder, sorted. Where folders are but beginnings of names, one that is not there is empty.
    ///
    /// # Errors
    /// If it cannot be read.
    async fn entries(&self, folder: &Path) -> io::Result<Vec<Entry>>;

    /// Removes a file or, where it is empty, a folder.
    ///
    /// # Errors
    /// If it cannot be removed.
    async fn remove(&self, path: &Path, is_folder: bool) -> io::Result<()>;

    /// Makes durable what was made and removed in a folder.
    ///
    /// # Errors
    /// If it is not.
    async fn sync(&self, folder: &Path) -> io::Result<()>;
}

/// What lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Where.
    pub path: PathBuf,
    /// Whether others may lie in it.
    pub is_folder: bool,
    /// Length of a file.
    pub bytes: u64,
}

impl Entry {
    /// Its name in its folder; empty where that is no text.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

#[async_trait]
impl Backend for LocalFileSystem {
    fn objects(&self) -> &dyn ObjectStore {
        self
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    async fn entries(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let entry = |found: io::Result<fs::DirEntry>| {
            let found = found?;
            // Of a link itself: what it leads to is not in the store.
            let meta = found.metadata()?;
            let bytes = if meta.is_dir() { 0 } else { meta.len() };
            Ok(Entry { path: found.path(), is_folder: meta.is_dir(), bytes })
        };
        let mut entries = fs::read_dir(folder)?.map(entry).collect::<io::Result<Vec<_>>>()?;
        entries.sort_unstable();
        Ok(entries)
    }

    async fn remove(&self, path: &Path, is_folder: bool) -> io::Result<()> {
        if is_folder { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    async fn sync(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}
