//! `fulcrum run` and its processes: what dies is started again within reason, and nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{Place, finish, pid_in, runs, wait_for};

const RUN: [&str; 4] = ["run", "tiny.toml", "--workers", "2"];

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Workers that stay until their input ends, and leave their process id behind.
const STAY: &str = "echo $$ > \"pid.$$\"; cat > /dev/null";

fn workers(place: &Place) -> Vec<u32> {
    let entries = std::fs::read_dir(place.at(".")).unwrap();
    let pids =
        entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_prefix("pid.")?.parse().ok());
    pids.collect()
}

/// The coordinator and both workers of a run that is under way.
fn processes(place: &Place) -> Vec<u32> {
    let coordinator = wait_for("the coordinator", || pid_in(&place.at("runs/tiny/coordinator.json")));
    let workers = wait_for("two workers", || Some(workers(place)).filter(|pids| pids.len() == 2));
    [vec![coordinator], workers].concat()
}

#[test]
fn a_worker_that_cannot_take_part_ends_the_run_with_its_code_and_reason() {
    let place = Place::with_worker("echo 'error: protocol 1 is spoken here' >&2; exit 20");
    let done = place.run(&RUN);
    assert_eq!(done.code, Some(20), "{}", done.err);
    let last = done.err.lines().last().unwrap();
    assert!(last.starts_with("error: w") && last.contains("protocol 1 is spoken here"), "{last}");
    assert!(last.contains("runs/tiny/logs/w"), "{last}");
}

#[test]
fn workers_that_only_die_end_the_run_without_progress() {
    let place = Place::with_worker("kill -9 $$");
    let done = place.run(&RUN);
    assert_eq!(done.code, Some(30), "{}", done.err);
    assert!(done.err.contains("ended with signal SIGKILL, starting it again"), "{}", done.err);
    assert!(done.err.contains("5 times without progress"), "{}", done.err);
}

#[test]
fn ctrl_c_stops_the_run_says_how_to_go_on_and_leaves_no_process() {
    let place = Place::with_worker(STAY);
    let run = place.start(&RUN);
    let processes = processes(&place);
    signal(run.id(), Signal::SIGINT);
    let done = finish(run);
    assert_eq!(done.code, Some(10), "{}", done.err);
    assert!(done.err.contains("the same command goes on from there"), "{}", done.err);
    assert!(!processes.iter().any(|&pid| runs(pid)), "{processes:?}");
}

#[test]
fn not_even_sigkill_leaves_orphans() {
    let place = Place::with_worker(STAY);
    let run = place.start(&RUN);
    let processes = processes(&place);
    signal(run.id(), Signal::SIGKILL);
    finish(run);
    wait_for("every process to end", || (!processes.iter().any(|&pid| runs(pid))).then_some(()));
}

#[test]
fn a_coordinator_that_is_killed_comes_back() {
    let place = Place::with_worker(STAY);
    let run = place.start(&RUN);
    let first = processes(&place)[0];
    signal(first, Signal::SIGKILL);
    let contact = place.at("runs/tiny/coordinator.json");
    wait_for("another coordinator", || pid_in(&contact).filter(|&pid| pid != first && runs(pid)));
    signal(run.id(), Signal::SIGTERM);
    assert_eq!(finish(run).code, Some(10));
}

#[test]
fn a_second_run_of_the_same_name_is_refused_while_the_first_works() {
    let place = Place::with_worker(STAY);
    let run = place.start(&RUN);
    processes(&place);
    let second = place.run(&RUN);
    assert_eq!(second.code, Some(2));
    assert!(second.err.contains("another fulcrum run is working in runs/tiny"), "{}", second.err);
    let started_again = place.run(&[&RUN[..], &["--launch", "a"]].concat());
    assert_eq!(started_again.code, Some(11), "an engine is to try once more: {}", started_again.err);
    let status = place.run(&["status", "tiny"]);
    assert!(status.out.starts_with("tiny is running"), "{}{}", status.out, status.err);
    signal(run.id(), Signal::SIGINT);
    assert_eq!(finish(run).code, Some(10));
}
