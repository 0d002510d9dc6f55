//! Which build of a program this is: workers of another one than the run's would leave other bytes.

use std::{fs::File, io, path::Path};

use crate::Key;

/// The digest of an executable.
///
/// # Errors
/// If it cannot be read.
pub fn digest(path: &Path) -> io::Result<Key> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().into())
}

/// That of this process, also where its file has been replaced since it was started.
///
/// # Errors
/// If the system does not let it be read.
pub fn own_digest() -> io::Result<Key> {
    digest(Path::new("/proc/self/exe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, b"one").unwrap();
        assert_eq!(digest(&path).unwrap(), Key::of(b"one"));
        assert_eq!(own_digest().unwrap(), digest(&std::env::current_exe().unwrap()).unwrap());
        assert!(digest(&folder.path().join("none")).is_err());
    }
}
