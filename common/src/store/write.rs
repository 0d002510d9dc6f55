//! Putting files and committing manifests.

use std::path::Path;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::{io::AsyncReadExt, task::JoinSet};

use super::{File, Manifest, Result, Store, StoreError, location, manifest};
use crate::{Key, fault::point};

/// Bytes per read, and how many such writes may be under way.
const CHUNK: usize = 4 << 20;
const WRITES: usize = 2;

impl Store {
    /// Puts a file of this machine into the store, durably. The original stays.
    ///
    /// # Errors
    /// If the name is not allowed, or reading or writing fails; then nothing is left behind.
    pub async fn put_file(&self, key: Key, epoch: u64, name: &str, source: &Path) -> Result<File> {
        manifest::check_name(name)?;
        point("store.put.before")?;
        let path = manifest::path(key, epoch, name);
        let mut reader = tokio::fs::File::open(source).await.map_err(StoreError::io(source))?;
        let upload = self.inner.backend.put_multipart(&location(&path)?).await;
        let mut upload = upload.map_err(self.refused(&path))?;
        let mut parts = JoinSet::new();
        let mut hasher = blake3::Hasher::new();
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk).await;
            if read.map_err(StoreError::io(source))? == 0 {
                break;
            }
            hasher.update(&chunk);
            written(&mut parts, WRITES - 1).await.map_err(self.refused(&path))?;
            parts.spawn(upload.put_part(chunk.into()));
        }
        let (bytes, digest) = (hasher.count(), hasher.finalize().into());
        written(&mut parts, 0).await.map_err(self.refused(&path))?;
        upload.complete().await.map_err(self.refused(&path))?;
        point("store.put.after")?;
        Ok(File { name: name.to_owned(), path, bytes, digest })
    }

    /// Puts bytes into the store, durably.
    ///
    /// # Errors
    /// If the name is not allowed or writing fails; then nothing is left behind.
    pub async fn put(&self, key: Key, epoch: u64, name: &str, bytes: Bytes) -> Result<File> {
        manifest::check_name(name)?;
        let path = manifest::path(key, epoch, name);
        let file = File { name: name.to_owned(), path, bytes: bytes.len() as u64, digest: Key::of(&bytes) };
        let put = self.inner.backend.put(&location(&file.path)?, bytes.into()).await;
        put.map_err(self.refused(&file.path))?;
        Ok(file)
    }

    /// Makes an artifact exist. Where one stands under the key already it stays, and is returned:
    /// whoever asks learns which bytes the key has.
    ///
    /// # Errors
    /// If the manifest does not hold together, or a file is not there in its full length.
    pub async fn commit(&self, manifest: &Manifest) -> Result<Manifest> {
        manifest.check()?;
        for file in &manifest.files {
            self.length(file).await?;
        }
        let path = manifest_path(manifest.key);
        let options = PutOptions::from(PutMode::Create);
        match self.inner.backend.put_opts(&location(&path)?, manifest.to_json().into(), options).await {
            Ok(_) => Ok(manifest.clone()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                self.manifest(manifest.key).await?.ok_or(StoreError::Absent(manifest.key))
            }
            Err(error) => Err(self.refused(&path)(error)),
        }
    }

    /// Checks that a file is there in the length that its manifest states.
    pub(super) async fn length(&self, file: &File) -> Result<()> {
        match self.inner.backend.head(&location(&file.path)?).await {
            Ok(meta) if meta.size == file.bytes => Ok(()),
            Ok(meta) => Err(StoreError::Damaged {
                path: file.path.clone(),
                found: format!("{} bytes", meta.size),
                expected: file.bytes.to_string(),
            }),
            Err(object_store::Error::NotFound { .. }) => Err(file.missing()),
            Err(error) => Err(self.refused(&file.path)(error)),
        }
    }
}

/// Waits until no more than so many parts are under way. An upload that is dropped leaves nothing behind; one that is
/// asked to abort after it could not complete tells that instead of the cause.
async fn written(parts: &mut JoinSet<object_store::Result<()>>, most: usize) -> object_store::Result<()> {
    while parts.len() > most
        && let Some(part) = parts.join_next().await
    {
        part??;
    }
    Ok(())
}

pub(super) fn manifest_path(key: Key) -> String {
    format!("artifacts/{key}/manifest.json")
}
