//! Runs that are disturbed end like runs that are not.

use std::process::Stdio;

use crate::workplace::{PATIENCE, Workplace, finish, folders, pid_of, same, signal};

/// What a run leaves when nothing happens to it.
pub(crate) fn undisturbed() -> Workplace {
    let place = Workplace::new();
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    place
}

#[test]
fn a_run_killed_whole_goes_on_from_its_last_checkpoint_and_from_the_one_before_if_that_is_damaged() {
    for damaged in [false, true] {
        let (place, newest) = std::iter::repeat_with(killed_whole).flatten().next().unwrap();
        if damaged {
            let tensors = newest.join("rank-0.safetensors");
            let mut bytes = std::fs::read(&tensors).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(tensors, bytes).unwrap();
        }
        place.succeed(&["run", "tiny.toml", "--workers", "2"]);
        let logs = place.logs();
        assert!(logs.contains("goes on from step"), "{logs}");
        assert_eq!(logs.contains("an earlier one is taken"), damaged, "{logs}");
        same(&place, &undisturbed());
        assert!(
            folders(&place.at("fulcrum-store/training")).is_empty(),
            "checkpoints of finished stages stay"
        );
    }
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
fn a_coordinator_killed_in_the_middle_interrupts_no_training() {
    let place = Workplace::new();
    let run = place.start();
    place.in_the_middle_of("train", 64);
    signal("KILL", coordinator(&place));
    assert_eq!(finish(run), Some(0));
    let logs = place.logs();
    assert!(logs.contains("is still in epoch"), "the kill disturbed nothing\n{logs}");
    assert_eq!(place.lost_attempts(), 0, "{logs}");
    same(&place, &undisturbed());
}

#[test]
fn a_coordinator_that_hangs_is_replaced() {
    let place = Workplace::new();
    let mut run = place.command(&["run", "tiny.toml", "--workers", "2"]);
    run.env("FULCRUM_SILENCE_SECONDS", "3").stdout(Stdio::null()).stderr(Stdio::piped());
    let run = run.spawn().unwrap();
    place.in_the_middle_of("train", 64);
    let hung = coordinator(&place);
    signal("STOP", hung);
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("has not answered for"), "{said}\n{}", place.logs());
    assert!(!std::path::Path::new(&format!("/proc/{hung}")).exists(), "it still hangs");
    same(&place, &undisturbed());
}

#[test]
fn a_worker_asked_to_terminate_leaves_after_a_checkpoint_from_which_the_training_goes_on() {
    let place = Workplace::new();
    let run = place.start();
    let status = place.in_the_middle_of("train", 64);
    signal("TERM", pid_of(&status, "w1"));
    assert_eq!(finish(run), Some(0));
    let logs = place.logs();
    assert!(logs.contains("goes on from step"), "{logs}");
    assert!(!logs.contains("nobody has committed"), "{logs}");
    same(&place, &undisturbed());
}

/// A run that was killed as a whole, and its newest checkpoint; none where its training was done before the kill.
fn killed_whole() -> Option<(Workplace, std::path::PathBuf)> {
    let place = Workplace::new();
    let mut run = place.start();
    let stage = place.has_checkpoints();
    let coordinator = coordinator(&place);
    run.kill().unwrap();
    run.wait().unwrap();
    gone(coordinator);
    let newest = place.checkpoints(&stage).pop()?;
    Some((place, newest))
}

/// The process of the run's coordinator.
fn coordinator(place: &Workplace) -> u64 {
    let contact: serde_json::Value = serde_json::from_str(&place.read("runs/tiny/coordinator.json")).unwrap();
    contact["pid"].as_u64().unwrap()
}

/// Waits until a process has ended.
fn gone(process: u64) {
    let patience = std::time::Instant::now();
    while std::path::Path::new(&format!("/proc/{process}")).exists() {
        assert!(patience.elapsed() < PATIENCE, "process {process} does not end");
        std::thread::yield_now();
    }
}
