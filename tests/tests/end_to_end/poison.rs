//! Rows that cannot be computed, since they kill, fail or never end: a run ends without them, names them, and has every other row as it would be.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use bytes::Bytes;
use fulcrum_common::exit;
use fulcrum_tests::{
    chaos::EXPERIMENT,
    workplace::{Left, Workplace, finish},
};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{ListAccessor, RowAccessor},
};

/// Seconds after which a worker that does not get on is given up.
const STALL: &str = "4";

/// The bits of every row's probabilities, by row, over all parts of the weak labels.
fn labels(left: &Left) -> BTreeMap<i64, Vec<u32>> {
    let mut found = BTreeMap::new();
    for ((stage, file), bytes) in left {
        if !(stage.starts_with("weak labels") && file.ends_with(".parquet")) {
            continue;
        }
        let reader = SerializedFileReader::new(Bytes::from(bytes.clone())).unwrap();
        for row in reader.get_row_iter(None).unwrap().map(Result::unwrap) {
            let list = row.get_list(1).unwrap();
            let bits = (0..list.len()).map(|at| list.get_float(at).unwrap().to_bits()).collect();
            assert!(found.insert(row.get_long(0).unwrap(), bits).is_none(), "a row comes once");
        }
    }
    found
}

/// Runs the experiment, with these faults; its exit code and what it said.
fn run(place: &Workplace, faults: &str) -> (Option<i32>, String) {
    std::fs::create_dir(place.at("marks")).unwrap();
    let mut command = place.command(&["run", "poison.toml", "--workers", "2", "--threads", "1"]);
    if !faults.is_empty() {
        command
            .env("FULCRUM_STALL_SECONDS", STALL)
            .env("FULCRUM_FAULT", faults)
            .env("FULCRUM_FAULT_ONCE", place.at("marks"));
    }
    let told = std::fs::File::create(place.at("told")).unwrap();
    let child = command.stdout(Stdio::null()).stderr(told).spawn().unwrap();
    let code = finish(child, Duration::from_secs(240));
    (code, std::fs::read_to_string(place.at("told")).unwrap())
}

#[test]
fn rows_that_kill_or_fail_or_never_end_are_left_out_by_name_and_no_other() {
    let experiment = EXPERIMENT.replace("\"chaos\"", "\"poison\"") + "[infer]\nshard = 32\n";
    let undisturbed = Workplace::new("poison", &experiment);
    let (code, told) = run(&undisturbed, "");
    assert_eq!(code, Some(exit::DONE), "{told}\n{}", undisturbed.logs());
    let mut expected = labels(&undisturbed.artifacts());
    assert_eq!(expected.len(), 64);
    let rows: Vec<i64> = expected.keys().copied().collect();
    let (kills, hangs, fails) = (rows[20], rows[40], rows[50]);

    let place = Workplace::new("poison", &experiment);
    let faults = [(kills, "kill"), (hangs, "hang"), (fails, "error")]
        .map(|(row, kind)| format!("infer.row row={row} kind={kind}"))
        .join(";");
    let (code, told) = run(&place, &faults);
    assert_eq!(code, Some(exit::DONE), "{told}\n{}", place.logs());
    expected.retain(|row, _| ![kills, hangs, fails].contains(row));
    assert_eq!(labels(&place.artifacts()), expected, "every other row, and its bytes");
    let named = format!("left out: {kills}, {hangs}, {fails}");
    let report = std::fs::read_to_string(place.at("runs/poison/report.html")).unwrap();
    assert!(report.contains(&named), "the report names both");
    let status = place.command(&["status", "poison"]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&named), "{status}");
}
