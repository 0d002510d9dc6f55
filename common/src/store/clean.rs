//! Verification and cleaning.
//!
//! Cleaning is safe because it happens alone: everyone who has the store open holds its lock shared,
//! cleaning takes it exclusively and refuses to wait. So whatever no manifest names is rubbish of an
//! attempt that is over. A bucket has no lock: there a person must say that nobody uses it. A manifest goes before its files: killed at any point, cleaning leaves whole
//! artifacts and rubbish, never an artifact with holes.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::{Entry, File, Inner, Lock, Manifest, Result, Store, StoreError};
use crate::Key;

/// What verification saw.
#[derive(Debug, Default)]
pub struct Verification {
    /// Artifacts looked at.
    pub artifacts: u64,
    /// Files compared.
    pub files: u64,
    /// Bytes compared.
    pub bytes: u64,
    /// What is wrong, by key.
    pub faults: Vec<Fault>,
}

/// Something wrong with an artifact. [`Store::repair`] removes it, and the next run makes it anew.
#[derive(Debug)]
pub struct Fault {
    /// The artifact.
    pub key: Key,
    /// Its name, where the manifest can be read.
    pub name: Option<String>,
    /// What is wrong.
    pub error: StoreError,
}

/// What cleaning took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Artifacts removed.
    pub artifacts: u64,
    /// Artifacts kept.
    pub kept: u64,
    /// Folders of attempts that were never committed, or lost.
    pub attempts: u64,
    /// Bytes freed.
    pub bytes: u64,
}

impl Store {
    /// Compares every byte of every artifact with its digest.
    ///
    /// # Errors
    /// If the store cannot be read at all; what is wrong with single artifacts is in the result.
    pub async fn verify(&self) -> Result<Verification> {
        let mut seen = Verification::default();
        for key in self.keys().await? {
            seen.artifacts += 1;
            let manifest = match self.manifest(key).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue,
                Err(error) => {
                    seen.faults.push(Fault { key, name: None, error });
                    continue;
                }
            };
            for file in &manifest.files {
                seen.files += 1;
                seen.bytes += file.bytes;
                let path = self.inner.root.join(&file.path);
                let whole = match self.length(file).await {
                    Ok(()) => self.compare(file, &path).await,
                    wrong => wrong,
                };
                if let Err(error) = whole {
                    seen.faults.push(Fault { key, name: Some(manifest.name.clone()), error });
                }
            }
        }
        Ok(seen)
    }

    /// Verifies, and removes every damaged artifact. What could not be read is left: that may pass.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while anyone else, in this process or another, has the store open; [`StoreError::NoLock`] for
    /// a bucket unless [`Store::vouched`]; or if something cannot be removed.
    pub async fn repair(self) -> Result<(Verification, Swept)> {
        let alone = self.alone()?;
        let seen = alone.verify().await?;
        let damaged = seen.faults.iter().filter(|fault| fault.error.is_damage());
        let damaged: BTreeSet<Key> = damaged.map(|fault| fault.key).collect();
        let mut swept = Swept { kept: seen.artifacts - damaged.len() as u64, ..Swept::default() };
        for folder in alone.entries(&alone.inner.root.join("artifacts")).await? {
            if folder.name().parse().is_ok_and(|key| damaged.contains(&key)) {
                alone.sweep_artifact(&folder, &mut swept).await?;
            }
        }
        Ok((seen, swept))
    }

    /// Removes every artifact that is not in `keep`, and everything that attempts left behind.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while anyone else, in this process or another, has the store open; [`StoreError::NoLock`] for
    /// a bucket unless [`Store::vouched`]; or if something cannot be removed.
    pub async fn gc(self, keep: &BTreeSet<Key>) -> Result<Swept> {
        let alone = self.alone()?;
        let mut swept = Swept::default();
        for folder in alone.entries(&alone.inner.root.join("artifacts")).await? {
            let Ok(key) = folder.name().parse::<Key>() else { continue };
            match if keep.contains(&key) { alone.manifest(key).await } else { Ok(None) } {
                Ok(Some(manifest)) => {
                    swept.kept += 1;
                    alone.sweep_attempts(&folder.path, &manifest, &mut swept).await?;
                }
                Ok(None) => alone.sweep_artifact(&folder, &mut swept).await?,
                // Wanted and damaged: for people to look at, not for cleaning to judge.
                Err(error) if error.is_damage() => swept.kept += 1,
                Err(error) => return Err(error),
            }
        }
        alone.sweep_trainings(keep, &mut swept).await?;
        Ok(swept)
    }

    /// Removes the checkpoints of stages that are not wanted, or done.
    async fn sweep_trainings(&self, keep: &BTreeSet<Key>, swept: &mut Swept) -> Result<()> {
        for (key, folder) in self.trainings().await? {
            let is_done = self.manifest(key).await.is_ok_and(|manifest| manifest.is_some());
            if !keep.contains(&key) || is_done {
                swept.attempts += 1;
                swept.bytes += self.remove(&folder).await?;
            }
        }
        Ok(())
    }

    /// The same store, on the caller's word that nobody else uses it: a bucket has no lock to ask.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another clone of it is there.
    pub fn vouched(self) -> Result<Self> {
        let mut inner = self.only()?;
        if matches!(inner.lock, Lock::None) {
            inner.lock = Lock::Vouched;
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same store, locked against everyone else.
    fn alone(self) -> Result<Self> {
        let mut inner = self.only()?;
        inner.lock = match inner.lock {
            held @ (Lock::Alone(_) | Lock::Vouched) => held,
            Lock::None => return Err(StoreError::NoLock(inner.root)),
            Lock::Shared(shared) => {
                // One handle cannot hold both kinds of lock, so the shared one goes first.
                drop(shared);
                Lock::alone(&inner.root)?
            }
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn only(self) -> Result<Inner> {
        Arc::try_unwrap(self.inner).map_err(|inner| StoreError::InUse(inner.root.clone()))
    }

    /// Removes what the manifest does not name: folders of other attempts, and halves of files.
    async fn sweep_attempts(&self, folder: &Path, manifest: &Manifest, swept: &mut Swept) -> Result<()> {
        let named: BTreeSet<_> =
            manifest.files.iter().filter_map(File::epoch).map(|e| e.to_string()).collect();
        for entry in self.entries(folder).await? {
            if entry.name() != "manifest.json" && !named.contains(entry.name()) {
                swept.attempts += u64::from(entry.is_folder);
                swept.bytes += self.remove(&entry).await?;
            }
        }
        Ok(())
    }

    /// Removes an artifact or, where there is no manifest, the attempts to make it.
    async fn sweep_artifact(&self, folder: &Entry, swept: &mut Swept) -> Result<()> {
        let entries = self.entries(&folder.path).await?;
        if let Some(manifest) = entries.iter().find(|entry| entry.name() == "manifest.json") {
            swept.artifacts += 1;
            swept.bytes += self.remove(manifest).await?;
            // The removal must be on disk before the files go.
            self.inner.backend.sync(&folder.path).await.map_err(StoreError::io(&folder.path))?;
        } else {
            swept.attempts += entries.iter().filter(|entry| entry.is_folder).count() as u64;
        }
        swept.bytes += self.remove(folder).await?;
        Ok(())
    }

    async fn entries(&self, folder: &Path) -> Result<Vec<Entry>> {
        self.inner.backend.entries(folder).await.map_err(StoreError::io(folder))
    }

    /// Removes a file, or a folder with all in it (links are removed, not followed); returns the bytes freed.
    pub(super) async fn remove(&self, entry: &Entry) -> Result<u64> {
        let mut bytes = entry.bytes;
        if entry.is_folder {
            for inner in self.entries(&entry.path).await? {
                bytes += Box::pin(self.remove(&inner)).await?;
            }
        }
        let removed = self.inner.backend.remove(&entry.path, entry.is_folder).await;
        removed.map_err(StoreError::io(&entry.path))?;
        Ok(bytes)
    }
}
