//! What is saved loads in transformers, with the same logits.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use fulcrum_common::plan::Head;
use fulcrum_models::Model;

use crate::support::{DECODERS, Expected, all, folder, load};

/// Needs a Python with torch, transformers and safetensors, named by the variable: without it nothing is checked.
#[test]
fn what_is_saved_loads_in_transformers_with_the_same_logits() {
    const PYTHON: &str = "FULCRUM_PYTHON";
    let Some(python) = env::var_os(PYTHON) else {
        eprintln!("not checked: set {PYTHON} to a python that has transformers");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut saved = BTreeSet::new();
    for fixture in all() {
        let target = scratch.path().join(fixture);
        load(&folder(fixture)).unwrap().save(&target).unwrap();
        fs::copy(folder(fixture).join("expected.safetensors"), target.join("expected.safetensors")).unwrap();
        saved.insert(fixture.to_owned());
        for (change, model) in changed(fixture) {
            let name = format!("{fixture}.{change}");
            write(&scratch.path().join(&name), fixture, &model);
            saved.insert(name);
        }
    }
    let output = Command::new(python).arg(folder("round_trip.py")).arg(scratch.path()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    eprintln!("{}", said[0]);
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    let compared = said[0].lines().skip(1).filter_map(|line| line.split_once(':'));
    assert_eq!(compared.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>(), saved);
}

/// A fixture under other heads and with fewer layers.
fn changed(fixture: &str) -> Vec<(&'static str, Model)> {
    let fresh = || load(&folder(fixture)).unwrap();
    let headed = |head: Head| fresh().with_head(&head.into(), 1).unwrap();
    let mut models = vec![
        ("classifier", headed(Head::Classifier { classes: 5 })),
        ("reward", headed(Head::Reward)),
        ("truncated", fresh().truncate(1).unwrap()),
    ];
    if DECODERS.contains(&fixture) {
        // Its way back, through an embedding that becomes the output.
        let classifier = headed(Head::Classifier { classes: 5 });
        models.push(("speaking", classifier.with_head(&Head::LanguageModel.into(), 1).unwrap()));
    }
    models
}

/// Saves a model beside what it computes with the fixture's batch.
fn write(target: &Path, fixture: &str, model: &Model) {
    model.save(target).unwrap();
    let batch = Expected::of(fixture);
    let (ids, mask) = (batch.get("ids"), batch.get("mask"));
    let logits = model.forward(ids, mask).unwrap().detach();
    let found = [("ids", ids), ("mask", mask), ("logits", &logits)];
    tch::Tensor::write_safetensors(&found, target.join("expected.safetensors")).unwrap();
}
