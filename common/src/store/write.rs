//! Putting files and committing manifests.

use std::path::Path;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutOptions};
use tokio::{fs, io::AsyncReadExt, task::JoinSet};

use super::{File, Manifest, Result, Store, StoreError, bucket, is_absent, location, manifest};
use crate::{Key, fault::point};

/// Bytes per read, and how many such writes may be under way.
const CHUNK: usize = 4 << 20;
const WRITES: usize = 2;

/// How often a commit asks again where a server says that there are several at once, and shows none of them yet.
const ASKS: usize = 10;

impl Store {
    /// Puts a file of this machine into the store, durably. The original stays.
    ///
    /// # Errors
    /// If the name is not allowed, or reading or writing fails; then nothing is left behind.
    pub async fn put_file(&self, key: Key, epoch: u64, name: &str, source: &Path) -> Result<File> {
        manifest::check_name(name)?;
        point("store.put.before")?;
        let path = manifest::path(key, epoch, name);
        let mut reader = fs::File::open(source).await.map_err(StoreError::io(source))?;
        let length = reader.metadata().await.map_err(StoreError::io(source))?.len();
        let file = if self.inner.remote.is_none() {
            self.put_parts(&path, &mut reader, source, CHUNK).await?
        } else if length < bucket::PART as u64 {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.map_err(StoreError::io(source))?;
            let (length, digest) = (bytes.len() as u64, Key::of(&bytes));
            self.put_bytes(&path, bytes.into()).await?;
            (length, digest)
        } else {
            self.put_parts(&path, &mut reader, source, bucket::part(length)).await?
        };
        point("store.put.after")?;
        Ok(File { name: name.to_owned(), path, bytes: file.0, digest: file.1 })
    }

    /// Puts what is read, part by part; its length and digest.
    async fn put_parts(
        &self,
        path: &str,
        reader: &mut fs::File,
        source: &Path,
        part: usize,
    ) -> Result<(u64, Key)> {
        let upload = self.objects().put_multipart(&location(path)?).await;
        let mut upload = upload.map_err(self.refused(path))?;
        let mut parts = JoinSet::new();
        let mut hasher = blake3::Hasher::new();
        let put = async {
            loop {
                let mut chunk = Vec::with_capacity(part);
                let read = reader.take(part as u64).read_to_end(&mut chunk).await;
                if read.map_err(StoreError::io(source))? == 0 {
                    break;
                }
                hasher.update(&chunk);
                written(&mut parts, WRITES - 1).await.map_err(self.refused(path))?;
                parts.spawn(upload.put_part(chunk.into()));
            }
            written(&mut parts, 0).await.map_err(self.refused(path))?;
            self.complete(upload.as_mut(), path, hasher.count()).await
        };
        let put = put.await;
        // A folder's upload leaves nothing behind when it is dropped, and one that is asked to abort after it could not
        // complete tells that instead of the cause. A bucket keeps parts, and bills them.
        if put.is_err() && self.inner.remote.is_some() {
            parts.shutdown().await;
            let _ = upload.abort().await;
        }
        put.map(|()| (hasher.count(), hasher.finalize().into()))
    }

    /// Completes an upload. Where the answer to that was lost, the server knows no such upload the next time it is asked.
    async fn complete(&self, upload: &mut dyn MultipartUpload, path: &str, bytes: u64) -> Result<()> {
        match upload.complete().await {
            Ok(_) => Ok(()),
            Err(error) if self.inner.remote.is_some() && is_absent(&error) => {
                match self.objects().head(&location(path)?).await {
                    Ok(meta) if meta.size == bytes => Ok(()),
                    _ => Err(self.refused(path)(error)),
                }
            }
            Err(error) => Err(self.refused(path)(error)),
        }
    }

    /// Puts bytes into the store, durably.
    ///
    /// # Errors
    /// If the name is not allowed or writing fails; then nothing is left behind.
    pub async fn put(&self, key: Key, epoch: u64, name: &str, bytes: Bytes) -> Result<File> {
        manifest::check_name(name)?;
        let path = manifest::path(key, epoch, name);
        let file = File { name: name.to_owned(), path, bytes: bytes.len() as u64, digest: Key::of(&bytes) };
        self.put_bytes(&file.path, bytes).await?;
        Ok(file)
    }

    /// Puts bytes, a bucket's in parts where they are many.
    pub(super) async fn put_bytes(&self, path: &str, bytes: Bytes) -> Result<()> {
        let is_large = self.inner.remote.is_some() && bytes.len() >= 2 * bucket::PART;
        if !is_large {
            let put = self.objects().put(&location(path)?, bytes.into()).await;
            return put.map(|_| ()).map_err(self.refused(path));
        }
        let (length, part) = (bytes.len(), bucket::part(bytes.len() as u64));
        let upload = self.objects().put_multipart(&location(path)?).await;
        let mut upload = upload.map_err(self.refused(path))?;
        let mut parts = JoinSet::new();
        let put = async {
            for begin in (0..length).step_by(part) {
                written(&mut parts, WRITES - 1).await.map_err(self.refused(path))?;
                parts.spawn(upload.put_part(bytes.slice(begin..length.min(begin + part)).into()));
            }
            written(&mut parts, 0).await.map_err(self.refused(path))?;
            self.complete(upload.as_mut(), path, length as u64).await
        };
        let put = put.await;
        if put.is_err() {
            parts.shutdown().await;
            let _ = upload.abort().await;
        }
        put
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
        if let Some(remote) = &self.inner.remote {
            remote.prove(self.objects()).await?;
        }
        let path = manifest_path(manifest.key);
        for _ in 0..ASKS {
            let options = PutOptions::from(PutMode::Create);
            match self.objects().put_opts(&location(&path)?, manifest.to_json().into(), options).await {
                Ok(_) => return Ok(manifest.clone()),
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(self.refused(&path)(error)),
            }
            if let Some(standing) = self.manifest(manifest.key).await? {
                return Ok(standing);
            }
        }
        Err(StoreError::Absent(manifest.key))
    }

    /// Checks that a file is there in the length that its manifest states.
    pub(super) async fn length(&self, file: &File) -> Result<()> {
        match self.objects().head(&location(&file.path)?).await {
            Ok(meta) if meta.size == file.bytes => Ok(()),
            Ok(meta) => Err(StoreError::Damaged {
                path: file.path.clone(),
                found: format!("{} bytes", meta.size),
                expected: file.bytes.to_string(),
            }),
            Err(error) if is_absent(&error) => Err(file.missing()),
            Err(error) => Err(self.refused(&file.path)(error)),
        }
    }
}

/// Waits until no more than so many parts are under way.
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
