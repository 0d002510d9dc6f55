//! What a store is tested on: a folder, or a bucket behind a proxy that can break requests.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;

use super::{
    super::{Access, Bucket, Place, Store, location},
    moto::{Moto, moto},
    proxy::Proxy,
};

/// What stands in a store beside artifacts.
const OWN: [&str; 3] = ["lock", "identity", "conditional-put"];

/// A place for stores, and a folder outside of it.
pub(super) struct Ground {
    kind: Kind,
    outside: tempfile::TempDir,
}

enum Kind {
    Folder(tempfile::TempDir),
    Bucket { bucket: Bucket, server: &'static Moto, proxy: Proxy },
}

impl Ground {
    pub(super) fn folder() -> Self {
        Self { kind: Kind::Folder(tempfile::tempdir().unwrap()), outside: tempfile::tempdir().unwrap() }
    }

    /// None where tests of buckets are left out.
    pub(super) fn bucket() -> Option<Self> {
        moto().map(Self::on)
    }

    fn on(server: &'static Moto) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.make_bucket(&name);
        let Ok(Place::Bucket(bucket)) = format!("s3://{name}/a/store").parse() else { panic!("{name}") };
        let kind = Kind::Bucket { bucket, server, proxy: Proxy::before(server.address()) };
        Self { kind, outside: tempfile::tempdir().unwrap() }
    }

    /// Of the same kind.
    pub(super) fn another(&self) -> Self {
        match &self.kind {
            Kind::Folder(_) => Self::folder(),
            Kind::Bucket { server, .. } => Self::on(server),
        }
    }

    /// What stands before the server.
    pub(super) fn proxy(&self) -> &Proxy {
        match &self.kind {
            Kind::Folder(_) => panic!("nothing stands before a folder"),
            Kind::Bucket { proxy, .. } => proxy,
        }
    }

    /// As another process would open it.
    pub(super) fn open(&self) -> Store {
        match &self.kind {
            Kind::Folder(folder) => Store::open(folder.path()).unwrap(),
            Kind::Bucket { bucket, .. } => self.reach(bucket),
        }
    }

    /// A store in a bucket of the server.
    pub(super) fn reach(&self, bucket: &Bucket) -> Store {
        let endpoint = format!("http://{}", self.proxy().address());
        let access = Access::read(|name| match name {
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("testing".to_owned()),
            "AWS_ENDPOINT_URL" => Some(endpoint.clone()),
            _ => None,
        });
        Store::in_bucket(bucket, access.unwrap().impatient(), &self.outside().join("cache")).unwrap()
    }

    /// A store that may be cleaned.
    pub(super) fn alone(&self, store: Store) -> Store {
        match &self.kind {
            Kind::Folder(_) => store,
            Kind::Bucket { .. } => store.vouched().unwrap(),
        }
    }

    /// A folder for what is not in the store.
    pub(super) fn outside(&self) -> &Path {
        self.outside.path()
    }

    pub(super) async fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        match &self.kind {
            Kind::Folder(folder) => std::fs::write(folder.path().join(path), bytes).unwrap(),
            Kind::Bucket { .. } => {
                let bytes = Bytes::copy_from_slice(bytes.as_ref());
                self.open().objects().put(&location(path).unwrap(), bytes.into()).await.unwrap();
            }
        }
    }

    pub(super) async fn erase(&self, path: &str) {
        match &self.kind {
            Kind::Folder(folder) => std::fs::remove_file(folder.path().join(path)).unwrap(),
            Kind::Bucket { .. } => self.open().objects().delete(&location(path).unwrap()).await.unwrap(),
        }
    }

    pub(super) async fn bytes(&self, path: &str) -> Vec<u8> {
        match &self.kind {
            Kind::Folder(folder) => std::fs::read(folder.path().join(path)).unwrap(),
            Kind::Bucket { .. } => {
                let store = self.open();
                store.objects().get(&location(path).unwrap()).await.unwrap().bytes().await.unwrap().to_vec()
            }
        }
    }

    /// Every file of the store but those that stand in any.
    pub(super) async fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        match &self.kind {
            Kind::Folder(folder) => walk(folder.path(), folder.path(), &mut found),
            Kind::Bucket { .. } => {
                let store = self.open();
                let listed: Vec<_> = store.objects().list(None).try_collect().await.unwrap();
                found.extend(listed.into_iter().map(|meta| meta.location.to_string()));
            }
        }
        found.retain(|path| !OWN.contains(&path.as_str()));
        found
    }
}

fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, root, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// Tests of the surrounding module, each on a folder and on a bucket.
macro_rules! everywhere {
    ($($test:ident,)*) => {
        mod on_a_folder {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Ground::folder()).await;
            })*
        }

        mod on_a_bucket {
            $(#[tokio::test]
            async fn $test() {
                if let Some(ground) = super::Ground::bucket() {
                    super::$test(ground).await;
                }
            })*
        }
    };
}

pub(super) use everywhere;
