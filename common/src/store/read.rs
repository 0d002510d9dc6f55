//! Finding artifacts and reading their files, never without comparing the bytes with their digest.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::{
    File, Manifest, Result, Store, StoreError, bucket, is_absent, location, manifest, write::manifest_path,
};
use crate::{Key, fault::point};

impl Store {
    /// The manifest under a key; none where the artifact does not exist.
    ///
    /// # Errors
    /// If what lies there is no manifest of that key.
    pub async fn manifest(&self, key: Key) -> Result<Option<Manifest>> {
        let path = manifest_path(key);
        let found = match self.objects().get(&location(&path)?).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.refused(&path)(error)),
        };
        if found.meta.size > manifest::LIMIT {
            let reason = format!("it has {} bytes, more than {}", found.meta.size, manifest::LIMIT);
            return Err(StoreError::Manifest { key, reason });
        }
        let text = found.bytes().await.map_err(self.refused(&path))?;
        Manifest::from_json(key, &text).map(Some)
    }

    /// The keys of all artifacts, sorted.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub async fn keys(&self) -> Result<Vec<Key>> {
        let folders = self.objects().list_with_delimiter(Some(&location("artifacts")?)).await;
        let folders = folders.map_err(self.refused("artifacts"))?;
        let mut keys = Vec::new();
        for folder in folders.common_prefixes {
            let Some(Ok(key)) = folder.filename().map(str::parse::<Key>) else { continue };
            let path = manifest_path(key);
            match self.objects().head(&location(&path)?).await {
                Ok(_) => keys.push(key),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(self.refused(&path)(error)),
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// The manifests of all artifacts, by key, or what is wrong with each.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub async fn list(&self) -> Result<Vec<(Key, Result<Manifest>)>> {
        let mut manifests = Vec::new();
        for key in self.keys().await? {
            manifests.extend(self.manifest(key).await.transpose().map(|manifest| (key, manifest)));
        }
        Ok(manifests)
    }

    /// The path of a file's bytes on this machine: of a bucket's file, that of a copy. They are compared with the digest the
    /// first time this process asks.
    ///
    /// # Errors
    /// If the artifact has no such file, or the bytes are not those that were put.
    pub async fn local(&self, manifest: &Manifest, name: &str) -> Result<PathBuf> {
        let file = manifest.file(name)?.clone();
        point("store.read")?;
        if self.inner.remote.is_some() {
            return self.copy(file).await;
        }
        let path = self.inner.root.join(&file.path);
        if !self.verified().contains(&file) {
            self.length(&file).await?;
            self.compare(&file, &path).await?;
            self.verified().insert(file);
        }
        Ok(path)
    }

    /// The path of a copy of a bucket's file.
    async fn copy(&self, file: File) -> Result<PathBuf> {
        let Some(remote) = &self.inner.remote else { return Ok(self.inner.root.join(&file.path)) };
        let copies = remote.copies().clone();
        let path = copies.path(&file);
        // Copies may be removed between two runs, and this process may see both.
        if self.verified().contains(&file) && path.is_file() {
            return Ok(path);
        }
        let (wanted, backend) = (file.clone(), Arc::clone(&self.inner.backend));
        let source = self.inner.root.join(&file.path);
        let brought = tokio::task::spawn_blocking(move || copies.bring(&wanted, || backend.open(&source)));
        let path = brought.await.map_err(|panic| StoreError::io(&file.path)(io::Error::other(panic)))??;
        self.verified().insert(file);
        Ok(path)
    }

    /// The bytes of a file, compared with the digest.
    ///
    /// # Errors
    /// If the artifact has no such file, or the bytes are not those that were put.
    pub async fn read(&self, manifest: &Manifest, name: &str) -> Result<Bytes> {
        let file = manifest.file(name)?;
        self.bytes(file).await
    }

    /// The bytes of a file, compared with its digest.
    pub(super) async fn bytes(&self, file: &File) -> Result<Bytes> {
        self.length(file).await?;
        if self.inner.remote.is_some() && file.bytes > bucket::PART as u64 {
            return self.large(file).await;
        }
        let found = match self.objects().get(&location(&file.path)?).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            Err(error) if is_absent(&error) => return Err(file.missing()),
            Err(error) => return Err(self.refused(&file.path)(error)),
        };
        file.expect(Key::of(&bytes))?;
        Ok(bytes)
    }

    /// The bytes of a bucket's large file, piece by piece.
    async fn large(&self, file: &File) -> Result<Bytes> {
        let (path, backend) = (self.inner.root.join(&file.path), Arc::clone(&self.inner.backend));
        let room = usize::try_from(file.bytes).unwrap_or_default();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::with_capacity(room);
            backend.open(&path)?.take(room as u64).read_to_end(&mut bytes)?;
            Ok(Bytes::from(bytes))
        });
        match read.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(bytes) => {
                file.expect(Key::of(&bytes))?;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(file.missing()),
            Err(error) => Err(StoreError::io(self.inner.root.join(&file.path))(error)),
        }
    }

    /// Copies the files of an artifact into a new or empty folder; returns its manifest. The files are copied aside
    /// and moved once all are there: an export that fails or is killed leaves none of them in the folder.
    ///
    /// # Errors
    /// If there is no such artifact, the folder holds something, or the bytes are not those that were put.
    pub async fn export(&self, key: Key, folder: &Path) -> Result<Manifest> {
        let manifest = self.manifest(key).await?.ok_or(StoreError::Absent(key))?;
        let stands = folder.exists();
        if stands && fs::read_dir(folder).map_err(StoreError::io(folder))?.next().is_some() {
            return Err(StoreError::NotEmpty(folder.to_owned()));
        }
        // A folder that stands is not replaced: someone may work in it, or it may be a file system of its own.
        let home = if stands { folder } else { parent(folder) };
        fs::create_dir_all(home).map_err(StoreError::io(home))?;
        let aside = tempfile::Builder::new().prefix(".").tempdir_in(home).map_err(StoreError::io(home))?;
        // Temporary folders are private, exported ones are not.
        let whole = aside.path().join("whole");
        fs::create_dir(&whole).map_err(StoreError::io(&whole))?;
        for file in &manifest.files {
            let source = self.local(&manifest, &file.name).await?;
            let target = whole.join(&file.name);
            tokio::fs::copy(source, &target).await.map_err(StoreError::io(&target))?;
        }
        if !stands {
            fs::rename(&whole, folder).map_err(StoreError::io(folder))?;
            return Ok(manifest);
        }
        for file in &manifest.files {
            let target = folder.join(&file.name);
            fs::rename(whole.join(&file.name), &target).map_err(StoreError::io(&target))?;
        }
        Ok(manifest)
    }

    /// Hashes the file at `path`, a megabyte at a time and off the asynchronous threads.
    pub(super) async fn compare(&self, file: &File, path: &Path) -> Result<()> {
        let (owned, backend) = (path.to_owned(), Arc::clone(&self.inner.backend));
        let hashed = tokio::task::spawn_blocking(move || {
            let mut hasher = blake3::Hasher::new();
            io::copy(&mut io::BufReader::with_capacity(1 << 20, backend.open(&owned)?), &mut hasher)?;
            Ok(hasher.finalize().into())
        });
        let digest = hashed.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        match digest {
            Ok(digest) => file.expect(digest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(file.missing()),
            Err(error) => Err(StoreError::io(path)(error)),
        }
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<File>> {
        self.inner.verified.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The folder that `path` lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

impl File {
    pub(super) fn missing(&self) -> StoreError {
        StoreError::Missing { path: self.path.clone() }
    }

    pub(super) fn expect(&self, digest: Key) -> Result<()> {
        if digest == self.digest {
            return Ok(());
        }
        let (found, expected) = (format!("digest {}", digest.short()), self.digest.short());
        Err(StoreError::Damaged { path: self.path.clone(), found, expected })
    }
}
