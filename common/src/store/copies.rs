//! Copies of a bucket's files on this machine, for whoever needs a path.
//!
//! ```text
//! <cache>/buckets/<bucket>-<digits>/copies/<digest>/<name>  a copy
//! <cache>/buckets/<bucket>-<digits>/copies/<digest>/lock    held by the one process that fetches it
//! ```
//!
//! A copy is what its digest says, or is fetched anew: each process compares it before it is used for the first time.
//! It is written aside and renamed. The folder may be removed whenever nobody computes.

use std::{
    fs::{self, File as Open},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Bucket, File, Result, StoreError};

/// What a copy is called while it is written.
const PART: &str = ".part-";

/// Bytes of a copy that are read at a time.
const CHUNK: usize = 1 << 20;

/// The cache folder: FULCRUM_CACHE, else `fulcrum` below the user's own cache folder; none where the environment names
/// neither.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FULCRUM_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("fulcrum")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache").join("fulcrum")))
}

/// The copies of one bucket's files, and what else belongs to it on this machine.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    home: PathBuf,
}

impl Copies {
    pub(super) fn open(cache: &Path, bucket: &Bucket) -> Result<Self> {
        let home = cache.join("buckets").join(bucket.slug());
        fs::create_dir_all(home.join("copies")).map_err(StoreError::io(&home))?;
        let home = home.canonicalize().map_err(StoreError::io(&home))?;
        Ok(Self { home })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Where a file's copy is, or would be.
    pub(super) fn path(&self, file: &File) -> PathBuf {
        self.folder(file).join(&file.name)
    }

    fn folder(&self, file: &File) -> PathBuf {
        self.home.join("copies").join(file.digest.to_string())
    }

    /// Makes sure of a copy, fetching it where there is none that is whole. Blocks.
    ///
    /// # Errors
    /// If `source` fails or has other bytes, or the copy cannot be written.
    pub(super) fn bring(
        &self,
        file: &File,
        source: impl FnOnce() -> io::Result<Box<dyn Read + Send>>,
    ) -> Result<PathBuf> {
        let (path, folder) = (self.path(file), self.folder(file));
        if is_whole(&path, file) {
            return Ok(path);
        }
        fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        let _lock = lock(&folder)?;
        // Another process may have fetched it meanwhile.
        if is_whole(&path, file) {
            return Ok(path);
        }
        sweep(&folder).map_err(StoreError::io(&folder))?;
        let mut aside =
            tempfile::Builder::new().prefix(PART).tempfile_in(&folder).map_err(StoreError::io(&path))?;
        let digest = match source() {
            Ok(source) => copy(source, aside.as_file_mut(), &path)?,
            Err(error) => Err(error),
        };
        match digest {
            Ok(digest) => file.expect(digest)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(file.missing()),
            Err(error) => return Err(StoreError::io(&file.path)(error)),
        }
        let permissions = fs::Permissions::from_mode(0o644);
        aside.as_file().set_permissions(permissions).map_err(StoreError::io(&path))?;
        aside.persist(&path).map_err(|error| StoreError::io(&path)(error.error))?;
        Ok(path)
    }
}

/// Copies, and says what was read; that the copy cannot be written is an error of its own.
fn copy(mut source: impl Read, target: &mut Open, path: &Path) -> Result<io::Result<crate::Key>> {
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; CHUNK]);
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(Ok(hasher.finalize().into())),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                target.write_all(&chunk[..read]).map_err(StoreError::io(path))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Whether a copy is there with the bytes that it should have. One that cannot be read is made again.
fn is_whole(path: &Path, file: &File) -> bool {
    let digest = || {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut io::BufReader::with_capacity(CHUNK, Open::open(path)?), &mut hasher)?;
        io::Result::Ok(hasher.finalize().into())
    };
    fs::metadata(path).is_ok_and(|meta| meta.len() == file.bytes)
        && digest().is_ok_and(|it| file.digest == it)
}

/// Held by the one process that fetches. Where there are no locks several do, and each renames the same bytes.
fn lock(folder: &Path) -> Result<Open> {
    let path = folder.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(StoreError::io(&path))?;
    match file.lock() {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(StoreError::io(path)(error)),
        _ => Ok(file),
    }
}

/// Removes what processes that were killed left.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PART) {
            // Where there are no locks, another process may be quicker.
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::Key;

    const BYTES: &[u8] = b"a lever";

    struct Scene {
        copies: Copies,
        file: File,
        _cache: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let cache = tempfile::tempdir().unwrap();
            let place: super::super::Place = "s3://models/a".parse().unwrap();
            let copies = Copies::open(cache.path(), place.bucket().unwrap()).unwrap();
            let (path, digest) = ("artifacts/x/1/data.bin".to_owned(), Key::of(BYTES));
            let file = File { name: "data.bin".to_owned(), path, bytes: BYTES.len() as u64, digest };
            Self { copies, file, _cache: cache }
        }

        fn bring(&self, bytes: &'static [u8]) -> Result<PathBuf> {
            self.copies.bring(&self.file, || Ok(Box::new(Cursor::new(bytes))))
        }

        /// Without anything to fetch from.
        fn again(&self) -> Result<PathBuf> {
            self.copies.bring(&self.file, || panic!("it is fetched although it is there"))
        }

        fn left(&self) -> Vec<String> {
            let entries = fs::read_dir(self.copies.folder(&self.file)).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_copy_is_fetched_once_and_again_when_it_is_damaged() {
        let scene = Scene::new();
        let path = scene.bring(BYTES).unwrap();
        assert_eq!(fs::read(&path).unwrap(), BYTES);
        assert_eq!(scene.again().unwrap(), path);
        for damage in [&b"a lewer"[..], b"a leve", b""] {
            fs::write(&path, damage).unwrap();
            assert_eq!(scene.bring(BYTES).unwrap(), path);
            assert_eq!(fs::read(&path).unwrap(), BYTES);
        }
    }

    #[test]
    fn what_has_other_bytes_or_breaks_off_leaves_no_copy() {
        let scene = Scene::new();
        assert!(scene.bring(b"a lewer").unwrap_err().is_damage());
        assert!(scene.bring(b"a").unwrap_err().is_damage());
        let gone = scene.copies.bring(&scene.file, || Err(io::ErrorKind::NotFound.into())).unwrap_err();
        assert!(gone.is_damage(), "{gone}");
        let broken = scene.copies.bring(&scene.file, || Err(io::Error::other("no answer"))).unwrap_err();
        assert!(!broken.is_damage(), "{broken}");
        assert_eq!(scene.left(), ["lock"]);
    }

    #[test]
    fn what_a_killed_process_left_goes_and_many_at_once_get_one_copy() {
        let scene = Scene::new();
        let folder = scene.copies.folder(&scene.file);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(".part-0"), "half").unwrap();
        let fetched = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let source = || {
                        fetched.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        Ok(Box::new(Cursor::new(BYTES)) as Box<dyn Read + Send>)
                    };
                    scene.copies.bring(&scene.file, source).unwrap();
                });
            }
        });
        assert_eq!(fetched.into_inner(), 1);
        assert_eq!(scene.left(), ["data.bin", "lock"]);
    }
}
