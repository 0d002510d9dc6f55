//! A store in a bucket whose server throttles, fails, hangs up and does not know what it is asked for.

use super::{
    artifact,
    ground::Ground,
    manifest_of,
    proxy::{Fault, INTERNAL, SLOW_DOWN},
    spec, *,
};
use crate::store::bucket::PART;

/// All that passes.
const PASSING: [Fault; 5] = [SLOW_DOWN, INTERNAL, Fault::Dropped, Fault::Unanswered, Fault::Cut];

/// Puts, gets and commits once, with what must be there afterwards.
async fn cycle(ground: &Ground, seed: u64, what: &str) {
    let store = ground.open();
    let made = artifact(&store, seed, 1, b"lever").await;
    assert_eq!(made.epoch, 1, "{what}: a commit whose answer was lost is still its own");
    assert_eq!(store.manifest(made.key).await.unwrap().as_ref(), Some(&made), "{what}");
    assert_eq!(store.read(&made, "data.bin").await.unwrap(), "lever", "{what}");
    let path = store.local(&made, "data.bin").await.unwrap();
    assert_eq!(fs::read(path).unwrap(), b"lever", "{what}");
    assert_eq!(store.keys().await.unwrap(), [made.key], "{what}");
}

#[tokio::test]
async fn whatever_passes_at_any_request_changes_nothing() {
    let Some(first) = Ground::bucket() else { return };
    first.proxy().plan(|_, _| None);
    cycle(&first, 0, "undisturbed").await;
    let requests = first.proxy().seen().len();
    assert!(requests > 8, "{:?}", first.proxy().seen());
    for fault in PASSING {
        for broken in 0..requests {
            let ground = first.another();
            ground.proxy().plan(move |number, _| (number == broken).then_some(fault));
            let what = format!("{fault:?} at request {broken}");
            cycle(&ground, 0, &what).await;
            let lines = ground.proxy().seen();
            assert!(lines[broken + 1..].contains(&lines[broken]), "{what}: it was not tried again");
        }
    }
}

#[tokio::test]
async fn a_large_file_survives_a_fault_at_any_of_its_requests() {
    let Some(first) = Ground::bucket() else { return };
    let bytes: Vec<u8> = (0..2 * PART + 17).map(|i| (i * 31 % 251) as u8).collect();
    let source = first.outside().join("source");
    fs::write(&source, &bytes).unwrap();
    let round = async |ground: &Ground, what: &str| {
        let store = ground.open();
        let file = store.put_file(spec(0).key(), 1, "data.bin", &source).await.unwrap();
        assert_eq!((file.bytes, file.digest), (bytes.len() as u64, Key::of(&bytes)), "{what}");
        let manifest = manifest_of(0, 1, vec![file]);
        let path = store.local(&manifest, "data.bin").await.unwrap();
        assert!(fs::read(path).unwrap() == bytes, "{what}");
        manifest
    };
    first.proxy().plan(|_, _| None);
    let manifest = round(&first, "undisturbed").await;
    assert!(first.open().read(&manifest, "data.bin").await.unwrap() == bytes);
    let lines = first.proxy().seen();
    let is_part = |line: &&String| line.starts_with("PUT ") && line.contains("partNumber=");
    assert_eq!(lines.iter().filter(is_part).count(), 3, "{lines:?}");
    // One of each kind of request: the upload is begun, gets a part, is completed; a piece is read.
    for (number, line) in lines.iter().enumerate().filter(|(number, _)| [0, 1, 4, 5].contains(number)) {
        for fault in [SLOW_DOWN, Fault::Unanswered] {
            let ground = first.another();
            ground.proxy().plan(move |at, _| (at == number).then_some(fault));
            round(&ground, &format!("{fault:?} at {line}")).await;
        }
    }
}

#[tokio::test]
async fn what_does_not_pass_becomes_an_error_that_says_what_to_do() {
    let Some(ground) = Ground::bucket() else { return };
    let store = ground.open();
    let key = spec(0).key();
    for (fault, words, requests) in [
        (SLOW_DOWN, ["503 SlowDown", "run it again"], 4),
        (INTERNAL, ["500 InternalError", "run it again"], 4),
        (Fault::Refused(429, "TooManyRequests"), ["429 TooManyRequests", "run it again"], 4),
        (Fault::Dropped, ["no answer", "AWS_ENDPOINT_URL"], 4),
        (Fault::Refused(403, "InvalidAccessKeyId"), ["403 InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"], 1),
        (Fault::Refused(403, "SignatureDoesNotMatch"), ["SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"], 1),
        (Fault::Refused(400, "AuthorizationHeaderMalformed"), ["400 Authorization", "AWS_REGION"], 1),
        (Fault::Refused(404, "NoSuchBucket"), ["no such bucket", "make it"], 1),
    ] {
        let put = async || store.put(key, 1, "data.bin", "x".into()).await.map(|_| ());
        let get = async || store.manifest(key).await.map(|_| ());
        let list = async || store.keys().await.map(|_| ());
        ground.proxy().plan(move |_, _| Some(fault));
        let mut errors = vec![put().await.unwrap_err()];
        assert_eq!(ground.proxy().seen().len(), requests, "{fault:?}");
        errors.extend([get().await.unwrap_err(), list().await.unwrap_err()]);
        for error in errors {
            assert!(!error.is_damage(), "{fault:?}: {error}");
            let told = error.to_string();
            assert!(
                words.iter().all(|word| told.contains(word)) && !told.contains('\n'),
                "{fault:?}: {told}"
            );
            assert!(told.starts_with("s3:/") && !told.contains("testing"), "{fault:?}: {told}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_empty_store() {
    let Some(ground) = Ground::bucket() else { return };
    let Ok(Place::Bucket(nowhere)) = "s3://nowhere/store".parse() else { panic!("it is a bucket") };
    let store = ground.reach(&nowhere);
    for error in [
        store.manifest(spec(0).key()).await.map(|_| ()).unwrap_err(),
        store.keys().await.map(|_| ()).unwrap_err(),
        store.put(spec(0).key(), 1, "data.bin", "x".into()).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Bucket { why: Trouble::NoBucket, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_conditions_commits_nothing() {
    let Some(ground) = Ground::bucket() else { return };
    let store = ground.open();
    let file = store.put(spec(0).key(), 1, "data.bin", "lever".into()).await.unwrap();
    let manifest = manifest_of(0, 1, vec![file]);
    ground
        .proxy()
        .plan(|_, line| line.contains("conditional-put").then_some(Fault::Refused(501, "NotImplemented")));
    let refused = store.commit(&manifest).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Bucket { why: Trouble::Unconditional, .. }), "{refused}");
    ground.proxy().plan(|_, _| None);
    ground.proxy().forget_conditions();
    let refused = store.commit(&manifest).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Bucket { why: Trouble::Unconditional, .. }), "{refused}");
    assert_eq!(ground.open().keys().await.unwrap(), []);
}

#[tokio::test]
async fn a_commit_that_a_server_cannot_decide_yet_is_asked_for_again() {
    let Some(ground) = Ground::bucket() else { return };
    let store = ground.open();
    artifact(&store, 0, 1, b"lever").await;
    let file = store.put(spec(1).key(), 2, "data.bin", "lever".into()).await.unwrap();
    let conflicts = std::sync::atomic::AtomicU32::new(0);
    ground.proxy().plan(move |_, line| {
        let commits = line.starts_with("PUT ") && line.contains("manifest.json");
        let first = commits && conflicts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        first.then_some(Fault::Refused(409, "ConditionalRequestConflict"))
    });
    let made = store.commit(&manifest_of(1, 2, vec![file])).await.unwrap();
    assert_eq!(ground.open().manifest(made.key).await.unwrap(), Some(made));
}

#[tokio::test]
async fn a_bucket_is_cleaned_on_a_persons_word_alone() {
    let Some(ground) = Ground::bucket() else { return };
    let store = ground.open();
    artifact(&store, 0, 1, b"lever").await;
    let refused = ground.open().gc(&BTreeSet::new()).await.unwrap_err();
    assert!(refused.to_string().contains("--alone"), "{refused}");
    assert_eq!(store.keys().await.unwrap().len(), 1);
    assert_eq!(ground.open().vouched().unwrap().gc(&BTreeSet::new()).await.unwrap().artifacts, 1);
    assert_eq!(ground.files().await, BTreeSet::new());
}

#[tokio::test]
async fn checkpoints_in_a_bucket_come_and_go() {
    let Some(ground) = Ground::bucket() else { return };
    let (store, key) = (ground.open(), spec(0).key());
    let mut kept = Vec::new();
    for (epoch, step) in [(7, 10), (7, 20), (8, 30)] {
        let text = format!("step {step}");
        let file = store.put_training(key, (epoch, step), "rank-0.bin", text.into()).await.unwrap();
        kept.push(Checkpoint { key, epoch, step, world: 1, files: vec![file] });
        store.commit_checkpoint(kept.last().unwrap()).await.unwrap();
    }
    store.put_training(key, (8, 40), "rank-0.bin", "half".into()).await.unwrap();
    let found = ground.open().checkpoints().await.unwrap().remove(&key).unwrap();
    assert_eq!(found.iter().map(|it| it.step).collect::<Vec<_>>(), [30, 20, 10]);
    assert_eq!(store.read_training(&found[1].files[0]).await.unwrap(), "step 20");
    store.retain_checkpoints(key, &kept[1..]).await.unwrap();
    store.discard_checkpoint(key, 8, 40).await.unwrap();
    assert_eq!(store.checkpoints().await.unwrap()[&key].len(), 2);
    store.drop_checkpoints(key).await.unwrap();
    assert_eq!(ground.files().await, BTreeSet::new());
}

#[test]
fn copies_and_scratch_have_a_folder_on_this_machine() {
    let Some(ground) = Ground::bucket() else { return };
    let store = ground.open();
    assert!(store.home().starts_with(ground.outside().canonicalize().unwrap()), "{:?}", store.home());
    assert!(store.place().to_string().starts_with("s3://bucket-"), "{}", store.place());
    let folder = Ground::folder();
    assert_eq!(folder.open().place().folder(), Some(folder.open().home()));
}
