//! What the store survives: torn, damaged and missing files, racing commits, hostile names; the same in a folder and in a
//! bucket.

use std::collections::{BTreeMap, BTreeSet};

mod bucket;
mod ground;
#[path = "../../../../tests/src/moto.rs"]
#[expect(unreachable_pub, reason = "the end-to-end tests have it too")]
mod moto;
#[path = "../../../../tests/src/proxy.rs"]
#[expect(unreachable_pub, reason = "the end-to-end tests have it too")]
mod proxy;

use ground::{Ground, everywhere};

use super::*;
use crate::{
    Key,
    plan::{Arithmetic, Prepare, Source, Spec, Work},
};

pub(super) fn spec(seed: u64) -> Spec {
    let source = Source::Arithmetic(Arithmetic { rows: 1, seed, below: 10, noise: 0.0 });
    Spec { work: Work::Prepare(Prepare::Corpus { source }), inputs: BTreeMap::new() }
}

everywhere! {
    what_is_put_and_committed_is_read_back,
    a_file_of_many_chunks_and_an_empty_one_are_put_whole,
    a_bad_name_is_refused_before_anything_is_written,
    a_crash_between_files_and_manifest_leaves_nothing_visible,
    of_two_commits_one_wins_and_both_learn_which,
    a_stale_attempt_changes_nothing_that_is_committed,
    a_manifest_of_files_that_are_not_there_whole_is_not_committed,
    damage_is_seen_on_every_way_of_reading,
    a_torn_manifest_is_named_and_hides_no_other_artifact_from_verification,
    an_endless_manifest_is_refused_unread,
    cleaning_keeps_what_is_wanted_and_nothing_else,
    cleaning_leaves_a_wanted_artifact_alone_when_its_manifest_is_torn,
    a_torn_manifest_hides_no_other_artifact_from_the_list,
    repair_removes_what_is_damaged_and_nothing_else,
    a_store_in_use_is_not_cleaned,
    an_artifact_is_exported_whole_and_only_into_an_empty_folder,
    an_export_that_fails_leaves_no_file_behind,
    a_store_has_one_identity_and_keeps_it,
    an_identity_that_is_none_is_refused,
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

async fn what_is_put_and_committed_is_read_back(ground: Ground) {
    let manifest = artifact(&ground.open(), 0, 1, b"lever").await;
    let store = ground.open();
    assert_eq!(store.manifest(manifest.key).await.unwrap().as_ref(), Some(&manifest));
    let listed = store.list().await.unwrap();
    assert!(matches!(&listed[..], [(_, Ok(found))] if *found == manifest), "{listed:?}");
    assert_eq!(store.read(&manifest, "data.bin").await.unwrap(), "lever");
    let path = store.local(&manifest, "data.bin").await.unwrap();
    assert_eq!(fs::read(path).unwrap(), b"lever");
    assert!(matches!(store.read(&manifest, "other").await, Err(StoreError::NoFile { .. })));
}

async fn a_file_of_many_chunks_and_an_empty_one_are_put_whole(ground: Ground) {
    let store = ground.open();
    for length in [0, 1, (4 << 20) - 1, 4 << 20, (9 << 20) + 17] {
        let bytes: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
        let source = ground.outside().join("source");
        fs::write(&source, &bytes).unwrap();
        let file = store.put_file(spec(0).key(), 1, "data.bin", &source).await.unwrap();
        assert_eq!((file.bytes, file.digest), (length as u64, Key::of(&bytes)), "{length}");
        assert_eq!(ground.bytes(&file.path).await, bytes, "{length}");
    }
}

async fn a_bad_name_is_refused_before_anything_is_written(ground: Ground) {
    let store = ground.open();
    let source = ground.outside().join("lock");
    for name in ["../x", "/x", "a/b", ""] {
        assert!(matches!(store.put(spec(0).key(), 1, name, "x".into()).await, Err(StoreError::Name(_))));
        assert!(matches!(store.put_file(spec(0).key(), 1, name, &source).await, Err(StoreError::Name(_))));
    }
    assert_eq!(ground.files().await, BTreeSet::new());
}

async fn a_crash_between_files_and_manifest_leaves_nothing_visible(ground: Ground) {
    let key = spec(0).key();
    ground.open().put(key, 1, "data.bin", "half".into()).await.unwrap();
    let store = ground.open();
    assert_eq!(store.manifest(key).await.unwrap(), None);
    assert!(store.list().await.unwrap().is_empty());
    let second = artifact(&store, 0, 2, b"whole").await;
    assert_eq!(store.read(&second, "data.bin").await.unwrap(), "whole");
}

async fn of_two_commits_one_wins_and_both_learn_which(ground: Ground) {
    for seed in 0..20 {
        let (one, two) = (ground.open(), ground.open());
        let (first, second) = tokio::join!(
            tokio::spawn(async move { artifact(&one, seed, 1, b"one").await }),
            tokio::spawn(async move { artifact(&two, seed, 2, b"two").await }),
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first, second);
        let store = ground.open();
        assert_eq!(store.manifest(first.key).await.unwrap(), Some(first.clone()));
        let bytes = store.read(&first, "data.bin").await.unwrap();
        assert_eq!(bytes, if first.epoch == 1 { "one" } else { "two" });
    }
}

async fn a_stale_attempt_changes_nothing_that_is_committed(ground: Ground) {
    let store = ground.open();
    let standing = artifact(&store, 0, 5, b"standing").await;
    let stale = artifact(&store, 0, 4, b"stale").await;
    assert_eq!(stale, standing);
    assert_eq!(store.read(&standing, "data.bin").await.unwrap(), "standing");
}

async fn a_manifest_of_files_that_are_not_there_whole_is_not_committed(ground: Ground) {
    let store = ground.open();
    let mut file = store.put(spec(0).key(), 1, "data.bin", "lever".into()).await.unwrap();
    file.bytes = 6;
    let longer = manifest_of(0, 1, vec![file.clone()]);
    assert!(matches!(store.commit(&longer).await, Err(StoreError::Damaged { .. })));
    ground.erase(&file.path).await;
    assert!(matches!(store.commit(&longer).await, Err(StoreError::Missing { .. })));
    assert_eq!(store.keys().await.unwrap(), []);
}

async fn damage_is_seen_on_every_way_of_reading(first: Ground) {
    let damages: [(&str, Option<&[u8]>); 4] = [
        ("bit flip", Some(b"lewer")),
        ("truncated", Some(b"lev")),
        ("grown", Some(b"levers")),
        ("missing", None),
    ];
    for (damage, bytes) in damages {
        let ground = first.another();
        let manifest = artifact(&ground.open(), 0, 1, b"lever").await;
        let whole = artifact(&ground.open(), 1, 2, b"whole").await;
        match bytes {
            Some(bytes) => ground.write(&manifest.files[0].path, bytes).await,
            None => ground.erase(&manifest.files[0].path).await,
        }
        let store = ground.open();
        let target = ground.outside().join("out");
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
        ground.alone(store).gc(&kept).await.unwrap();
        let healed = artifact(&ground.open(), 0, 3, b"lever").await;
        assert_eq!(healed.epoch, 3, "{damage}: an artifact that was removed can be made again");
    }
}

async fn a_torn_manifest_is_named_and_hides_no_other_artifact_from_verification(ground: Ground) {
    let torn = artifact(&ground.open(), 0, 1, b"lever").await;
    artifact(&ground.open(), 1, 2, b"whole").await;
    let path = write::manifest_path(torn.key);
    let text = ground.bytes(&path).await;
    for length in [0, 1, text.len() / 2, text.len() - 3] {
        ground.write(&path, &text[..length]).await;
        let store = ground.open();
        assert!(matches!(store.manifest(torn.key).await, Err(StoreError::Manifest { .. })), "{length}");
        let seen = store.verify().await.unwrap();
        assert_eq!((seen.artifacts, seen.files, seen.faults.len()), (2, 1, 1), "{length}");
    }
}

async fn an_endless_manifest_is_refused_unread(ground: Ground) {
    let standing = artifact(&ground.open(), 0, 1, b"lever").await;
    let endless = vec![b' '; manifest::LIMIT as usize + 1];
    ground.write(&write::manifest_path(standing.key), endless).await;
    assert!(matches!(ground.open().manifest(standing.key).await, Err(StoreError::Manifest { .. })));
}

async fn cleaning_keeps_what_is_wanted_and_nothing_else(ground: Ground) {
    let store = ground.open();
    let kept = artifact(&store, 0, 4, b"kept").await;
    let wanted = ground.files().await;
    artifact(&store, 1, 5, b"unwanted").await;
    store.put(kept.key, 3, "data.bin", "an attempt that lost".into()).await.unwrap();
    store.put(spec(2).key(), 6, "data.bin", "an attempt that died".into()).await.unwrap();
    let swept = ground.alone(store).gc(&BTreeSet::from([kept.key, spec(2).key()])).await.unwrap();
    assert_eq!(ground.files().await, wanted);
    assert_eq!((swept.artifacts, swept.kept, swept.attempts), (1, 1, 2));
    assert!(swept.bytes > 48, "{swept:?}");
    assert_eq!(ground.open().read(&kept, "data.bin").await.unwrap(), "kept");
}

async fn cleaning_leaves_a_wanted_artifact_alone_when_its_manifest_is_torn(ground: Ground) {
    let torn = artifact(&ground.open(), 0, 1, b"lever").await;
    ground.write(&write::manifest_path(torn.key), "{").await;
    let before = ground.files().await;
    ground.alone(ground.open()).gc(&BTreeSet::from([torn.key])).await.unwrap();
    assert_eq!(ground.files().await, before);
}

async fn a_torn_manifest_hides_no_other_artifact_from_the_list(ground: Ground) {
    let torn = artifact(&ground.open(), 0, 1, b"lever").await;
    let whole = artifact(&ground.open(), 1, 2, b"whole").await;
    ground.write(&write::manifest_path(torn.key), "{").await;
    let listed: BTreeMap<_, _> = ground.open().list().await.unwrap().into_iter().collect();
    assert!(listed[&torn.key].as_ref().is_err_and(StoreError::is_damage));
    assert_eq!(listed[&whole.key].as_ref().unwrap(), &whole);
}

async fn repair_removes_what_is_damaged_and_nothing_else(ground: Ground) {
    let store = ground.open();
    let whole = artifact(&store, 0, 1, b"whole").await;
    let begun = store.put(spec(3).key(), 4, "data.bin", "an attempt".into()).await.unwrap();
    let expected = ground.files().await;
    let flipped = artifact(&store, 1, 2, b"lever").await;
    ground.write(&flipped.files[0].path, "lever".to_uppercase()).await;
    let torn = artifact(&store, 2, 3, b"lever").await;
    ground.write(&write::manifest_path(torn.key), "{").await;
    let refused = ground.open().repair().await;
    assert!(matches!(refused, Err(StoreError::InUse(_) | StoreError::NoLock(_))), "{refused:?}");
    let (seen, swept) = ground.alone(store).repair().await.unwrap();
    assert_eq!((seen.faults.len(), swept.artifacts, swept.kept), (2, 2, 1));
    assert_eq!(ground.files().await, expected, "{} is not damaged", begun.path);
    let store = ground.open();
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

async fn a_store_in_use_is_not_cleaned(ground: Ground) {
    let running = ground.open();
    let manifest = artifact(&running, 0, 1, b"lever").await;
    for other in [ground.open(), running.clone()] {
        let refused = other.gc(&BTreeSet::new()).await;
        assert!(matches!(refused, Err(StoreError::InUse(_) | StoreError::NoLock(_))), "{refused:?}");
    }
    assert_eq!(running.read(&manifest, "data.bin").await.unwrap(), "lever");
    assert_eq!(ground.alone(running).gc(&BTreeSet::new()).await.unwrap().artifacts, 1);
}

async fn an_artifact_is_exported_whole_and_only_into_an_empty_folder(ground: Ground) {
    let store = ground.open();
    let manifest = artifact(&store, 0, 1, b"lever").await;
    let target = ground.outside().join("out/model");
    store.export(manifest.key, &target).await.unwrap();
    assert_eq!(fs::read(target.join("data.bin")).unwrap(), b"lever");
    assert!(matches!(store.export(manifest.key, &target).await, Err(StoreError::NotEmpty(_))));
    let absent = store.export(spec(9).key(), &ground.outside().join("none")).await;
    assert!(matches!(absent, Err(StoreError::Absent(_))));
}

async fn an_export_that_fails_leaves_no_file_behind(ground: Ground) {
    let store = ground.open();
    let mut files = Vec::new();
    for name in ["a.bin", "b.bin"] {
        files.push(store.put(spec(0).key(), 1, name, name.into()).await.unwrap());
    }
    let manifest = store.commit(&manifest_of(0, 1, files)).await.unwrap();
    ground.write(&manifest.files[1].path, "B.bin").await;
    let out = ground.outside().join("out");
    let (new, empty) = (out.join("new"), out.join("empty"));
    fs::create_dir_all(&empty).unwrap();
    for target in [&new, &empty] {
        assert!(store.export(manifest.key, target).await.unwrap_err().is_damage());
    }
    assert!(!new.exists() && fs::read_dir(&empty).unwrap().next().is_none());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "rubbish is left beside the new folder");
    ground.write(&manifest.files[1].path, "b.bin").await;
    for target in [&new, &empty] {
        store.export(manifest.key, target).await.unwrap();
        assert_eq!(fs::read_dir(target).unwrap().count(), 2);
        assert_eq!(fs::read(target.join("b.bin")).unwrap(), b"b.bin");
    }
}

async fn a_store_has_one_identity_and_keeps_it(ground: Ground) {
    let asked = (0..4).map(|_| {
        let store = ground.open();
        tokio::spawn(async move { store.identity().await.unwrap() })
    });
    let mut found = BTreeSet::new();
    for asked in asked.collect::<Vec<_>>() {
        found.insert(asked.await.unwrap());
    }
    assert_eq!(found.len(), 1, "of those who ask at once, all learn the same");
    artifact(&ground.open(), 0, 1, b"lever").await;
    ground.alone(ground.open()).gc(&BTreeSet::new()).await.unwrap();
    assert_eq!(found.first(), Some(&ground.open().identity().await.unwrap()), "cleaning takes it away");
    assert!(!found.contains(&ground.another().open().identity().await.unwrap()));
}

async fn an_identity_that_is_none_is_refused(ground: Ground) {
    for wrong in ["", "one", &"g".repeat(64), &"0".repeat(1 << 20)] {
        ground.write("identity", wrong).await;
        let error = ground.open().identity().await.unwrap_err();
        assert!(matches!(error, StoreError::Identity(_)), "{error}");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
