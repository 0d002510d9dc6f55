//! What a run says of itself when it does not get on.

use std::{process::Stdio, time::Instant};

use fulcrum_tests::workplace::entries;
use serde_json::Value;

use crate::{
    survival::undisturbed,
    workplace::{PATIENCE, Workplace, finish, same},
};

/// The verdict on the run as it is now, once there is a run.
fn verdict(place: &Workplace) -> Option<Value> {
    let output = place.run(&["status", "tiny", "--why", "--json"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// Asks until the verdict has all of these words in it.
fn says(place: &Workplace, words: &[&str]) -> Value {
    let (patience, mut last) = (Instant::now(), None);
    loop {
        assert!(patience.elapsed() < PATIENCE, "the last verdict is {last:?}\n{}", place.logs());
        let found = verdict(place);
        let line = found.iter().filter_map(|it| it["verdict"].as_str()).next().unwrap_or_default();
        if let Some(found) = found.as_ref().filter(|_| words.iter().all(|word| line.contains(word))) {
            return found.clone();
        }
        last = found;
    }
}

#[test]
fn a_rank_that_hangs_is_named_with_what_it_does_and_the_run_ends_with_the_same_bytes() {
    let place = Workplace::new();
    let marks = place.at("marks");
    std::fs::create_dir(&marks).unwrap();
    let mut command = place.command(&["run", "tiny.toml", "--workers", "2"]);
    command.env("FULCRUM_FAULT", "step.backward rank=1 step=17 kind=hang").env("FULCRUM_FAULT_ONCE", marks);
    command.env("FULCRUM_STALL_SECONDS", "10");
    let run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let found = says(
        &place,
        &["step 17: rank 0 waits in all-reduce", "for rank 1 (worker w1 on ", "in backward for "],
    );
    let rows = found["ranks"].as_array().unwrap();
    let phases: Vec<_> =
        rows.iter().map(|row| (row["place"].as_str().unwrap(), row["step"].as_u64())).collect();
    assert_eq!(phases, [("rank 0 of 2", Some(17)), ("rank 1 of 2", Some(17))]);
    assert!(rows[0]["collective"].as_str().unwrap().starts_with("waits in all-reduce"), "{found}");
    assert_eq!(rows[1]["phase"], "backward");
    assert_eq!(finish(run), Some(0), "{}", place.logs());
    same(&place, &undisturbed());

    // Nobody serves the run any more: what its workers left tells the same.
    let found = verdict(&place).unwrap();
    assert!(found["verdict"].as_str().unwrap().starts_with("tiny is done"), "{found}");
    let told = found["more"].to_string();
    assert!(
        told.contains("step 17: rank 0 waits in all-reduce") && told.contains("in backward for "),
        "{told}"
    );
    assert_eq!(entries(&place.at("runs/tiny/flight")).len(), 2);
    assert!(place.succeed(&["status", "--why"]).starts_with("tiny is done"), "the run that was begun last");
}
