//! A run as lines of JSON: `run --events` and `status --follow --json`.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use support::{Place, finish, outcome::finished, pid_in, wait_for};

/// The lines, all of which have what every line has.
fn lines(text: &str) -> Vec<Value> {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(line["v"] == 1 && line["run"] == "tiny" && line["unix_ms"].is_u64(), "{line}");
    }
    lines
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[test]
fn a_run_that_is_over_has_a_beginning_and_an_end_and_a_file_keeps_what_it_had() {
    let place = Place::new();
    finished(&place);
    for count in [2, 4] {
        let done = place.run(&["run", "tiny.toml", "--events", "events.jsonl"]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        let told = lines(&place.read("events.jsonl"));
        assert_eq!(events(&told).len(), count);
        assert_eq!(events(&told[count - 2..]), ["run_began", "run_done"]);
        assert_eq!(told[count - 2]["stages"], told[count - 2]["made"]);
    }
    let followed = place.run(&["status", "tiny", "--follow", "--json"]);
    assert_eq!(followed.code, Some(0), "{}", followed.err);
    let told = lines(&followed.out);
    assert_eq!(events(&told), ["run_began", "run_done"]);
    assert_eq!(told[0]["made"], 1, "the goal alone is in this store");
    let refused = place.run(&["status", "tiny", "--follow"]);
    assert!(refused.code == Some(2) && refused.err.contains("--json"), "{}", refused.err);
}

#[test]
fn a_run_that_fails_tells_its_code_and_reason() {
    let place = Place::with_worker("echo 'error: protocol 1 is spoken here' >&2; exit 20");
    let done = place.run(&["run", "tiny.toml", "--events", "events.jsonl"]);
    assert_eq!(done.code, Some(20), "{}", done.err);
    let told = lines(&place.read("events.jsonl"));
    let last = told.last().unwrap();
    assert_eq!((last["event"].as_str(), last["exit_code"].as_i64()), (Some("run_failed"), Some(20)));
    assert!(last["message"].as_str().unwrap().contains("protocol 1 is spoken here"), "{last}");
    let nowhere = place.run(&["run", "tiny.toml", "--events", "nowhere/events.jsonl"]);
    assert!(nowhere.err.contains("cannot write nowhere/events.jsonl"), "{}", nowhere.err);
}

#[test]
fn whoever_follows_hears_of_the_beginning_and_that_it_was_stopped() {
    let place = Place::with_worker("cat > /dev/null");
    let run = place.start(&["run", "tiny.toml", "--workers", "2", "--events", "events.jsonl"]);
    wait_for("the coordinator", || pid_in(&place.at("runs/tiny/coordinator.json")));
    let mut follow = place.start(&["status", "tiny", "--follow", "--json"]);
    let mut out = BufReader::new(follow.stdout.take().unwrap());
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    assert_eq!(events(&lines(&said)), ["run_began"]);
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(finish(run).code, Some(10));
    out.read_to_string(&mut said).unwrap();
    assert_eq!(finish(follow).code, Some(0));
    let (followed, kept) = (lines(&said), lines(&place.read("events.jsonl")));
    for told in [&followed, &kept] {
        assert_eq!(events(told).last(), Some(&"run_stopped"), "{told:?}");
        assert!(told.last().unwrap()["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}
