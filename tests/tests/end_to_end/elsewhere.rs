//! Workers that another process looks after than `fulcrum run`, as on other machines.

use std::process::{Child, Stdio};

use crate::workplace::{Workplace, finish, pid_of, same, signal};

fn quiet(place: &Workplace, arguments: &[&str]) -> Child {
    place.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn workers_from_elsewhere_leave_the_same_bytes_also_where_one_is_killed() {
    let expected = Workplace::new();
    expected.succeed(&["run", "tiny.toml", "--workers", "2", "--threads", "1"]);
    let place = Workplace::new();
    // It is there before the run is, and waits for it.
    let far = quiet(
        &place,
        &["worker", "--run-folder", "runs/tiny", "--threads", "1", "--seat", "far", "--wait", "60"],
    );
    let run = quiet(&place, &["run", "tiny.toml", "--workers", "2", "--threads", "1", "--here", "1"]);
    let status = place.in_the_middle_of("train", 64);
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{status}");
    signal("KILL", pid_of(&status, "far"));
    assert_eq!((finish(run), finish(far)), (Some(0), Some(0)), "{}", place.logs());
    assert!(place.lost_attempts() > 0, "the kill disturbed nothing");
    same(&place, &expected);
}

#[test]
fn a_run_whose_workers_are_all_elsewhere_goes_on_where_it_was_stopped() {
    let expected = Workplace::new();
    expected.succeed(&["run", "tiny.toml", "--workers", "2", "--threads", "1"]);
    let place = Workplace::new();
    let lead = ["run", "tiny.toml", "--workers", "2", "--threads", "1", "--here", "0"];
    let follow = ["worker", "--run-folder", "runs/tiny", "--count", "2", "--threads", "1", "--seat", "far"];
    let (run, far) = (quiet(&place, &lead), quiet(&place, &follow));
    place.in_the_middle_of("train", 64);
    signal("INT", u64::from(run.id()));
    assert_eq!((finish(run), finish(far)), (Some(10), Some(10)), "{}", place.logs());
    let (run, far) = (quiet(&place, &lead), quiet(&place, &follow));
    assert_eq!((finish(run), finish(far)), (Some(0), Some(0)), "{}", place.logs());
    assert!(place.logs().contains("goes on from step"), "{}", place.logs());
    same(&place, &expected);
}
