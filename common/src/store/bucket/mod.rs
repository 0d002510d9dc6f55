//! A store in a bucket of S3-compatible object storage.
//!
//! `object_store` speaks the protocol, signs and tries again; requests travel over `ureq` ([`http`]), as those to the hub
//! do. What makes an artifact exist rests on one promise of the server, that an object is made only where there is none
//! (`If-None-Match: *`); it is proved before the first commit of a process.

mod access;
mod http;
mod pieces;
mod trouble;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut},
    path::Path as Location,
    prefix::PrefixStore,
};
use tokio::sync::OnceCell;

pub use access::{Access, AccessError};
pub use trouble::Trouble;

use super::{Backend, Bucket, Entry, Result, StoreError, copies::Copies, location};
use http::Connector;

/// Bytes of one part of a large file, and of one piece that is read; the service takes parts from 5 MiB on.
pub(super) const PART: usize = 16 << 20;

/// Parts that a file may have.
const PARTS: u64 = 10_000;

/// The object that shows whether the server makes objects only where there are none. It stays, for the next to ask.
const PROOF: &str = "conditional-put";

/// How many bytes the parts of a file have.
pub(super) fn part(bytes: u64) -> usize {
    // A part more than needed: the file may be growing.
    let least = usize::try_from(bytes / (PARTS - 1)).unwrap_or(usize::MAX);
    PART.max(least.next_multiple_of(1 << 20))
}

/// What is particular to a bucket.
#[derive(Debug)]
pub(super) struct Remote {
    bucket: Bucket,
    copies: Copies,
    proved: OnceCell<()>,
}

impl Remote {
    pub(super) fn new(bucket: Bucket, copies: Copies) -> Self {
        Self { bucket, copies, proved: OnceCell::new() }
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(super) fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Makes sure, once per process, that the server makes an object only where there is none: one that takes no notice
    /// of the condition would let two commits win.
    pub(super) async fn prove(&self, objects: &dyn ObjectStore) -> Result<()> {
        let path = || PathBuf::from(format!("{}/{PROOF}", self.bucket));
        let put = async || {
            let options = PutOptions::from(PutMode::Create);
            match objects.put_opts(&location(PROOF)?, "fulcrum".into(), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(StoreError::Bucket { path: path(), why: Trouble::of(&error) }),
            }
        };
        let prove = async || match put().await? && put().await? {
            true => Err(StoreError::Bucket { path: path(), why: Trouble::Unconditional }),
            false => Ok(()),
        };
        self.proved.get_or_try_init(prove).await.map(|_| ())
    }
}

/// The objects of a store.
#[derive(Debug)]
pub(super) struct Objects {
    root: PathBuf,
    objects: Arc<PrefixStore<AmazonS3>>,
}

impl Objects {
    pub(super) fn new(bucket: &Bucket, access: Access) -> Result<Self, AccessError> {
        let patience = access.patience;
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: patience.first, max_backoff: patience.longest, base: 2.0 },
            max_retries: patience.tries.saturating_sub(1),
            retry_timeout: patience.whole,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket.name())
            .with_region(access.region)
            .with_access_key_id(access.key)
            .with_secret_access_key(access.secret)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // Not every server has it.
            .with_disable_bulk_delete(true)
            .with_retry(retry)
            .with_http_connector(Connector::new(access.is_loopback, access.certificates));
        if let Some(token) = access.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = access.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let objects = builder.build().map_err(|error| AccessError::Client(error.to_string()))?;
        let objects = Arc::new(PrefixStore::new(objects, bucket.prefix()));
        Ok(Self { root: bucket.to_string().into(), objects })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn location(&self, path: &Path) -> io::Result<Location> {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        Location::parse(inside.to_string_lossy()).map_err(io::Error::other)
    }
}

/// What the server says, where the operating system would say it.
fn told(error: &object_store::Error) -> io::Error {
    match Trouble::of(error) {
        Trouble::Absent => io::ErrorKind::NotFound.into(),
        trouble => io::Error::other(trouble),
    }
}

#[async_trait]
impl Backend for Objects {
    fn objects(&self) -> &dyn ObjectStore {
        self.objects.as_ref()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let objects: Arc<dyn ObjectStore> = Arc::clone(&self.objects) as _;
        Ok(Box::new(pieces::Pieces::new(objects, self.location(path)?)))
    }

    async fn entries(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let listed = self.objects.list_with_delimiter(Some(&self.location(folder)?)).await;
        let listed = listed.map_err(|error| told(&error))?;
        let path = |location: &Location| self.root.join(location.as_ref());
        let folders = listed.common_prefixes.iter();
        let folders = folders.map(|it| Entry { path: path(it), is_folder: true, bytes: 0 });
        let files = listed.objects.iter();
        let files = files.map(|it| Entry { path: path(&it.location), is_folder: false, bytes: it.size });
        let mut entries: Vec<_> = folders.chain(files).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    async fn remove(&self, path: &Path, is_folder: bool) -> io::Result<()> {
        if is_folder {
            // It is but the beginning of names, and gone with the last of them.
            return Ok(());
        }
        self.objects.delete(&self.location(path)?).await.map_err(|error| told(&error))
    }

    async fn sync(&self, _folder: &Path) -> io::Result<()> {
        // What the server has answered is done.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_has_parts_that_the_service_takes() {
        for (bytes, expected) in [(0, PART), (1 << 30, PART), (1 << 40, 105 << 20)] {
            assert_eq!(part(bytes), expected, "{bytes}");
            assert!(bytes.div_ceil(part(bytes) as u64) <= PARTS, "{bytes}");
        }
    }
}
