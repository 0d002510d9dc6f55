//! How the worker's process starts: what it says, and the code that tells its supervisor whether to try again.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{path::Path, process::Command};

use fulcrum_common::exit;

/// Starts a worker; its exit code and what it wrote to standard error.
fn start(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum-worker"));
    command.args(arguments).env_remove("FULCRUM_LOG").env_remove("RUST_LOG");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The arguments of a worker whose coordinator and store are as given.
fn arguments<'a>(coordinator: &'a str, store: &'a Path) -> [&'a str; 8] {
    ["--coordinator", coordinator, "--store", store.to_str().unwrap(), "--seat", "w0", "--threads", "1"]
}

#[test]
fn a_store_that_cannot_be_opened_is_worth_another_try_and_a_bad_argument_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    std::fs::write(&store, "a file where a folder should be").unwrap();
    let (code, said) = start(&arguments("127.0.0.1:9", &store), &[]);
    assert_eq!(code, Some(exit::MEMBERSHIP), "{said}");
    assert!(said.contains("cannot open the store"), "{said}");
    let (code, said) = start(&arguments("nowhere", &store), &[]);
    assert_eq!(code, Some(exit::USAGE), "{said}");
}

#[test]
fn the_detail_of_the_log_is_set_by_the_variable_that_the_help_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    std::fs::write(&store, "").unwrap();
    let said = |variables: &[(&str, &str)]| start(&arguments("127.0.0.1:9", &store), variables).1;
    assert_eq!(said(&[("FULCRUM_LOG", "off")]), "");
    assert!(said(&[("RUST_LOG", "off")]).contains("cannot open the store"));
}

#[test]
fn a_device_or_interface_that_is_not_there_is_one_line_and_no_other_try_is_worth_it() {
    let folder = tempfile::tempdir().unwrap();
    let more = |extra: &[&str]| start(&[&arguments("127.0.0.1:9", folder.path()), extra].concat(), &[]);
    // A number that no machine has, so that this holds on one with GPUs too.
    for (extra, says) in [
        (["--device", "cuda:9999"], "CUDA"),
        (["--interface", "no-such-interface"], "no interface is named no-such-interface: there are "),
        (["--interface", "203.0.113.0/24"], "no interface has an address in 203.0.113.0/24: there are "),
    ] {
        let (code, said) = more(&extra);
        assert_eq!(code, Some(exit::MISMATCH), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
}
