//! Where stages write before the store takes their files: `<store>/scratch/<name>/`, one folder per worker process. Of a
//! store in a bucket it is the folder for its copies that has them.
//!
//! It lies in the store because a model may be larger than what a system keeps for temporary files, which is often
//! memory. A process that is killed leaves its folder; the next worker on the store removes it. Who lives holds
//! the lock of its folder, so only folders of the dead go.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Name of the lock file, of the whole and of each folder in it.
const LOCK: &str = "lock";

/// This process's scratch folder. It stays when this is dropped, as it does when the process dies.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes a folder in the store, after those whose owners are gone are removed. `seat` is for people to read.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(crate) fn open(store: &Path, seat: &str) -> io::Result<Self> {
        let root = store.join("scratch");
        fs::create_dir_all(&root)?;
        // Held until this process's own lock is: a folder without a locked lock has no owner.
        let alone = lock_file(&root)?;
        match alone.lock() {
            Ok(()) => sweep(&root)?,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!(path = %root.display(), "file system without locks: left scratch folders stay");
            }
            Err(error) => return Err(error),
        }
        let name: String = seat.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&root)?.keep();
        let lock = lock_file(&folder)?;
        match lock.lock() {
            Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
            _ => Ok(Self { folder, _lock: lock }),
        }
    }

    /// An empty folder for one assignment, removed when it is dropped.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn folder(&self) -> io::Result<TempDir> {
        tempfile::tempdir_in(&self.folder)
    }
}

fn lock_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))
}

/// Removes the folders whose owners are gone.
fn sweep(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && is_left(&entry.path())? {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Whether nobody holds the folder's lock.
fn is_left(folder: &Path) -> io::Result<bool> {
    let lock = match OpenOptions::new().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_hold_stays() {
        let store = tempfile::tempdir().unwrap();
        let (dead, living) =
            (Scratch::open(store.path(), "w0").unwrap(), Scratch::open(store.path(), "w1").unwrap());
        let halves = [&dead, &living].map(|scratch| scratch.folder().unwrap().keep().join("half a model"));
        for half in &halves {
            fs::write(half, "bytes").unwrap();
        }
        let left = dead.folder.clone();
        drop(dead);
        // Killed before it had its lock.
        fs::create_dir(store.path().join("scratch/w2-unborn")).unwrap();
        assert!(left.exists());
        let next = Scratch::open(store.path(), "w0").unwrap();
        assert!(!left.exists() && !store.path().join("scratch/w2-unborn").exists());
        assert!(halves[1].exists() && next.folder().unwrap().path().exists());
        assert_ne!(next.folder, living.folder);
    }

    #[test]
    fn a_seat_of_any_name_stays_in_the_store() {
        let store = tempfile::tempdir().unwrap();
        for seat in ["../../w0", "", "/", &"w".repeat(999)] {
            let scratch = Scratch::open(store.path(), seat).unwrap();
            assert_eq!(scratch.folder.parent(), Some(store.path().join("scratch").as_path()), "{seat:?}");
        }
    }
}
