//! A run whose store is in a bucket.

use std::process::{Command, Stdio};

use fulcrum_common::store::{Access, Place, Store};
use fulcrum_tests::{
    moto::{Moto, moto},
    workplace::Left,
};

use crate::{
    survival::undisturbed,
    workplace::{Workplace, finish, pid_of, signal},
};

const STORE: &str = "s3://models/of/tests";

/// What says how the bucket is reached.
fn variables(server: &Moto) -> [(&'static str, String); 3] {
    let secret = || "a-secret-of-tests".to_owned();
    let endpoint = ("AWS_ENDPOINT_URL", format!("http://{}", server.address()));
    [endpoint, ("AWS_ACCESS_KEY_ID", "testing".to_owned()), ("AWS_SECRET_ACCESS_KEY", secret())]
}

fn command(place: &Workplace, server: &Moto, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.envs(variables(server)).env("FULCRUM_CACHE", place.at("cache"));
    command
}

/// Every file of every artifact in the bucket.
fn artifacts(place: &Workplace, server: &Moto) -> Left {
    let found = variables(server);
    let access = Access::read(|name| Some(found.iter().find(|(variable, _)| *variable == name)?.1.clone()));
    let Ok(Place::Bucket(bucket)) = STORE.parse() else { panic!("{STORE} is no bucket") };
    let store = Store::in_bucket(&bucket, access.unwrap(), &place.at("elsewhere")).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut left = Left::new();
        for (_, manifest) in store.list().await.unwrap() {
            let manifest = manifest.unwrap();
            for file in &manifest.files {
                let bytes = store.read(&manifest, &file.name).await.unwrap();
                left.insert((manifest.name.clone(), file.name.clone()), bytes.to_vec());
            }
        }
        assert!(store.checkpoints().await.unwrap().is_empty(), "checkpoints of finished stages stay");
        left
    })
}

#[test]
fn a_run_in_a_bucket_leaves_the_bytes_of_one_in_a_folder_whoever_is_killed() {
    let Some(server) = moto() else { return };
    server.make_bucket("models");
    let place = Workplace::new();
    let mut run = command(&place, server, &["run", "tiny.toml", "--workers", "2", "--store", STORE]);
    let run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = place.in_the_middle_of("train", 64);
    signal("KILL", pid_of(&status, "w1"));
    assert_eq!(finish(run), Some(0), "{}", place.logs());
    assert!(place.lost_attempts() > 0, "the kill disturbed nothing");
    assert!(!place.at("fulcrum-store").exists(), "a folder is made beside the bucket");

    let other = undisturbed();
    assert_eq!(place.read("runs/tiny/results.json"), other.read("runs/tiny/results.json"));
    let (left, right) = (artifacts(&place, server), other.artifacts());
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    assert!(left == right, "a file has other bytes");
    assert!(!place.logs().contains("a-secret-of-tests"), "a secret is in a log");

    for arguments in [&["artifacts", "ls"][..], &["artifacts", "verify"], &["artifacts", "gc", "--alone"]] {
        let output = command(&place, server, &[arguments, &["--store", STORE]].concat()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(artifacts(&place, server).len(), right.len(), "cleaning takes what the run needs");
}

#[test]
fn what_keeps_from_a_bucket_is_told_in_a_line() {
    let Some(server) = moto() else { return };
    server.make_bucket("others");
    let place = Workplace::new();
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told.lines().count(), 1, "{told}");
        told
    };
    let list = ["artifacts", "ls", "--store", "s3://nowhere"];
    assert!(refused(&mut command(&place, server, &list)).contains("no such bucket"));
    let clean = ["artifacts", "gc", "tiny.toml", "--store", "s3://others"];
    assert!(refused(&mut command(&place, server, &clean)).contains("--alone"));
    let told = refused(command(&place, server, &list).env_remove("AWS_ACCESS_KEY_ID"));
    assert!(told.contains("set AWS_ACCESS_KEY_ID"), "{told}");
    let told = refused(command(&place, server, &list).env("AWS_ENDPOINT_URL", "http://example.org"));
    assert!(told.contains("AWS_ALLOW_HTTP"), "{told}");
}
