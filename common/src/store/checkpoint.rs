//! Checkpoints of trainings under way: what a gang needs to go on where an earlier one stopped.
//!
//! ```text
//! <store>/training/<key>/<epoch>-<step>/<name>           what each rank left
//! <store>/training/<key>/<epoch>-<step>/checkpoint.json  written last: the checkpoint exists
//! ```
//!
//! Two phases: every rank makes its files durable and says so; once all have, the coordinator commits. As with
//! artifacts nothing is visible before it is whole, and what is read is compared first. Unlike artifacts checkpoints go
//! again: by newer ones, and when their stage is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use super::{Entry, File, Result, Store, StoreError, is_absent, location, manifest, seal};
use crate::Key;

/// Where they lie in the store.
const FOLDER: &str = "training";
/// The file that makes one exist.
const MARK: &str = "checkpoint.json";

/// What a gang left of a training between two steps. As it comes from a file or the network; [`Checkpoint::check`] says
/// whether it can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The stage that is trained.
    pub key: Key,
    /// The epoch of the gang.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Ranks of the gang.
    pub world: u64,
    /// What they left, in the order of ranks.
    pub files: Vec<File>,
}

impl Checkpoint {
    /// Reads what a coordinator or a store says.
    ///
    /// # Errors
    /// If it is no checkpoint of that stage.
    pub fn from_json(key: Key, json: &[u8]) -> Result<Self> {
        let refuse = |reason: String| StoreError::Checkpoint { key, reason };
        let found: Self = seal::read(json).map_err(refuse)?;
        found.check()?;
        if found.key == key { Ok(found) } else { Err(refuse(format!("it is of {}", found.key.short()))) }
    }

    /// As a coordinator or a store keeps it.
    pub fn to_json(&self) -> String {
        String::from_utf8(seal::write(self)).expect("JSON is text")
    }

    /// Whether every file lies where it must.
    ///
    /// # Errors
    /// If one does not, or comes twice.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason| Err(StoreError::Checkpoint { key: self.key, reason });
        let mut names = BTreeSet::new();
        for file in &self.files {
            manifest::check_name(&file.name)?;
            if file.path != path(self.key, self.epoch, self.step, &file.name) {
                return refuse(format!("file {:?} has path {:?}, outside of it", file.name, file.path));
            }
            if !names.insert(&file.name) {
                return refuse(format!("file {:?} comes twice", file.name));
            }
        }
        Ok(())
    }

    /// Where all of its files lie in the store, its mark too.
    pub fn paths(&self) -> Vec<String> {
        let files = self.files.iter().map(|file| file.path.clone());
        files.chain([path(self.key, self.epoch, self.step, MARK)]).collect()
    }

    /// Its place among those of its stage: later steps are newer, and of one step that of the later epoch.
    pub fn age(&self) -> (u64, u64) {
        (self.step, self.epoch)
    }
}

impl Store {
    /// Puts what a rank left, durably.
    ///
    /// # Errors
    /// If the name is not allowed or writing fails.
    pub async fn put_training(
        &self,
        key: Key,
        (epoch, step): (u64, u64),
        name: &str,
        bytes: Bytes,
    ) -> Result<File> {
        manifest::check_name(name)?;
        let path = path(key, epoch, step, name);
        let file = File { name: name.to_owned(), path, bytes: bytes.len() as u64, digest: Key::of(&bytes) };
        self.put_bytes(&file.path, bytes).await?;
        Ok(file)
    }

    /// Makes a checkpoint exist.
    ///
    /// # Errors
    /// If it does not hold together, or a file is not there in its full length.
    pub async fn commit_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check()?;
        for file in &checkpoint.files {
            self.length(file).await?;
        }
        let Checkpoint { key, epoch, step, .. } = *checkpoint;
        let mark = path(key, epoch, step, MARK);
        let options = PutOptions::from(PutMode::Create);
        match self.objects().put_opts(&location(&mark)?, checkpoint.to_json().into(), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(self.refused(&mark)(error)),
        }
    }

    /// The checkpoints of every stage, the newest first. What is none, or cannot be read, is told to the log and left.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub async fn checkpoints(&self) -> Result<BTreeMap<Key, Vec<Checkpoint>>> {
        let mut found: BTreeMap<Key, Vec<Checkpoint>> = BTreeMap::new();
        for (key, folder) in self.trainings().await? {
            for attempt in self.folders(&folder.path).await? {
                match self.mark(key, attempt.name()).await {
                    Ok(checkpoint) => found.entry(key).or_default().extend(checkpoint),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
        for checkpoints in found.values_mut() {
            checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.age()));
        }
        Ok(found)
    }

    /// What the mark in a stage's folder of that name says; nothing where there is none.
    async fn mark(&self, key: Key, attempt: &str) -> Result<Option<Checkpoint>> {
        let path = format!("{FOLDER}/{key}/{attempt}/{MARK}");
        let json = match self.objects().get(&location(&path)?).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match json {
            Ok(json) => Checkpoint::from_json(key, &json).map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.refused(&path)(error)),
        }
    }

    /// The bytes of a file, compared with the digest.
    ///
    /// # Errors
    /// If they are not those that were put.
    pub async fn read_training(&self, file: &File) -> Result<Bytes> {
        self.bytes(file).await
    }

    /// Removes what is older than the `kept` checkpoints of a stage, and of their epoch's predecessors what was never
    /// committed.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn retain_checkpoints(&self, key: Key, kept: &[Checkpoint]) -> Result<()> {
        let Some(newest) = kept.iter().max_by_key(|checkpoint| checkpoint.age()) else { return Ok(()) };
        let keeps: BTreeSet<String> = kept.iter().map(|it| name(it.epoch, it.step)).collect();
        for folder in self.folders(&self.training(key)).await? {
            let Some((epoch, step)) = parse(folder.name()) else { continue };
            // What is newer is being written.
            if !keeps.contains(folder.name()) && step <= newest.step && epoch <= newest.epoch {
                self.forget(&folder).await?;
            }
        }
        Ok(())
    }

    /// Removes what ranks have left of a checkpoint that does not come about.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn discard_checkpoint(&self, key: Key, epoch: u64, step: u64) -> Result<()> {
        self.forget(&folder(self.training(key).join(name(epoch, step)))).await
    }

    /// Removes all checkpoints of a stage.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn drop_checkpoints(&self, key: Key) -> Result<()> {
        let path = self.training(key);
        for attempt in self.folders(&path).await? {
            self.forget(&attempt).await?;
        }
        self.forget(&folder(path)).await
    }

    /// The folders of stages that have left anything.
    pub(super) async fn trainings(&self) -> Result<Vec<(Key, Entry)>> {
        let folders = self.folders(&self.inner.root.join(FOLDER)).await?;
        Ok(folders.into_iter().filter_map(|folder| Some((folder.name().parse().ok()?, folder))).collect())
    }

    fn training(&self, key: Key) -> PathBuf {
        self.inner.root.join(FOLDER).join(key.to_string())
    }

    /// Removes a folder, the mark in it first: killed in between, what is left is no checkpoint.
    async fn forget(&self, folder: &Entry) -> Result<()> {
        let Some(entries) = self.listed(&folder.path).await? else { return Ok(()) };
        if let Some(mark) = entries.iter().find(|entry| entry.name() == MARK) {
            self.remove(mark).await?;
            self.inner.backend.sync(&folder.path).await.map_err(StoreError::io(&folder.path))?;
        }
        self.remove(folder).await.map(|_| ())
    }

    /// The folders in a folder, sorted; none where that is not there.
    async fn folders(&self, path: &Path) -> Result<Vec<Entry>> {
        let entries = self.listed(path).await?.unwrap_or_default();
        Ok(entries.into_iter().filter(|entry| entry.is_folder).collect())
    }

    /// What lies in a folder, where that is there.
    async fn listed(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        match self.inner.backend.entries(path).await {
            Ok(entries) => Ok(Some(entries)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(path)(error)),
        }
    }
}

fn folder(path: PathBuf) -> Entry {
    Entry { path, is_folder: true, bytes: 0 }
}

fn name(epoch: u64, step: u64) -> String {
    format!("{epoch}-{step}")
}

fn parse(name: &str) -> Option<(u64, u64)> {
    let (epoch, step) = name.split_once('-')?;
    Some((epoch.parse().ok()?, step.parse().ok()?))
}

fn path(key: Key, epoch: u64, step: u64, file: &str) -> String {
    format!("{FOLDER}/{key}/{}/{file}", name(epoch, step))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Scene {
        store: Store,
        _folder: tempfile::TempDir,
    }

    const KEY: &[u8] = b"a stage";

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { store: Store::open(folder.path()).unwrap(), _folder: folder }
        }

        async fn put(&self, epoch: u64, step: u64) -> Checkpoint {
            let key = Key::of(KEY);
            let mut files = Vec::new();
            for rank in 0..2u64 {
                let bytes = format!("step {step} of rank {rank}");
                let name = format!("rank-{rank}.bin");
                files.push(self.store.put_training(key, (epoch, step), &name, bytes.into()).await.unwrap());
            }
            Checkpoint { key, epoch, step, world: 2, files }
        }

        async fn keep(&self, epoch: u64, step: u64) -> Checkpoint {
            let checkpoint = self.put(epoch, step).await;
            self.store.commit_checkpoint(&checkpoint).await.unwrap();
            checkpoint
        }

        async fn found(&self) -> Vec<(u64, u64)> {
            let found = self.store.checkpoints().await.unwrap();
            found.into_values().flatten().map(|it| (it.epoch, it.step)).collect()
        }
    }

    #[tokio::test]
    async fn what_is_committed_is_found_the_newest_first() {
        let scene = Scene::new();
        assert_eq!(scene.found().await, []);
        for (epoch, step) in [(7, 10), (7, 9), (9, 10), (8, 2)] {
            scene.keep(epoch, step).await;
        }
        scene.put(9, 11).await;
        assert_eq!(scene.found().await, [(9, 10), (7, 10), (7, 9), (8, 2)]);
        let found = scene.store.checkpoints().await.unwrap().remove(&Key::of(KEY)).unwrap();
        let bytes = scene.store.read_training(&found[0].files[1]).await.unwrap();
        assert_eq!(bytes, "step 10 of rank 1");
    }

    #[tokio::test]
    async fn what_is_damaged_is_not_read_and_what_lacks_a_file_not_committed() {
        let scene = Scene::new();
        let checkpoint = scene.keep(7, 10).await;
        let path = scene.store.home().join(&checkpoint.files[0].path);
        fs::write(&path, "step 11 of rank 0").unwrap();
        assert!(scene.store.read_training(&checkpoint.files[0]).await.unwrap_err().is_damage());
        fs::write(&path, "step").unwrap();
        assert!(scene.store.read_training(&checkpoint.files[0]).await.unwrap_err().is_damage());
        let lacking = scene.put(7, 11).await;
        fs::remove_file(scene.store.home().join(&lacking.files[1].path)).unwrap();
        assert!(scene.store.commit_checkpoint(&lacking).await.unwrap_err().is_damage());
        fs::write(path.with_file_name(MARK), "{}").unwrap();
        assert_eq!(scene.found().await, [], "a mark that says nothing makes no checkpoint");
    }

    #[tokio::test]
    async fn older_ones_go_and_what_is_being_written_stays() {
        let scene = Scene::new();
        let mut kept = Vec::new();
        for (epoch, step) in [(7, 10), (7, 20), (8, 30)] {
            kept.push(scene.keep(epoch, step).await);
        }
        for (epoch, step) in [(7, 25), (8, 40)] {
            scene.put(epoch, step).await;
        }
        scene.store.retain_checkpoints(Key::of(KEY), &kept[1..]).await.unwrap();
        assert_eq!(scene.found().await, [(8, 30), (7, 20)]);
        let folder = scene.store.home().join(FOLDER).join(Key::of(KEY).to_string());
        let left = scene.store.folders(&folder).await.unwrap();
        let left: Vec<_> = left.iter().map(Entry::name).collect();
        assert_eq!(left, ["7-20", "8-30", "8-40"]);
        scene.store.drop_checkpoints(Key::of(KEY)).await.unwrap();
        assert!(!folder.exists());
        scene.store.drop_checkpoints(Key::of(KEY)).await.unwrap();
    }

    #[tokio::test]
    async fn none_points_outside_of_itself() {
        let scene = Scene::new();
        let good = scene.put(7, 10).await;
        for path in ["/etc/passwd", "../x", "training/7-10/rank-0.bin", ""] {
            let mut hostile = good.clone();
            path.clone_into(&mut hostile.files[0].path);
            assert!(Checkpoint::from_json(good.key, hostile.to_json().as_bytes()).is_err(), "{path}");
            assert!(scene.store.commit_checkpoint(&hostile).await.is_err());
        }
        let mut twice = good.clone();
        twice.files[1] = twice.files[0].clone();
        assert!(twice.check().is_err());
        assert!(Checkpoint::from_json(Key::of(b"another"), good.to_json().as_bytes()).is_err());
    }
}
