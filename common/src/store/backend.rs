//! What a store stands on.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use object_store::{ObjectStore, local::LocalFileSystem};

/// An object store over a folder, and what is done to the folder beside it. Everything that a store does to its disk
/// goes through here, so that tests can put [`Faulty`](super::faulty::Faulty) in between.
pub trait Backend: ObjectStore {
    /// A file, to be read from its beginning.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    /// What lies in a folder, sorted.
    ///
    /// # Errors
    /// If it cannot be read.
    fn entries(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    }

    /// Removes a file or, where it is empty, a folder.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn remove(&self, path: &Path, is_folder: bool) -> io::Result<()> {
        if is_folder { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    /// Makes durable what was made and removed in a folder.
    ///
    /// # Errors
    /// If it is not.
    fn sync(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}

impl Backend for LocalFileSystem {}
