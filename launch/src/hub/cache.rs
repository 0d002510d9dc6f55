//! One repository in the hub's cache: files are fetched aside, checked, and only then linked into a snapshot.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fulcrum_common::source::{
    HubCache,
    discover::{Split, discover},
    is_commit,
};
use sha2::{Digest, Sha256};

use super::{
    Place,
    client::{Client, Entry},
};

/// A repository at one commit.
pub(super) struct Repository<'a> {
    pub(super) place: Place<'a>,
    client: &'a Client,
    folder: PathBuf,
    commit: String,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Repository<'a> {
    /// Asks the hub which commit the revision is, and what it holds.
    pub(super) fn open(client: &'a Client, cache: &HubCache, place: Place<'a>) -> Result<Self> {
        let listing = client.listing(place)?;
        ensure!(
            is_commit(&listing.sha),
            "the hub names commit {:?} for the {place}, which is none",
            listing.sha
        );
        let entries = listing.siblings.into_iter().map(|entry| (entry.rfilename.clone(), entry)).collect();
        Ok(Self {
            place,
            client,
            folder: cache.repository(place.kind, place.id),
            commit: listing.sha,
            entries,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The names, if the repository has them all.
    pub(super) fn need(&self, names: &[&str]) -> Result<Vec<String>> {
        match names.iter().find(|name| !self.has(name)) {
            Some(name) => bail!("the {} has no file {name}", self.place),
            None => Ok(names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    /// The files of a split, all of which the listing has.
    pub(super) fn split(&self, split: &Split) -> Result<Vec<String>> {
        let names = self.entries.keys().cloned().collect();
        let found = discover(&names, split, &mut |name| {
            let read = || Ok::<_, anyhow::Error>(fs::read(self.fetch(name)?)?);
            read().map_err(|error| format!("{error:#}"))
        });
        found.map_err(|reason| anyhow!("the {}: {reason}", self.place))
    }

    /// Length of these files together, as far as the hub tells.
    pub(super) fn bytes(&self, names: &[String]) -> u64 {
        let sizes = names.iter().filter_map(|name| self.entries.get(name)?.bytes());
        sizes.fold(0, u64::saturating_add)
    }

    /// Brings one file into the snapshot, unless it is there. Returns where it lies.
    pub(super) fn fetch(&self, name: &str) -> Result<PathBuf> {
        let entry =
            self.entries.get(name).with_context(|| format!("the {} has no file {name}", self.place))?;
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(
            plain && !name.contains('\\'),
            "the {} has a file {name:?}, which is no path in it",
            self.place
        );
        let link = self.folder.join("snapshots").join(&self.commit).join(name);
        if link.is_file() {
            return Ok(link);
        }
        let blob = self
            .blob(name, entry)
            .with_context(|| format!("{name} of the {} was not fetched", self.place))?;
        // From the folder of the link up to that of the repository.
        let up = "../".repeat(2 + name.matches('/').count());
        let target = format!("{up}blobs/{}", blob.file_name().unwrap_or_default().display());
        let parent = link.parent().context("a file of a snapshot has a folder")?;
        fs::create_dir_all(parent)?;
        let aside = tempfile::tempdir_in(parent)?;
        symlink(target, aside.path().join("link"))?;
        fs::rename(aside.path().join("link"), &link)?;
        Ok(link)
    }

    /// Lets the revision lead to the commit.
    pub(super) fn commit(&self) -> Result<()> {
        if is_commit(self.place.id.revision()) {
            return Ok(());
        }
        let reference = self.folder.join("refs").join(self.place.id.revision());
        let parent = reference.parent().context("a revision lies in a folder")?;
        fs::create_dir_all(parent)?;
        let mut aside = tempfile::NamedTempFile::new_in(parent)?;
        aside.write_all(self.commit.as_bytes())?;
        aside.persist(&reference)?;
        Ok(())
    }

    /// The bytes of a file, under the name that the hub gives its content.
    fn blob(&self, name: &str, entry: &Entry) -> Result<PathBuf> {
        let etag = entry.etag().context("the hub does not say what its content is")?;
        let blobs = self.folder.join("blobs");
        let locks = self.folder.with_file_name(".locks").join(self.folder.file_name().unwrap_or_default());
        fs::create_dir_all(&blobs)?;
        fs::create_dir_all(&locks)?;
        let blob = blobs.join(etag);
        // Held by one of all programs that fetch this file, and never removed.
        let lock = locks.join(format!("{etag}.lock"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
        lock.lock()?;
        if !blob.is_file() {
            let partial = blobs.join(format!("{etag}.incomplete"));
            self.download(name, entry, &partial)?;
            fs::rename(&partial, &blob)?;
        }
        Ok(blob)
    }

    /// Fetches what is missing of a partial file, and checks the whole. What fails the check is discarded.
    fn download(&self, name: &str, entry: &Entry, partial: &Path) -> Result<()> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(partial)?;
        let checked = self.client.patiently(|| self.append(name, entry, &mut file)).and_then(|()| {
            file.sync_all()?;
            check(&mut file, entry)
        });
        if let Err(error) = &checked
            && error.is::<Corrupt>()
        {
            fs::remove_file(partial)?;
        }
        checked
    }

    fn append(&self, name: &str, entry: &Entry, file: &mut File) -> Result<()> {
        let mut have = file.seek(io::SeekFrom::End(0))?;
        let size = entry.bytes();
        // Where nobody knows how long it is, a part is no use.
        if size.is_none_or(|size| have > size) {
            empty(file)?;
            have = 0;
        }
        if have > 0 && size == Some(have) {
            return Ok(());
        }
        let response = self.client.file(self.place, &self.commit, name, have, entry)?;
        if response.start != have {
            empty(file)?;
        }
        // One byte more than there may be tells a server that sends too much.
        let room = size.map_or(u64::MAX, |size| (size - response.start).saturating_add(1));
        io::copy(&mut response.body.take(room), file)?;
        Ok(())
    }
}

fn empty(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()
}

/// A file that is not what the hub said it would be.
#[derive(Debug, thiserror::Error)]
#[error("what came is not what the hub lists ({0}): try again")]
struct Corrupt(String);

fn check(file: &mut File, entry: &Entry) -> Result<()> {
    let bytes = file.metadata()?.len();
    if let Some(size) = entry.bytes().filter(|size| *size != bytes) {
        return Err(Corrupt(format!("{bytes} bytes, not {size}")).into());
    }
    if let Some(expected) = entry.sha256() {
        let mut hash = Sha256::new();
        file.rewind()?;
        io::copy(file, &mut hash)?;
        let found = format!("{:x}", hash.finalize());
        if found != expected {
            return Err(Corrupt(format!("sha256 {}..., not {}...", &found[..8], &expected[..8])).into());
        }
    }
    Ok(())
}
