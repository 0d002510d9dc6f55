//! Runs that are disturbed end like runs that are not.

use crate::workplace::{Workplace, finish, pid_of, signal};

/// What a run leaves when nothing happens to it.
fn undisturbed() -> Workplace {
    let place = Workplace::new();
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    place
}

#[test]
fn a_worker_killed_in_the_middle_of_training_changes_no_byte() {
    let place = Workplace::new();
    let run = place.start();
    let status = place.in_the_middle_of("train", 64);
    signal("KILL", pid_of(&status, "w1"));
    assert_eq!(finish(run), Some(0));
    assert!(place.lost_attempts() > 0, "the kill disturbed nothing");
    same(&place, &undisturbed());
}

#[test]
fn ctrl_c_stops_cleanly_and_the_same_command_goes_on() {
    let place = Workplace::new();
    let run = place.start();
    let status = place.in_the_middle_of("train", 64);
    signal("INT", u64::from(run.id()));
    assert_eq!(finish(run), Some(10));
    for worker in ["w0", "w1"] {
        let process = format!("/proc/{}", pid_of(&status, worker));
        assert!(!std::path::Path::new(&process).exists(), "{worker} outlived its run");
    }
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    same(&place, &undisturbed());
}

#[test]
fn a_coordinator_killed_in_the_middle_loses_no_finished_stage() {
    let place = Workplace::new();
    let run = place.start();
    place.in_the_middle_of("train", 64);
    let contact: serde_json::Value = serde_json::from_str(&place.read("runs/tiny/coordinator.json")).unwrap();
    signal("KILL", contact["pid"].as_u64().unwrap());
    assert_eq!(finish(run), Some(0));
    assert!(place.lost_attempts() > 0, "the kill disturbed nothing");
    same(&place, &undisturbed());
}

/// Weights, labels, metrics: every file of every artifact.
fn same(disturbed: &Workplace, undisturbed: &Workplace) {
    let (left, right) = (disturbed.artifacts(), undisturbed.artifacts());
    let names = |files: &std::collections::BTreeMap<(String, String), Vec<u8>>| {
        files.keys().map(|(stage, file)| format!("{stage}: {file}")).collect::<Vec<_>>()
    };
    assert_eq!(names(&left), names(&right));
    for (name, bytes) in &left {
        assert!(*bytes == right[name], "{name:?} has other bytes");
    }
    let results = |place: &Workplace| place.read("runs/tiny/results.json");
    assert_eq!(results(disturbed), results(undisturbed));
}
