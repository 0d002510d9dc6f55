//! Faults on purpose: a folder whose disk fills up, fails, forgets, tears and flips, at operations that a seed chooses.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Cursor, Read},
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    local::LocalFileSystem, path::Path,
};

use super::{Backend, Entry};
use crate::rng::Rng;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// ENOSPC; nothing comes of it.
    Full,
    /// EIO; nothing comes of it.
    Broken,
    /// EIO when the bytes are synced: some are there.
    Unsynced,
    /// It is done, and only the answer is EIO.
    Unanswered,
    /// It reports success, and a crash leaves the beginning of the file.
    Torn,
    /// It reports success, and a crash leaves nothing.
    Lost,
    /// One bit is another: for good in what is written, this once in what is read.
    Flipped,
    /// What is there is not found this once.
    Missing,
    /// Fewer bytes are read than there are.
    Short,
}

use Wrong::{Broken, Flipped, Full, Lost, Missing, Short, Torn, Unanswered, Unsynced};

/// What can go wrong with bytes on their way to the disk, and on their way back.
const WRITES: &[Wrong] = &[Full, Broken, Unsynced, Unanswered, Torn, Lost, Flipped];
const READS: &[Wrong] = &[Broken, Missing, Flipped, Short];

/// Decides what goes wrong, and counts it. Clones share it.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug)]
struct Plan {
    rng: Rng,
    chance: f64,
    counts: Counts,
}

/// Faults that struck, by what was done to what, and how it went wrong.
pub type Counts = BTreeMap<(String, Wrong), u64>;

impl Faults {
    /// None, until they get a chance.
    pub fn new(seed: u64) -> Self {
        let (rng, counts) = (Rng::new(seed, "faults of a store", 0), Counts::new());
        Self(Arc::new(Mutex::new(Plan { rng, chance: 0.0, counts })))
    }

    /// How likely each operation goes wrong from here on.
    pub fn chance(&self, chance: f64) {
        self.plan().chance = chance;
    }

    /// Those so far.
    pub fn counts(&self) -> Counts {
        self.plan().counts.clone()
    }

    /// Damages a file that lies on the disk, for good.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn rot(&self, path: &FilePath) -> io::Result<()> {
        let wrong = self.plan().choose("disk", &path.to_string_lossy(), &[Torn, Lost, Flipped]);
        self.mangle(wrong, path)
    }

    fn strikes(&self, act: &str, path: &str, kinds: &[Wrong]) -> Option<Wrong> {
        let mut plan = self.plan();
        let chance = plan.chance;
        (chance > 0.0 && plan.rng.chance(chance)).then(|| plan.choose(act, path, kinds))
    }

    /// What a crash makes of a file that was written.
    fn mangle(&self, wrong: Wrong, path: &FilePath) -> io::Result<()> {
        match wrong {
            Lost => fs::remove_file(path),
            Torn | Unsynced | Flipped => fs::write(path, self.spoil(wrong, fs::read(path)?)),
            Full | Broken | Unanswered | Missing | Short => Ok(()),
        }
    }

    /// Bytes with a bit flipped, or fewer of them.
    fn spoil(&self, wrong: Wrong, mut bytes: Vec<u8>) -> Vec<u8> {
        if !bytes.is_empty() {
            let mut plan = self.plan();
            let (at, bit) = (plan.rng.index(bytes.len()), plan.rng.below(8));
            if wrong == Flipped { bytes[at] ^= 1 << bit } else { bytes.truncate(at) }
        }
        bytes
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn choose(&mut self, act: &str, path: &str, kinds: &[Wrong]) -> Wrong {
        let wrong = kinds[self.rng.index(kinds.len())];
        *self.counts.entry((format!("{act} {}", what(path)), wrong)).or_default() += 1;
        wrong
    }
}

/// What kind of file lies at a path.
fn what(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.split_once('.') {
        Some(("checkpoint", "json")) => "mark",
        Some(("manifest", "json")) => "manifest",
        Some((_, "header")) => "header",
        Some((_, "safetensors")) => "tensors",
        Some(_) => "file",
        None => "folder",
    }
}

/// A folder, with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: LocalFileSystem,
    root: PathBuf,
    faults: Faults,
}

impl Faulty {
    /// Over the back-end of a store in `root`.
    pub fn new(inner: LocalFileSystem, root: &FilePath, faults: Faults) -> Self {
        Self { inner, root: root.to_owned(), faults }
    }

    /// What became of a file that was written, and what is said of it.
    fn written<T>(&self, wrong: Option<Wrong>, location: &Path, answer: T) -> Result<T> {
        let Some(wrong) = wrong else { return Ok(answer) };
        self.faults.mangle(wrong, &self.root.join(location.as_ref())).map_err(generic)?;
        if matches!(wrong, Unsynced | Unanswered) { Err(refusal(wrong)) } else { Ok(answer) }
    }

    /// An operation that only the operating system can refuse.
    fn act(&self, act: &str, path: &FilePath) -> io::Result<()> {
        match self.faults.strikes(act, &path.to_string_lossy(), &[Broken]) {
            Some(wrong) => Err(system(wrong)),
            None => Ok(()),
        }
    }
}

fn system(wrong: Wrong) -> io::Error {
    let (enospc, eio) = (28, 5);
    io::Error::from_raw_os_error(if wrong == Full { enospc } else { eio })
}

fn generic(error: io::Error) -> Error {
    Error::Generic { store: "Faulty", source: Box::new(error) }
}

fn refusal(wrong: Wrong) -> Error {
    generic(system(wrong))
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with faults", self.inner)
    }
}

#[async_trait]
impl Backend for Faulty {
    fn objects(&self) -> &dyn ObjectStore {
        self
    }

    fn open(&self, path: &FilePath) -> io::Result<Box<dyn Read + Send>> {
        let wrong = self.faults.strikes("open", &path.to_string_lossy(), READS);
        match wrong {
            Some(Missing) => Err(io::ErrorKind::NotFound.into()),
            Some(wrong @ (Flipped | Short)) => {
                Ok(Box::new(Cursor::new(self.faults.spoil(wrong, fs::read(path)?))))
            }
            Some(wrong) => Err(system(wrong)),
            None => self.inner.open(path),
        }
    }

    async fn entries(&self, folder: &FilePath) -> io::Result<Vec<Entry>> {
        self.act("list", folder)?;
        self.inner.entries(folder).await
    }

    async fn remove(&self, path: &FilePath, is_folder: bool) -> io::Result<()> {
        self.act("remove", path)?;
        self.inner.remove(path, is_folder).await
    }

    async fn sync(&self, folder: &FilePath) -> io::Result<()> {
        self.act("sync", folder)?;
        self.inner.sync(folder).await
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let wrong = self.faults.strikes("put", location.as_ref(), WRITES);
        if let Some(wrong @ (Full | Broken)) = wrong {
            return Err(refusal(wrong));
        }
        let put = self.inner.put_opts(location, payload, opts).await?;
        self.written(wrong, location, put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let wrong = self.faults.strikes("put", location.as_ref(), WRITES);
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        let (path, faults) = (self.root.join(location.as_ref()), self.faults.clone());
        Ok(Box::new(Upload { inner, wrong, path, faults }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kinds = if options.head { &READS[..2] } else { READS };
        let act = if options.head { "look at" } else { "get" };
        let wrong = self.faults.strikes(act, location.as_ref(), kinds);
        match wrong {
            Some(Missing) => {
                let source = Box::new(io::Error::from(io::ErrorKind::NotFound));
                Err(Error::NotFound { path: location.to_string(), source })
            }
            Some(wrong @ (Flipped | Short)) => {
                let mut found = self.inner.get_opts(location, options).await?;
                let (meta, range) = (found.meta.clone(), found.range.clone());
                let (attributes, extensions) =
                    (found.attributes.clone(), std::mem::take(&mut found.extensions));
                let bytes = Bytes::from(self.faults.spoil(wrong, found.bytes().await?.to_vec()));
                let stream = futures::stream::once(async move { Ok(bytes) }).boxed();
                let payload = GetResultPayload::Stream(stream);
                Ok(GetResult { payload, meta, range, attributes, extensions })
            }
            Some(wrong) => Err(refusal(wrong)),
            None => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.faults.strikes("list", prefix.map(Path::as_ref).unwrap_or_default(), &[Broken]) {
            Some(wrong) => Err(refusal(wrong)),
            None => self.inner.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A file that is written in parts.
#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    wrong: Option<Wrong>,
    path: PathBuf,
    faults: Faults,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.wrong {
            Some(Full) => Box::pin(async { Err(refusal(Full)) }),
            _ => self.inner.put_part(data),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if let Some(wrong @ (Full | Broken)) = self.wrong {
            return Err(refusal(wrong));
        }
        let put = self.inner.complete().await?;
        match self.wrong {
            Some(wrong) => {
                self.faults.mangle(wrong, &self.path).map_err(generic)?;
                if matches!(wrong, Unsynced | Unanswered) { Err(refusal(wrong)) } else { Ok(put) }
            }
            None => Ok(put),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
