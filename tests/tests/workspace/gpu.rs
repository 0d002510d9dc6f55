//! `tests/gpu.sh` runs where no gate looks, on machines with a GPU: here it is kept from rotting.

use std::process::Command;

/// The longest that all sections may take together, in seconds.
const BUDGET: u64 = 480;

/// What the script says; it must end well.
fn script(arguments: &[&str]) -> String {
    let mut command = Command::new("bash");
    command
        .arg(fulcrum_tests::repository().join("tests/gpu.sh"))
        .args(arguments)
        .env_remove("FULCRUM_GPU_DEVICE");
    let output = command.output().unwrap();
    let (said, complained) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complained.is_empty(), "{arguments:?}: {said}{complained}");
    said
}

#[test]
fn every_section_says_what_it_does_and_their_times_stay_within_the_budget() {
    let list = script(&["--list"]);
    let times = list.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        assert!(words.len() > 5 && words[2] == "s", "{line}");
        words[1].parse::<u64>().unwrap()
    });
    let total: u64 = times.sum();
    assert!(total > 0 && total <= BUDGET, "the sections may take {total} s, and {BUDGET} are the most");
}

#[test]
fn every_section_shows_commands_when_it_is_only_shown_and_its_test_programs_exist() {
    let shown = script(&["--dry", "gpu.tar.gz"]);
    for section in
        shown.split("\n== ").filter(|text| !text.contains("all sections:") && !text.contains(": shown"))
    {
        assert!(section.contains("\n    "), "a section without a command: {section}");
    }
    for program in ["processes", "checkpoints", "training"] {
        assert!(shown.contains(&format!("BIN/{program}")), "{program} is not run");
        let worker = fulcrum_tests::repository().join("worker");
        let crates = std::fs::read_dir(worker).unwrap().map(|entry| entry.unwrap().path().join("tests"));
        let mut found = crates.filter(|tests| {
            tests.join(program).join("main.rs").exists() || tests.join(format!("{program}.rs")).exists()
        });
        assert!(found.next().is_some(), "no crate of the workers has the test program {program}");
    }
}

#[test]
fn a_section_that_is_not_there_is_refused() {
    let script = fulcrum_tests::repository().join("tests/gpu.sh");
    let output = Command::new("bash").arg(script).args(["--dry", "gpu.tar.gz", "no-such"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no section no-such"));
}
