//! A training that comes no farther ends its run.

use std::time::Duration;

use fulcrum_common::exit;
use fulcrum_tests::{
    chaos::EXPERIMENT,
    workplace::{Workplace, finish},
};

/// More often than it may: the first epochs get as far as they do, in steps told and in checkpoints.
#[test]
fn a_training_that_always_dies_at_the_same_step_ends_the_run_with_a_code_of_its_own() {
    let place = Workplace::new("chaos", EXPERIMENT);
    std::fs::create_dir(place.at("marks")).unwrap();
    let faults = ["step.update rank=last step=17 kind=kill"; 8].join(";");
    let mut run = place.command(&["run", "chaos.toml", "--workers", "2", "--threads", "1"]);
    let run = run.env("FULCRUM_FAULT", faults).env("FULCRUM_FAULT_ONCE", place.at("marks"));
    let told = std::fs::File::create(place.at("told")).unwrap();
    let child = run.stdout(std::process::Stdio::null()).stderr(told).spawn().unwrap();
    let code = finish(child, Duration::from_secs(120));
    let told = std::fs::read_to_string(place.at("told")).unwrap();
    assert_eq!(code, Some(exit::STANDSTILL), "{told}\n{}", place.logs());
    let error = told.lines().find(|line| line.contains("in 3 epochs: epoch ")).unwrap_or_default();
    assert!(error.contains("failed: no step beyond ") && error.contains("lost w"), "{told}");
}
