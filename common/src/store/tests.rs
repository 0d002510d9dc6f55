//! What the store survives: torn, damaged and missing files, racing commits, hostile names.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    Key,
    plan::{Arithmetic, Prepare, Source, Spec, Work},
};

pub(super) fn spec(seed: u64) -> Spec {
    let source = Source::Arithmetic(Arithmetic { rows: 1, seed, below: 10, noise: 0.0 });
    Spec { work: Work::Prepare(Prepare::Corpus { source }), inputs: BTreeMap::new() }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Store {
        Store::open(self.0.path()).unwrap()
    }

    fn path(&self, file: &File) -> PathBuf {
        self.0.path().join(&file.path)
    }

    /// Every file below the folder but the lock.
    fn files(&self) -> BTreeSet<String> {
        fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else {
                    found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(self.0.path(), self.0.path(), &mut found);
        found.remove("lock");
        found
    }
}

fn manifest_of(seed: u64, epoch: u64, files: Vec<File>) -> Manifest {
    let facts = BTreeMap::from([("rows".to_owned(), 3)]);
    Manifest { key: spec(seed).key(), name: format!("stage {seed}"), epoch, files, facts, spec: spec(seed) }
}

/// Puts one file of those bytes and commits.
async fn artifact(store: &Store, seed: u64, epoch: u64, bytes: &'static [u8]) -> Manifest {
    let file = store.put(spec(seed).key(), epoch, "data.bin", bytes.into()).await.unwrap();
    store.commit(&manifest_of(seed, epoch, vec![file])).await.unwrap()
}

#[tokio::test]
async fn what_is_put_and_committed_is_read_back() {
    let folder = Folder::new();
    let manifest = artifact(&folder.open(), 0, 1, b"lever").await;
    let store = folder.open();
    assert_eq!(store.manifest(manifest.key).await.unwrap().as_ref(), Some(&manifest));
    let listed = store.list().await.unwrap();
    assert!(matches!(&listed[..], [(_, Ok(found))] if *found == manifest), "{listed:?}");
    assert_eq!(store.read(&manifest, "data.bin").await.unwrap(), "lever");
    let path = store.local(&manifest, "data.bin").await.unwrap();
    assert_eq!(fs::read(path).unwrap(), b"lever");
    assert!(matches!(store.read(&manifest, "other").await, Err(StoreError::NoFile { .. })));
}

#[tokio::test]
async fn a_file_of_many_chunks_and_an_empty_one_are_put_whole() {
    let folder = Folder::new();
    let store = folder.open();
    for length in [0, 1, (4 << 20) - 1, 4 << 20, (9 << 20) + 17] {
        let bytes: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
        let source = folder.0.path().join("source");
        fs::write(&source, &bytes).unwrap();
        let file = store.put_file(spec(0).key(), 1, "data.bin", &source).await.unwrap();
        assert_eq!((file.bytes, file.digest), (length as u64, Key::of(&bytes)), "{length}");
        assert_eq!(fs::read(folder.path(&file)).unwrap(), bytes, "{length}");
    }
}

#[tokio::test]
async fn a_bad_name_is_refused_before_anything_is_written() {
    let folder = Folder::new();
    let store = folder.open();
    let source = folder.0.path().join("lock");
    for name in ["../x", "/x", "a/b", ""] {
        assert!(matches!(store.put(spec(0).key(), 1, name, "x".into()).await, Err(StoreError::Name(_))));
        assert!(matches!(store.put_file(spec(0).key(), 1, name, &source).await, Err(StoreError::Name(_))));
    }
    assert_eq!(folder.files(), BTreeSet::new());
}

#[tokio::test]
async fn a_crash_between_files_and_manifest_leaves_nothing_visible() {
    let folder = Folder::new();
    let key = spec(0).key();
    folder.open().put(key, 1, "data.bin", "half".into()).await.unwrap();
    let store = folder.open();
    assert_eq!(store.manifest(key).await.unwrap(), None);
    assert!(store.list().await.unwrap().is_empty());
    let second = artifact(&store, 0, 2, b"whole").await;
    assert_eq!(store.read(&second, "data.bin").await.unwrap(), "whole");
}

#[tokio::test]
async fn of_two_commits_one_wins_and_both_learn_which() {
    let folder = Folder::new();
    for seed in 0..20 {
        let (one, two) = (folder.open(), folder.open());
        let (first, second) = tokio::join!(
            tokio::spawn(async move { artifact(&one, seed, 1, b"one").await }),
            tokio::spawn(async move { artifact(&two, seed, 2, b"two").await }),
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first, second);
        let store = folder.open();
        assert_eq!(store.manifest(first.key).await.unwrap(), Some(first.clone()));
        let bytes = store.read(&first, "data.bin").await.unwrap();
        assert_eq!(bytes, if first.epoch == 1 { "one" } else { "two" });
    }
}

#[tokio::test]
async fn a_stale_attempt_changes_nothing_that_is_committed() {
    let folder = Folder::new();
    let store = folder.open();
    let standing = artifact(&store, 0, 5, b"standing").await;
    let stale = artifact(&store, 0, 4, b"stale").await;
    assert_eq!(stale, standing);
    assert_eq!(store.read(&standing, "data.bin").await.unwrap(), "standing");
}

#[tokio::test]
async fn a_manifest_of_files_that_are_not_there_whole_is_not_committed() {
    let folder = Folder::new();
    let store = folder.open();
    let mut file = store.put(spec(0).key(), 1, "data.bin", "lever".into()).await.unwrap();
    file.bytes = 6;
    let longer = manifest_of(0, 1, vec![file.clone()]);
    assert!(matches!(store.commit(&longer).await, Err(StoreError::Damaged { .. })));
    fs::remove_file(folder.path(&file)).unwrap();
    assert!(matches!(store.commit(&longer).await, Err(StoreError::Missing { .. })));
    assert_eq!(store.keys().await.unwrap(), []);
}

#[tokio::test]
async fn damage_is_seen_on_every_way_of_reading() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("bit flip", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[2] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("truncated", |path| fs::write(path, b"lev").unwrap()),
        ("grown", |path| fs::write(path, b"levers").unwrap()),
        ("missing", |path| fs::remove_file(path).unwrap()),
    ];
    for (damage, apply) in damages {
        let folder = Folder::new();
        let manifest = artifact(&folder.open(), 0, 1, b"lever").await;
        let whole = artifact(&folder.open(), 1, 2, b"whole").await;
        apply(&folder.path(&manifest.files[0]));
        let store = folder.open();
        let target = folder.0.path().join("out");
        let errors = [
            store.local(&manifest, "data.bin").await.unwrap_err(),
            store.read(&manifest, "data.bin").await.unwrap_err(),
            store.export(manifest.key, &target).await.unwrap_err(),
        ];
        assert!(errors.iter().all(StoreError::is_damage), "{damage}: {errors:?}");
        let seen = store.verify().await.unwrap();
        let faults: Vec<_> = seen.faults.iter().map(|fault| (fault.key, fault.name.as_deref())).collect();
        assert_eq!(faults, [(manifest.key, Some("stage 0"))], "{damage}");
        assert_eq!((seen.artifacts, seen.files), (2, 2), "{damage}");
        let kept = BTreeSet::from([whole.key]);
        store.gc(&kept).await.unwrap();
        let healed = artifact(&folder.open(), 0, 3, b"lever").await;
        assert_eq!(healed.epoch, 3, "{damage}: an artifact that was removed can be made again");
    }
}

#[tokio::test]
async fn a_torn_manifest_is_named_and_hides_no_other_artifact_from_verification() {
    let folder = Folder::new();
    let torn = artifact(&folder.open(), 0, 1, b"lever").await;
    artifact(&folder.open(), 1, 2, b"whole").await;
    let path = folder.0.path().join(write::manifest_path(torn.key));
    let text = fs::read(&path).unwrap();
    for length in [0, 1, text.len() / 2, text.len() - 3] {
        fs::write(&path, &text[..length]).unwrap();
        let store = folder.open();
        assert!(matches!(store.manifest(torn.key).await, Err(StoreError::Manifest { .. })), "{length}");
        let seen = store.verify().await.unwrap();
        assert_eq!((seen.artifacts, seen.files, seen.faults.len()), (2, 1, 1), "{length}");
    }
}

#[tokio::test]
async fn an_endless_manifest_is_refused_unread() {
    let folder = Folder::new();
    let standing = artifact(&folder.open(), 0, 1, b"lever").await;
    let path = folder.0.path().join(write::manifest_path(standing.key));
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(manifest::LIMIT + 1).unwrap();
    assert!(matches!(folder.open().manifest(standing.key).await, Err(StoreError::Manifest { .. })));
}

#[tokio::test]
async fn cleaning_keeps_what_is_wanted_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.open();
    let kept = artifact(&store, 0, 4, b"kept").await;
    let wanted = folder.files();
    artifact(&store, 1, 5, b"unwanted").await;
    store.put(kept.key, 3, "data.bin", "an attempt that lost".into()).await.unwrap();
    store.put(spec(2).key(), 6, "data.bin", "an attempt that died".into()).await.unwrap();
    let swept = store.gc(&BTreeSet::from([kept.key, spec(2).key()])).await.unwrap();
    assert_eq!(folder.files(), wanted);
    assert_eq!((swept.artifacts, swept.kept, swept.attempts), (1, 1, 2));
    assert!(swept.bytes > 48, "{swept:?}");
    assert_eq!(folder.open().read(&kept, "data.bin").await.unwrap(), "kept");
}

#[tokio::test]
async fn cleaning_leaves_a_wanted_artifact_alone_when_its_manifest_is_torn() {
    let folder = Folder::new();
    let torn = artifact(&folder.open(), 0, 1, b"lever").await;
    fs::write(folder.0.path().join(write::manifest_path(torn.key)), "{").unwrap();
    let before = folder.files();
    folder.open().gc(&BTreeSet::from([torn.key])).await.unwrap();
    assert_eq!(folder.files(), before);
}

#[tokio::test]
async fn a_torn_manifest_hides_no_other_artifact_from_the_list() {
    let folder = Folder::new();
    let torn = artifact(&folder.open(), 0, 1, b"lever").await;
    let whole = artifact(&folder.open(), 1, 2, b"whole").await;
    fs::write(folder.0.path().join(write::manifest_path(torn.key)), "{").unwrap();
    let listed: BTreeMap<_, _> = folder.open().list().await.unwrap().into_iter().collect();
    assert!(listed[&torn.key].as_ref().is_err_and(StoreError::is_damage));
    assert_eq!(listed[&whole.key].as_ref().unwrap(), &whole);
}

#[tokio::test]
async fn repair_removes_what_is_damaged_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.open();
    let whole = artifact(&store, 0, 1, b"whole").await;
    let begun = store.put(spec(3).key(), 4, "data.bin", "an attempt".into()).await.unwrap();
    let expected = folder.files();
    let flipped = artifact(&store, 1, 2, b"lever").await;
    fs::write(folder.path(&flipped.files[0]), "lever".to_uppercase()).unwrap();
    let torn = artifact(&store, 2, 3, b"lever").await;
    fs::write(folder.0.path().join(write::manifest_path(torn.key)), "{").unwrap();
    let refused = folder.open().repair().await;
    assert!(matches!(refused, Err(StoreError::InUse(_))), "{refused:?}");
    let (seen, swept) = store.repair().await.unwrap();
    assert_eq!((seen.faults.len(), swept.artifacts, swept.kept), (2, 2, 1));
    assert_eq!(folder.files(), expected, "{} is not damaged", begun.path);
    let store = folder.open();
    assert!(store.verify().await.unwrap().faults.is_empty());
    assert_eq!(store.read(&whole, "data.bin").await.unwrap(), "whole");
    assert_eq!(artifact(&store, 1, 5, b"lever").await.epoch, 5, "it can be made again");
}

#[test]
fn only_a_lock_that_others_hold_means_that_the_store_is_in_use() {
    use std::fs::TryLockError;

    let root = Path::new("store");
    assert!(matches!(StoreError::lock(root, TryLockError::WouldBlock), StoreError::InUse(_)));
    let unsupported = TryLockError::Error(std::io::ErrorKind::Unsupported.into());
    let error = StoreError::lock(root, unsupported);
    assert!(matches!(&error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().starts_with("store/lock: "), "{error}");
}

#[tokio::test]
async fn a_store_in_use_is_not_cleaned() {
    let folder = Folder::new();
    let running = folder.open();
    let manifest = artifact(&running, 0, 1, b"lever").await;
    for other in [folder.open(), running.clone()] {
        assert!(matches!(other.gc(&BTreeSet::new()).await, Err(StoreError::InUse(_))));
    }
    assert_eq!(running.read(&manifest, "data.bin").await.unwrap(), "lever");
    assert_eq!(running.gc(&BTreeSet::new()).await.unwrap().artifacts, 1);
}

#[tokio::test]
async fn an_artifact_is_exported_whole_and_only_into_an_empty_folder() {
    let folder = Folder::new();
    let store = folder.open();
    let manifest = artifact(&store, 0, 1, b"lever").await;
    let target = folder.0.path().join("out/model");
    store.export(manifest.key, &target).await.unwrap();
    assert_eq!(fs::read(target.join("data.bin")).unwrap(), b"lever");
    assert!(matches!(store.export(manifest.key, &target).await, Err(StoreError::NotEmpty(_))));
    let absent = store.export(spec(9).key(), &folder.0.path().join("none")).await;
    assert!(matches!(absent, Err(StoreError::Absent(_))));
}

#[tokio::test]
async fn an_export_that_fails_leaves_no_file_behind() {
    let folder = Folder::new();
    let store = folder.open();
    let mut files = Vec::new();
    for name in ["a.bin", "b.bin"] {
        files.push(store.put(spec(0).key(), 1, name, name.into()).await.unwrap());
    }
    let manifest = store.commit(&manifest_of(0, 1, files)).await.unwrap();
    fs::write(folder.path(&manifest.files[1]), "B.bin").unwrap();
    let out = folder.0.path().join("out");
    let (new, empty) = (out.join("new"), out.join("empty"));
    fs::create_dir_all(&empty).unwrap();
    for target in [&new, &empty] {
        assert!(store.export(manifest.key, target).await.unwrap_err().is_damage());
    }
    assert!(!new.exists() && fs::read_dir(&empty).unwrap().next().is_none());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "rubbish is left beside the new folder");
    fs::write(folder.path(&manifest.files[1]), "b.bin").unwrap();
    for target in [&new, &empty] {
        store.export(manifest.key, target).await.unwrap();
        assert_eq!(fs::read_dir(target).unwrap().count(), 2);
        assert_eq!(fs::read(target.join("b.bin")).unwrap(), b"b.bin");
    }
}
