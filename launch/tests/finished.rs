//! A run whose outcome is in the store: nothing is started, everything is told.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use std::time::{Duration, Instant};

use support::{
    Place,
    outcome::{finished, results},
};

/// The folder of the one artifact in the store.
fn artifact(place: &Place) -> std::path::PathBuf {
    let mut artifacts = std::fs::read_dir(place.at("fulcrum-store/artifacts")).unwrap();
    artifacts.next().unwrap().unwrap().path()
}

#[test]
fn it_is_reported_at_once_without_any_worker() {
    let place = Place::new();
    let bytes = finished(&place);
    let start = Instant::now();
    let done = place.run(&["run", "tiny.toml", "--workers", "2"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.out.contains("0.750 [0.730, 0.770]") && done.out.contains("0.50 [0.25, 0.75]"),
        "{}",
        done.out
    );
    assert_eq!(std::fs::read(place.at("runs/tiny/results.json")).unwrap(), bytes);
    let html = place.read("runs/tiny/report.html");
    assert!(
        html.contains("<svg class=\"plot accuracy\"") && html.contains("fulcrum run tiny.toml --workers N")
    );
    assert!(html.contains("builtin:arithmetic"), "the page lacks the experiment file");
    assert_eq!(place.read("runs/tiny/results.csv").lines().count(), 4);
    assert!(!place.at("runs/tiny/coordinator.json").exists());
}

#[test]
fn plan_status_and_report_know_that_it_is_done() {
    let place = Place::new();
    assert!(place.run(&["plan", "tiny.toml"]).out.contains("0 cached"));
    assert!(!place.at("fulcrum-store").exists(), "looking at a plan made a store");
    finished(&place);
    assert!(place.run(&["plan", "tiny.toml"]).out.contains("1 cached, 0 to run"));
    place.run(&["run", "tiny.toml"]);
    let status = place.run(&["status", "tiny"]);
    assert!(status.out.starts_with("tiny is done"), "{}{}", status.out, status.err);
    let json: serde_json::Value =
        serde_json::from_str(&place.run(&["status", "tiny", "--json"]).out).unwrap();
    assert_eq!(json["phase"], "done");
    assert_eq!(json["stages"].as_array().unwrap().last().unwrap()["state"], "done");
    let elsewhere = place.run(&["report", "runs/tiny", "--out", "elsewhere/deep"]);
    assert_eq!(elsewhere.code, Some(0), "{}", elsewhere.err);
    assert_eq!(place.read("elsewhere/deep/report.html"), place.read("runs/tiny/report.html"));
}

#[test]
fn cleaning_keeps_what_runs_and_named_experiments_reach() {
    let place = Place::new();
    finished(&place);
    let gc = |args: &[&str]| place.run(&[&["artifacts", "gc"], args].concat());
    for args in [&[][..], &["--dry-run"]] {
        let refused = gc(args);
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""));
        assert!(
            refused.err.contains("runs is no folder") && refused.err.contains("--runs"),
            "{}",
            refused.err
        );
    }
    std::fs::create_dir(place.at("runs")).unwrap();
    let foretold = gc(&["--dry-run"]).out;
    assert!(
        foretold.starts_with("would remove ") && foretold.ends_with("would keep 0 artifacts\n"),
        "{foretold}"
    );
    assert_eq!(gc(&["--dry-run", "tiny.toml"]).out, "would keep 1 artifacts\n");
    let kept = "removed 0 artifacts, 0 unfinished attempts, 0 bytes; kept 1 artifacts\n";
    assert_eq!(gc(&["tiny.toml", "--runs", "nowhere"]).out, kept);
    place.run(&["run", "tiny.toml"]);
    assert_eq!(gc(&[]).out, kept, "the run's plan reaches it");
    std::fs::remove_dir_all(place.at("runs/tiny")).unwrap();
    assert!(gc(&[]).out.starts_with("removed 1 artifacts"));
    assert_eq!(place.run(&["artifacts", "ls"]).out.lines().last(), Some("0 artifacts, 0 bytes"));
}

#[test]
fn damaged_bytes_have_their_own_exit_code() {
    let place = Place::new();
    finished(&place);
    let key = place
        .run(&["artifacts", "ls"])
        .out
        .split_whitespace()
        .find(|word| word.len() == 12)
        .unwrap()
        .to_owned();
    let copied = place.run(&["artifacts", "export", &key, "copy"]);
    assert_eq!(copied.code, Some(0), "{}", copied.err);
    assert_eq!(place.read("copy/results.json").into_bytes(), results().to_json());
    assert_eq!(place.run(&["artifacts", "verify"]).code, Some(0));

    let file = artifact(&place).join("1/results.json");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    for command in [&["artifacts", "verify"][..], &["run", "tiny.toml"]] {
        let done = place.run(command);
        assert_eq!(done.code, Some(21), "{command:?}: {}", done.err);
        assert!(done.err.contains("damaged"), "{}", done.err);
        assert!(done.err.contains("`fulcrum artifacts verify --repair` removes"), "{}", done.err);
    }
    let repaired = place.run(&["artifacts", "verify", "--repair"]);
    assert_eq!(repaired.code, Some(0), "{}", repaired.err);
    assert!(repaired.out.contains("removed 1 artifacts") && repaired.out.contains("kept 0 artifacts"));
    assert_eq!(place.run(&["artifacts", "verify"]).code, Some(0));
    finished(&place);
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(0), "what was removed can be made again");
}

#[test]
fn an_artifact_that_cannot_be_read_is_listed_as_damaged() {
    let place = Place::new();
    finished(&place);
    std::fs::write(artifact(&place).join("manifest.json"), "{").unwrap();
    let listed = place.run(&["artifacts", "ls"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    assert!(listed.out.contains("damaged"), "{}", listed.out);
    let last = "0 artifacts, 0 bytes, and 1 damaged: `fulcrum artifacts verify` says how";
    assert_eq!(listed.out.lines().last(), Some(last));
    let planned = place.run(&["plan", "tiny.toml"]);
    assert_eq!(planned.code, Some(21), "{}", planned.err);
    assert!(planned.err.contains("verify --repair"), "{}", planned.err);
}

#[test]
fn another_experiment_of_the_same_name_does_not_inherit_the_outcome() {
    let place = Place::new();
    finished(&place);
    let outcome = ["results.json", "results.csv", "report.html"].map(|name| format!("runs/tiny/{name}"));
    let there = || outcome.iter().filter(|path| place.at(path).exists()).count();
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(0));
    assert_eq!(there(), 3);
    // Without a worker program it does not get far.
    place.write("tiny.toml", &support::EXPERIMENT.replace("test = 20", "test = 24"));
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(2));
    assert_eq!(there(), 0);
    let report = place.run(&["report", "tiny"]);
    assert!(report.err.contains("has no results yet"), "{}", report.err);
}
