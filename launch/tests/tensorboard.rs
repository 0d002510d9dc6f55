//! `fulcrum report --tensorboard`: event files that the tensorboard package reads.
//!
//! It is fetched by pip. FULCRUM_NO_TENSORBOARD=1 leaves it out, for machines without a package index.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use std::{fs, process::Command};

use serde_json::{Value, json};
use support::{
    Place,
    outcome::{finished, trained},
};

/// The package, and what reading event files takes of what it depends on.
const PACKAGES: [&str; 5] = ["tensorboard==2.21.0", "absl-py", "numpy", "packaging", "protobuf"];

/// Prints the scalars of every folder below the first argument: for each tag its steps and values.
const READ: &str = "
import json, os, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = {}
for name in sorted(os.listdir(sys.argv[1])):
    events = EventAccumulator(os.path.join(sys.argv[1], name)).Reload()
    found[name] = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}
print(json.dumps(found))
";

const LOSSES: &str = r#"{"step":0,"loss":0.75,"learning_rate":0.5,"rows":"00000000000000aa"}
{"step":1,"loss":null,"learning_rate":0.25,"rows":"00000000000000ab","skipped":true}
{"step":2,"loss":0.5,"learning_rate":0.0,"rows":"00000000000000ac"}
"#;

/// What the package reads below a folder; none where it is left out.
fn read(place: &Place, folder: &str) -> Option<Value> {
    if std::env::var_os("FULCRUM_NO_TENSORBOARD").is_some_and(|value| !value.is_empty()) {
        eprintln!("left out: FULCRUM_NO_TENSORBOARD is set");
        return None;
    }
    let packages = place.at("packages");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
    let installed = Command::new("python3").args(install).arg(&packages).args(PACKAGES).output().unwrap();
    assert!(
        installed.status.success(),
        "{}\nset FULCRUM_NO_TENSORBOARD=1 where there is no package index",
        String::from_utf8_lossy(&installed.stderr)
    );
    let mut python = Command::new("python3");
    let output =
        python.args(["-c", READ]).arg(place.at(folder)).env("PYTHONPATH", &packages).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Python writes what is no number as NaN, which JSON has not.
    let text = String::from_utf8(output.stdout).unwrap().replace("NaN", "null");
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn the_package_reads_losses_and_what_the_models_are_worth() {
    let place = Place::new();
    trained(&place, "tiny.toml", LOSSES);
    finished(&place);
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(0));
    let done = place.run(&["report", "tiny", "--tensorboard", "tb"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("trainings in tb: tensorboard --logdir shows them"), "{}", done.out);
    let Some(found) = read(&place, "tb") else { return };
    let student = &found["student naive small>large seed 0"];
    assert_eq!(student["loss"], json!([[0, 0.75], [1, null], [2, 0.5]]));
    assert_eq!(student["learning_rate"], json!([[0, 0.5], [1, 0.25], [2, 0.0]]));
    assert_eq!(student["test/accuracy"], json!([[2, 0.75]]));
    assert_eq!(student["test/pgr"], json!([[2, 0.5]]));
    let accuracy = |stage: &str| found[stage]["test/accuracy"][0][1].as_f64().unwrap() as f32;
    assert_eq!((accuracy("weak small seed 0"), accuracy("ceiling large seed 0")), (0.6, 0.9));
    assert_eq!(found["ceiling large seed 0"]["test/pgr"], Value::Null);
}

#[test]
fn a_run_that_is_not_finished_has_its_losses_and_doing_it_again_adds_what_came_since() {
    let place = Place::new();
    trained(&place, "tiny.toml", LOSSES);
    // Without a worker program it does not get far, but its folder is there.
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(2));
    let report = || place.run(&["report", "tiny", "--tensorboard", "tb"]);
    let done = report();
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(done.out.lines().count(), 1, "there is no table yet: {}", done.out);
    let folder = "tb/weak small seed 0";
    let files = || {
        let entries = fs::read_dir(place.at(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let losses = "events.out.tfevents.1.losses";
    assert_eq!(files(), [losses]);
    let before = fs::read(place.at(folder).join(losses)).unwrap();
    finished(&place);
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(0));
    assert_eq!(report().code, Some(0));
    assert_eq!(files(), [losses, "events.out.tfevents.2.test"]);
    assert_eq!(fs::read(place.at(folder).join(losses)).unwrap(), before);
}
