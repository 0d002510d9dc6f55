//! What is wrong is said in one line on standard error, with the exit code of the contract.

mod support;

use support::{EXPERIMENT, Place};

/// The error must begin with this and come with this code.
fn check(place: &Place, args: &[&str], code: i32, expected: &str) {
    let done = place.run(args);
    assert_eq!(done.code, Some(code), "{args:?}: {}", done.err);
    assert_eq!(done.out, "", "{args:?}");
    assert_eq!(done.err.lines().count(), 1, "{args:?}: {}", done.err);
    assert!(done.err.starts_with("error: ") && done.err.contains(expected), "{args:?}: {}", done.err);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["plan", "run"] {
        check(&Place::new(), &[command, "nowhere.toml"], 2, "nowhere.toml");
    }
}

#[test]
fn an_unknown_key_is_answered_with_the_line_and_the_nearest_known_one() {
    let place = Place::new();
    place.write("wrong.toml", &EXPERIMENT.replace("rows = 64", "row = 64"));
    let line = 1 + place.read("wrong.toml").lines().position(|line| line == "row = 64").unwrap();
    check(&place, &["plan", "wrong.toml"], 2, &format!("wrong.toml:{line}:"));
    check(&place, &["run", "wrong.toml"], 2, "rows");
}

#[test]
fn too_few_workers_for_a_gang_are_refused_before_anything_starts() {
    let place = Place::new();
    place.write("gang.toml", &format!("{EXPERIMENT}\n[parallel]\nworkers = 4\n"));
    check(&place, &["run", "gang.toml", "--workers", "2"], 2, "give --workers 4 or more");
    assert!(!place.at("runs").exists() && !place.at("fulcrum-store").exists());
}

#[test]
fn a_missing_worker_program_is_answered_with_the_command_that_builds_it() {
    check(&Place::new(), &["run", "tiny.toml"], 2, "cargo build --package fulcrum-worker");
}

#[test]
fn a_run_that_is_not_there_is_named_by_report_and_status() {
    for command in ["report", "status"] {
        check(&Place::new(), &[command, "nothing"], 2, "no run \"nothing\"");
    }
}

#[test]
fn a_run_without_results_has_no_report_yet() {
    let place = Place::new();
    std::fs::create_dir_all(place.at("runs/tiny")).unwrap();
    check(&place, &["report", "tiny"], 2, "has no results yet");
}

#[test]
fn results_that_are_not_ours_are_refused() {
    let place = Place::new();
    std::fs::create_dir_all(place.at("runs/tiny")).unwrap();
    for (text, expected) in
        [("{}", "malformed"), ("{\"schema\": 99}", "schema 99"), ("not json", "malformed")]
    {
        place.write("runs/tiny/results.json", text);
        check(&place, &["report", "tiny"], 2, expected);
    }
}

#[test]
fn looking_at_a_store_that_is_not_there_does_not_make_one() {
    let place = Place::new();
    for command in ["ls", "verify", "gc"] {
        check(&place, &["artifacts", command], 2, "is no artifact store");
    }
    assert!(!place.at("fulcrum-store").exists());
}

#[test]
fn training_refuses_to_write_over_something_before_it_begins() {
    let place = Place::new();
    place.write("rows.csv", "text\n1+1=2\n");
    let args = ["train", "--model", ".", "--data", "rows.csv", "--out", "."];
    check(&place, &args, 2, "is there already");
    check(
        &place,
        &["infer", "--model", ".", "--data", "rows.csv", "--out", "no/such/x.parquet"],
        2,
        "--out names a file",
    );
    check(
        &place,
        &["infer", "--model", ".", "--data", "rows.csv", "--out", "rows.csv"],
        2,
        "is there already",
    );
    check(&place, &["infer", "--model", ".", "--data", "rows.csv", "--out", "x.parquet"], 2, "config.json");
}

#[test]
fn a_model_that_could_read_nothing_is_refused_before_anything_is_read() {
    let place = Place::new();
    let args = ["infer", "--model", ".", "--data", "rows.csv", "--out", "x.parquet"];
    let sized = |sizes: [&'static str; 2]| [&args[..], &sizes].concat();
    check(&place, &sized(["--max-tokens", "0"]), 2, "--max-tokens = 0 leaves nothing to read");
    check(&place, &sized(["--max-tokens", "9"]), 2, "config.json");
}

#[test]
fn a_disk_that_refuses_is_not_bad_usage() {
    let place = Place::new();
    check(&place, &["run", "tiny.toml", "--store", "tiny.toml/store"], 30, "tiny.toml/store");
}

#[test]
fn a_coordinator_says_where_it_listens() {
    let place = Place::new();
    place.write("plan.json", "{\"stages\": []}");
    let args = ["coordinator", "--run-folder", "r", "--plan", "plan.json", "--store", "s", "--workers", "1"];
    let done = place.run(&args);
    assert_eq!((done.code, done.err.as_str()), (Some(2), "error: the plan has no stages\n"));
    let plan = place.run(&["plan", "tiny.toml", "--json"]).out;
    place.write("plan.json", &format!("{{\"stages\": {plan}}}"));
    let exposed = [&args[..], &["--listen", "0.0.0.0:0"]].concat();
    check(&place, &exposed, 2, "one of this machine's own");
}
