//! Adapters that one command trains, on a model of an experiment.

use std::fs;

use crate::workplace::Workplace;

const EXPERIMENT: &str = r#"
name   = "adapted"
recipe = "weak-to-strong"

[task]
source  = "."
files   = ["rows.csv"]
text    = "{{ text }}"
label   = "label"
classes = ["0", "1"]
split   = { ground_truth = 16, weak_labels = 16, test = 16 }

[[model]]
name   = "small"
from   = "model"
layers = 1

[[model]]
name    = "large"
from    = "model"
adapter = "finetuned"

[methods]
run = ["naive"]
"#;

#[test]
fn adapters_of_a_finetuning_are_merged_into_a_model_of_an_experiment() {
    let place = Workplace::new();
    place.tiny_model("model");
    let line = |row: usize| format!("{} is {row},{}\n", ["down", "up"][row % 2], row % 2);
    let rows: String = (0..60).map(line).collect();
    fs::write(place.at("rows.csv"), format!("text,label\n{rows}")).unwrap();
    let train = ["train", "--model", "model", "--data", "rows.csv", "--lora-rank", "2", "--epochs", "1"];
    place.succeed(&[&train[..], &["--label", "label", "--classes", "0,1", "--out", "finetuned"]].concat());
    for file in ["adapter_config.json", "adapter_model.safetensors", "model.safetensors"] {
        assert!(place.at("finetuned").join(file).is_file(), "{file}");
    }
    fs::write(place.at("adapted.toml"), EXPERIMENT).unwrap();
    place.succeed(&["run", "adapted.toml"]);
    // With the classifier that came with the adapters, as the command left it merged.
    let (merged, imported) = (place.at("finetuned"), place.artifacts());
    for file in ["config.json", "model.safetensors"] {
        let imported = &imported[&("model large".to_owned(), file.to_owned())];
        assert!(fs::read(merged.join(file)).unwrap() == *imported, "{file}");
    }
}
