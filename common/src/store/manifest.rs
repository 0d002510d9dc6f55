//! The manifest: the one file that makes an artifact exist.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{StoreError, seal};
use crate::{Key, plan::Spec};

/// Manifests longer than this, in bytes, are refused.
pub(super) const LIMIT: u64 = 16 << 20;

/// Everything about an artifact but its bytes.
///
/// The fields are as they come from a file or the network; [`Manifest::check`] says whether they can be
/// trusted, and every method of the store calls it or the part of it that it relies on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Key of the stage that made it.
    pub key: Key,
    /// Name of that stage, for people.
    pub name: String,
    /// Fencing number under which it was committed.
    pub epoch: u64,
    /// The files, by name.
    pub files: Vec<File>,
    /// Small numbers that planning and reports read without opening a file, e.g. `rows/test`.
    pub facts: BTreeMap<String, u64>,
    /// What the stage did.
    pub spec: Spec,
}

/// A file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name in the artifact, e.g. `model.safetensors`.
    pub name: String,
    /// Path in the store: `artifacts/<key>/<epoch>/<name>`, of the attempt that wrote it.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// BLAKE3 of the bytes.
    pub digest: Key,
}

impl Manifest {
    /// Reads a manifest from JSON and checks it.
    ///
    /// # Errors
    /// If the text is no manifest of `key`, or names files outside the artifact.
    pub fn from_json(key: Key, text: &[u8]) -> Result<Self, StoreError> {
        let manifest: Self = seal::read(text).map_err(|reason| StoreError::Manifest { key, reason })?;
        if manifest.key != key {
            let reason = format!("it is that of {}", manifest.key.short());
            return Err(StoreError::Manifest { key, reason });
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// The text of `manifest.json`.
    pub fn to_json(&self) -> Vec<u8> {
        seal::write(self)
    }

    /// Checks that every file has a proper name, lies in this artifact, and comes once.
    ///
    /// # Errors
    /// Names the first file that does not.
    pub fn check(&self) -> Result<(), StoreError> {
        let mut names = BTreeSet::new();
        for file in &self.files {
            file.check(self.key)?;
            if !names.insert(&file.name) {
                let reason = format!("file {:?} comes twice", file.name);
                return Err(StoreError::Manifest { key: self.key, reason });
            }
        }
        Ok(())
    }

    /// The file of that name.
    ///
    /// # Errors
    /// If there is none, or it lies outside the artifact.
    pub fn file(&self, name: &str) -> Result<&File, StoreError> {
        let found = self.files.iter().find(|file| file.name == name);
        let file = found.ok_or_else(|| StoreError::NoFile { key: self.key, name: name.to_owned() })?;
        file.check(self.key)?;
        Ok(file)
    }

    /// Length of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl File {
    fn check(&self, key: Key) -> Result<(), StoreError> {
        check_name(&self.name)?;
        let epoch = self.epoch().unwrap_or_default();
        if self.path != path(key, epoch, &self.name) {
            let reason = format!("file {:?} has path {:?}, outside the artifact", self.name, self.path);
            return Err(StoreError::Manifest { key, reason });
        }
        Ok(())
    }

    /// The attempt that wrote the file.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.path.split('/').nth(2)?.parse().ok()
    }
}

/// Checks the name of a file: one component that no file system and no back-end gives a second meaning.
pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(StoreError::Name(name.chars().take(200).collect()));
    }
    Ok(())
}

/// Where the bytes of a file lie in the store.
pub(super) fn path(key: Key, epoch: u64, name: &str) -> String {
    format!("artifacts/{key}/{epoch}/{name}")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::spec, *};

    fn manifest(name: &str, path: String) -> Manifest {
        let file = File { name: name.to_owned(), path, bytes: 1, digest: Key::of(b"x") };
        let key = spec(0).key();
        Manifest {
            key,
            name: "stage".into(),
            epoch: 1,
            files: vec![file],
            facts: BTreeMap::new(),
            spec: spec(0),
        }
    }

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for name in
            ["", ".", "..", ".hidden", "a/b", "../a", "/etc/passwd", "a\\b", "a\0b", "a b", "a#1", "é", "C:x"]
        {
            assert!(matches!(check_name(name), Err(StoreError::Name(_))), "{name:?}");
        }
        assert!(check_name(&"a".repeat(129)).is_err());
        for name in ["model.safetensors", "part-00000.parquet", "tokenizer.json", "a..b"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_hostile_manifest_cannot_point_outside_its_artifact() {
        let (key, other) = (spec(0).key(), spec(1).key());
        let good = manifest("a", path(key, 7, "a"));
        assert_eq!(Manifest::from_json(key, &good.to_json()).unwrap(), good);
        for path in [
            "/etc/passwd".to_owned(),
            "../../secret".to_owned(),
            format!("artifacts/{other}/7/a"),
            format!("artifacts/{key}/7/../8/a"),
            format!("artifacts/{key}/../{other}/a"),
            format!("artifacts/{key}/7/b"),
            format!("artifacts/{key}/07/a"),
            format!("artifacts/{key}/+7/a"),
            format!("artifacts/{key}/7//a"),
            format!("artifacts/{key}/manifest.json"),
            String::new(),
        ] {
            let hostile = manifest("a", path.clone());
            assert!(Manifest::from_json(key, &hostile.to_json()).is_err(), "{path}");
            assert!(hostile.file("a").is_err(), "{path}");
        }
    }

    #[test]
    fn a_manifest_of_another_artifact_or_with_a_file_twice_is_refused() {
        let key = spec(0).key();
        let mut twice = manifest("a", path(key, 7, "a"));
        assert!(Manifest::from_json(spec(1).key(), &twice.to_json()).is_err());
        twice.files.push(twice.files[0].clone());
        assert!(Manifest::from_json(key, &twice.to_json()).unwrap_err().to_string().contains("twice"));
    }
}
