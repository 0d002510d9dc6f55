//! The store: files under epochs, manifests and checkpoints that make them count, and what a disk does to them.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    Key,
    invariant::{Invariant, uphold},
    store::{Checkpoint, File, Manifest},
};

/// Everything that survives every process.
#[derive(Default)]
pub(super) struct Store {
    /// Content by path.
    files: BTreeMap<String, Key>,
    manifests: BTreeMap<Key, Manifest>,
    checkpoints: BTreeMap<Key, BTreeMap<(u64, u64), Checkpoint>>,
    /// Until when nothing can be committed.
    pub(super) full: u64,
}

/// A commit that did not come about.
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) damaged: bool,
}

impl Store {
    /// Makes a file durable.
    pub(super) fn put(&mut self, name: String, path: String, content: Key) -> File {
        let digest = digest(content);
        self.files.insert(path.clone(), content);
        File { name, path, bytes: 32, digest }
    }

    /// The content of a file; none where it is lost or not what was written.
    pub(super) fn read(&self, file: &File) -> Option<Key> {
        self.files.get(&file.path).copied().filter(|content| digest(*content) == file.digest)
    }

    /// As the real one: all files must be there, and whichever manifest comes first stays.
    pub(super) fn commit(&mut self, manifest: &Manifest, now: u64) -> Result<Manifest, Refused> {
        if now < self.full {
            return Err(Refused { message: "no space left".to_owned(), damaged: false });
        }
        if let Some(file) = manifest.files.iter().find(|file| !self.files.contains_key(&file.path)) {
            return Err(Refused { message: format!("{} is missing", file.path), damaged: true });
        }
        Ok(self.manifests.entry(manifest.key).or_insert_with(|| manifest.clone()).clone())
    }

    pub(super) fn commit_checkpoint(&mut self, checkpoint: &Checkpoint, now: u64) -> Result<(), String> {
        if now < self.full {
            return Err("no space left".to_owned());
        }
        if let Some(file) = checkpoint.files.iter().find(|file| !self.files.contains_key(&file.path)) {
            return Err(format!("{} is missing", file.path));
        }
        self.checkpoints.entry(checkpoint.key).or_default().insert(checkpoint.age(), checkpoint.clone());
        Ok(())
    }

    /// Removes a stage's checkpoints that are older than those kept.
    pub(super) fn retain(&mut self, key: Key, kept: &[Checkpoint]) {
        let Some(oldest) = kept.iter().map(Checkpoint::age).min() else { return };
        if let Some(found) = self.checkpoints.get_mut(&key) {
            found.retain(|age, _| *age >= oldest);
        }
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.checkpoints.remove(&key);
    }

    pub(super) fn manifest(&self, key: Key) -> Option<&Manifest> {
        self.manifests.get(&key)
    }

    pub(super) fn manifests(&self) -> &BTreeMap<Key, Manifest> {
        &self.manifests
    }

    /// Checkpoints by stage, the newest first.
    pub(super) fn found(&self) -> BTreeMap<Key, Vec<Checkpoint>> {
        let newest_first = |found: &BTreeMap<_, Checkpoint>| found.values().rev().cloned().collect();
        self.checkpoints.iter().map(|(key, found)| (*key, newest_first(found))).collect()
    }

    /// Removes the artifacts that are not whole, as `fulcrum artifacts verify --repair` does; how many.
    pub(super) fn repair(&mut self) -> usize {
        let before = self.manifests.len();
        let files = &self.files;
        let whole =
            |file: &File| files.get(&file.path).is_some_and(|content| digest(*content) == file.digest);
        self.manifests.retain(|_, manifest| manifest.files.iter().all(whole));
        before - self.manifests.len()
    }

    /// A file of no manifest that is lost with this ticket.
    pub(super) fn lose(&mut self, ticket: usize) -> bool {
        let kept: BTreeSet<&String> = self
            .manifests
            .values()
            .flat_map(|manifest| manifest.files.iter().map(|file| &file.path))
            .collect();
        let loose: Vec<String> = self
            .files
            .keys()
            .filter(|path| path.starts_with("artifacts") && !kept.contains(path))
            .cloned()
            .collect();
        let lost = loose.get(ticket % loose.len().max(1)).cloned();
        lost.is_some_and(|path| self.files.remove(&path).is_some())
    }

    /// Damages a file of an artifact, or of a checkpoint.
    pub(super) fn damage(&mut self, ticket: usize, checkpoint: bool) -> bool {
        let of_artifacts = self.manifests.values().flat_map(|it| &it.files);
        let of_checkpoints = self.checkpoints.values().flat_map(BTreeMap::values).flat_map(|it| &it.files);
        let paths: Vec<String> = if checkpoint {
            of_checkpoints.map(|file| file.path.clone()).collect()
        } else {
            of_artifacts.map(|file| file.path.clone()).collect()
        };
        let path = paths.get(ticket % paths.len().max(1));
        path.is_some_and(|path| self.files.insert(path.clone(), Key::of(b"damage")).is_some())
    }

    /// What stands under a key is what was committed first.
    pub(super) fn check(&self, manifest: &Manifest) {
        let same = self.manifests.get(&manifest.key) == Some(manifest);
        uphold(Invariant::ArtifactsStay, same, || {
            format!("{:?} is another than was committed", manifest.name)
        });
    }
}

fn digest(content: Key) -> Key {
    Key::of(content.to_string().as_bytes())
}
