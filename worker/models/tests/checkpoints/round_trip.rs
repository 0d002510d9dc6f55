//! What is saved loads in transformers, with the same logits.

use std::{env, fs, process::Command};

use crate::support::{all, folder, load};

/// Needs a Python with torch, transformers and safetensors, named by the variable: without it nothing is checked.
#[test]
fn what_is_saved_loads_in_transformers_with_the_same_logits() {
    const PYTHON: &str = "FULCRUM_PYTHON";
    let Some(python) = env::var_os(PYTHON) else {
        eprintln!("not checked: set {PYTHON} to a python that has transformers");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    for fixture in all() {
        let saved = scratch.path().join(fixture);
        load(&folder(fixture)).unwrap().save(&saved).unwrap();
        fs::copy(folder(fixture).join("expected.safetensors"), saved.join("expected.safetensors")).unwrap();
    }
    let script = folder("round_trip.py");
    let output = Command::new(python).arg(script).arg(scratch.path()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    eprintln!("{}", said[0]);
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    assert_eq!(said[0].lines().count(), 1 + all().len(), "{}", said[0]);
}
