//! Putting files and committing manifests.

use std::path::Path;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, WriteMultipart};
use tokio::io::AsyncReadExt;

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
        let upload = self.inner.backend.put_multipart(&location(&path)?).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, CHUNK);
        let mut hasher = blake3::Hasher::new();
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            match (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk).await {
                Ok(0) => break,
                Ok(_) => {
                    hasher.update(&chunk);
                    writer.wait_for_capacity(WRITES).await?;
                    writer.put(chunk.into());
                }
                Err(error) => {
                    writer.abort().await?;
                    return Err(StoreError::io(source)(error));
                }
            }
        }
        let (bytes, digest) = (hasher.count(), hasher.finalize().into());
        writer.finish().await?;
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
        self.inner.backend.put(&location(&file.path)?, bytes.into()).await?;
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
        let path = location(&manifest_path(manifest.key))?;
        let options = PutOptions::from(PutMode::Create);
        match self.inner.backend.put_opts(&path, manifest.to_json().into(), options).await {
            Ok(_) => Ok(manifest.clone()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                self.manifest(manifest.key).await?.ok_or(StoreError::Absent(manifest.key))
            }
            Err(error) => Err(error.into()),
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
            Err(object_store::Error::NotFound { .. }) => Err(StoreError::Missing { path: file.path.clone() }),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn manifest_path(key: Key) -> String {
    format!("artifacts/{key}/manifest.json")
}
