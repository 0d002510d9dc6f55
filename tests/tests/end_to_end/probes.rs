//! Classifiers of more than two classes over vectors: generated, given in a file, made of images.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::workplace::Workplace;

const GENERATED: &str = r#"
name   = "probes"
recipe = "weak-to-strong"

[task]
source  = "builtin:mixture"
mixture = { classes = 4, dimensions = 16, spread = 0.8 }
split   = { ground_truth = 300, weak_labels = 600, test = 400 }

[[model]]
name  = "narrow"
width = 6
noise = 1.0

[[model]]
name  = "wide"
width = 16

[methods]
run = ["naive", "confidence"]

[[method]]
name      = "surest"
confident = 0.5

[train]
epochs        = 6
batch         = 50
micro_batch   = 10
learning_rate = 2e-2

[infer]
shard = 150

[report]
draws = 200
"#;

fn results(place: &Workplace, run: &str) -> Value {
    serde_json::from_str(&place.read(&format!("runs/{run}/results.json"))).unwrap()
}

fn accuracy(of: &Value) -> f64 {
    of["accuracy"].as_f64().unwrap()
}

#[test]
fn probes_of_four_classes_learn_from_a_narrow_one_and_go_beyond_it() {
    let place = Workplace::new();
    fs::write(place.at("probes.toml"), GENERATED).unwrap();
    let printed = place.succeed(&["run", "probes.toml", "--workers", "2"]);
    assert!(printed.contains("PGR"), "{printed}");
    let results = results(&place, "probes");
    let (weak, ceiling) = (accuracy(&results["supervisors"][0]), accuracy(&results["ceilings"][0]));
    assert!((0.35..0.65).contains(&weak) && ceiling > 0.8, "{weak} {ceiling}");
    let students = results["students"].as_array().unwrap();
    assert_eq!(students.len(), 3);
    for student in students {
        assert!(accuracy(student) > weak + 0.05, "{student}");
        assert!(student["agreement"]["overall"].as_f64().unwrap() < 1.0, "{student}");
        // Areas of two classes are none of four.
        assert_eq!(student["auroc"], Value::Null, "{student}");
    }
    place.succeed(&["artifacts", "verify"]);

    let plan: Value = serde_json::from_str(&place.succeed(&["plan", "probes.toml", "--json"])).unwrap();
    let stages = plan.as_array().unwrap();
    assert!(stages.iter().all(|stage| stage["state"] == "cached"));
    let made_once = stages.iter().filter(|stage| stage["name"] == "features wide weak_labels").count();
    assert_eq!(made_once, 1, "ceiling and students read the same vectors");
}

#[test]
fn every_strategy_and_any_number_of_workers_train_the_same_probe() {
    let mut found = BTreeMap::new();
    for (strategy, workers) in [("data", "1"), ("data", "2"), ("zero1", "2"), ("sharded", "2")] {
        let place = Workplace::new();
        let parallel = format!("[parallel]\nmode = \"deterministic\"\nstrategy = \"{strategy}\"\n");
        let short = GENERATED.replace("epochs        = 6", "epochs = 1");
        fs::write(place.at("probes.toml"), format!("{short}{parallel}")).unwrap();
        place.succeed(&["run", "probes.toml", "--workers", workers]);
        let model = ("student confidence narrow>wide seed 0".to_owned(), "model.safetensors".to_owned());
        found.insert((strategy, workers), place.artifacts()[&model].clone());
    }
    let first = found[&("data", "1")].clone();
    for (of, model) in found {
        assert!(model == first, "{of:?}");
    }
}

/// Two models' embeddings of 400 rows in three classes, with the logits of the first: it is right on seven rows of ten. What
/// the second makes of a row tells its class.
fn embeddings() -> Vec<u8> {
    let (mut labels, mut logits, mut features) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..400usize {
        let class = row * 7 % 3;
        let said = if row % 10 < 7 { class } else { (class + 1) % 3 };
        labels.push(class as u8);
        logits.extend((0..3).map(|c| if c == said { 2.0f32 } else { 0.0 }));
        let spread = (row % 13) as f32 / 13.0;
        features.extend([0, 1, 2, 3].map(|d| if d == class { 1.5 } else { spread }));
    }
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let (logits, features) = (bytes(&logits), bytes(&features));
    let tensors = [
        ("labels", "U8", vec![400], &labels),
        ("small.features", "F32", vec![400, 3], &logits),
        ("small.logits", "F32", vec![400, 3], &logits),
        ("large.features", "F32", vec![400, 4], &features),
    ];
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, values) in tensors {
        let begin = data.len();
        data.extend_from_slice(values);
        let place = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.to_owned(), place);
    }
    let mut header = Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

const GIVEN: &str = r#"
name   = "given"
recipe = "weak-to-strong"

[task]
source  = "."
files   = ["embeddings.safetensors"]
classes = ["0", "1", "2"]
split   = { ground_truth = 20, weak_labels = 200, test = 150 }

[[model]]
name           = "small"
features       = "small"
own_classifier = true

[[model]]
name     = "large"
features = "large"

[train]
epochs        = 8
batch         = 20
learning_rate = 5e-2
"#;

#[test]
fn a_classifier_that_came_with_its_logits_supervises_as_it_is() {
    let place = Workplace::new();
    fs::write(place.at("embeddings.safetensors"), embeddings()).unwrap();
    fs::write(place.at("given.toml"), GIVEN).unwrap();
    let plan = place.succeed(&["plan", "given.toml"]);
    assert!(plan.contains("own classifier of small") && !plan.contains("ground_truth"), "{plan}");
    place.succeed(&["run", "given.toml"]);
    let results = results(&place, "given");
    let weak = accuracy(&results["supervisors"][0]);
    assert!((weak - 0.7).abs() < 0.08, "{weak}");
    // Errors that vectors do not show are not learned.
    assert!(accuracy(&results["students"][0]) > 0.95, "{results}");

    let other = GIVEN.replace("\"large\"\n\n[train]", "\"larger\"\n\n[train]");
    fs::write(place.at("given.toml"), other).unwrap();
    let output = place.run(&["run", "given.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("has no tensor \"larger.features\""), "{said}");
}

/// A pair of files in the layout of MNIST: two tones in a pattern for each of three classes, with noise.
fn grey_images(place: &Workplace) {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for row in 0..240u32 {
        let class = row * 7 % 3;
        labels.push(class as u8);
        for (at, y, x) in (0..64).map(|at| (at, at / 8, at % 8)) {
            let light = [x < 4, y < 4, (x + y) % 2 == 0][class as usize];
            let noise = (row * 31 + at * 17 + row * at) % 61;
            pixels.push((if light { 180 } else { 40 } + noise) as u8);
        }
    }
    let idx = |sizes: &[u32], bytes: &[u8]| {
        let mut file = (0x800 + sizes.len() as u32).to_be_bytes().to_vec();
        sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
        [file, bytes.to_vec()].concat()
    };
    fs::write(place.at("images-idx3-ubyte"), idx(&[240, 8, 8], &pixels)).unwrap();
    fs::write(place.at("labels-idx1-ubyte"), idx(&[240], &labels)).unwrap();
}

const IMAGES: &str = r#"
name   = "images"
recipe = "weak-to-strong"

[task]
source  = "."
files   = ["images-idx3-ubyte", "labels-idx1-ubyte"]
classes = ["0", "1", "2"]
split   = { ground_truth = 60, weak_labels = 100, test = 80 }

[[model]]
name = "small"
from = "network"

[[model]]
name = "large"
from = "network"

[train]
epochs        = 60
batch         = 20
learning_rate = 5e-2

[infer]
shard = 40
"#;

#[test]
fn what_a_network_makes_of_images_is_computed_once_in_shards() {
    let place = Workplace::new();
    grey_images(&place);
    let fixture = fulcrum_tests::repository().join("worker/models/tests/fixtures/backbone");
    fs::create_dir(place.at("network")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture.join(file), place.at("network").join(file)).unwrap();
    }
    fs::write(place.at("images.toml"), IMAGES).unwrap();
    place.succeed(&["run", "images.toml", "--workers", "2"]);
    let results = results(&place, "images");
    for what in ["supervisors", "ceilings", "students"] {
        assert!(accuracy(&results[what][0]) > 0.6, "{results}");
    }
    let artifacts = place.artifacts();
    let made = |stage: &str| {
        let files = artifacts.iter().filter(|((name, _), _)| name == stage);
        files.map(|((_, file), bytes)| (file.clone(), bytes.len())).collect::<Vec<_>>()
    };
    // Sixteen numbers of four bytes for each image, of a network that both models are.
    let expected = [("features-00000.f32", 40), ("features-00001.f32", 40), ("features-00002.f32", 20)];
    // One network, one pass: the stage is called after whichever of the two asked first.
    let found = [made("features small weak_labels"), made("features large weak_labels")].concat();
    assert_eq!(found, expected.map(|(file, rows)| (file.to_owned(), rows * 64)));
    place.succeed(&["artifacts", "verify"]);

    // The network's own classifier has five classes.
    let own = IMAGES.replacen("from = \"network\"", "from = \"network\"\nown_classifier = true", 1);
    fs::write(place.at("images.toml"), own).unwrap();
    let output = place.run(&["run", "images.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("the labels have 5 classes, the student has 3"),
        "{said}"
    );
}
