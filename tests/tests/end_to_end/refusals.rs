//! Bad models and bad rows: one line that names the fault, the exit code of the contract, and nothing half-written.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::workplace::Workplace;

/// Runs a command that must fail with this code and message, and leave nothing but whole artifacts.
fn refused(place: &Workplace, args: &[&str], code: i32, expected: &str) {
    let output = place.run(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // What began and ended well is told too.
    let told = |line: &&str| !line.starts_with("began ") && !line.starts_with("done ");
    let lines: Vec<_> = said.lines().filter(told).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(code), 1), "{args:?}: {said}");
    assert!(lines[0].starts_with("error: ") && lines[0].contains(expected), "{args:?}: {said}");
    assert_eq!(said.matches(expected).count(), 1, "{said}");
    for left in ["out", "out.parquet"] {
        assert!(!place.at(left).exists(), "{args:?} left {left}");
    }
    for artifact in fs::read_dir(place.at("fulcrum-store/artifacts")).into_iter().flatten().flatten() {
        assert!(
            artifact.path().join("manifest.json").is_file(),
            "{args:?} left {}",
            artifact.path().display()
        );
    }
}

const CLASSIFIER: [&str; 6] = ["--label", "label", "--classes", "0,1", "--out", "out"];

#[test]
fn bad_rows_are_named_with_file_and_line() {
    let place = Workplace::new();
    place.tiny_model("model");
    let row = |label: &str| format!("{{\"text\": \"a lever\", \"label\": {label}}}\n");
    for (last, more, expected) in [
        ("{\"text\": \"a lev", &[][..], "stage \"rows\" failed: rows.jsonl: line 3: no JSON object"),
        (&row("2"), &[], "rows.jsonl: line 3: label is \"2\", which is none of the classes 0, 1"),
        (&row("0"), &["--text", "txt"], "rows.jsonl: line 1: the template asks for the column `txt`"),
        ("{\"text\": \"\", \"label\": 0}", &[], "rows.jsonl: line 3: "),
    ] {
        fs::write(place.at("rows.jsonl"), format!("{}{}{last}", row("0"), row("1"))).unwrap();
        let train = ["train", "--model", "model", "--data", "rows.jsonl"];
        refused(&place, &[&train[..], &CLASSIFIER, more].concat(), 20, expected);
    }
    fs::write(place.at("rows.jsonl"), "").unwrap();
    let train = ["train", "--model", "model", "--data", "rows.jsonl"];
    refused(&place, &[&train[..], &CLASSIFIER].concat(), 20, "the data has no rows");
}

/// Breaks the model in a folder.
type Spoil = fn(&Path);

#[test]
fn bad_models_are_named_with_file_and_fault() {
    let place = Workplace::new();
    fs::write(place.at("rows.csv"), "text\na lever\n").unwrap();
    let broken: [(&str, Spoil, i32, &str); 4] = [
        ("nan", not_a_number, 20, "holds a number that is not finite"),
        ("other", other_tokenizer, 20, "the tokenizer gives ids up to 97, but the model embeds 97 tokens"),
        (
            "outside",
            index_outside,
            2,
            "its shard \"../model.safetensors\" is not the name of a safetensors file",
        ),
        ("ends", strange_end, 20, "eos_token_id = 97 of a model configuration is not supported"),
    ];
    for (name, spoil, code, expected) in broken {
        place.tiny_model(name);
        spoil(&place.at(name));
        let command = if name == "ends" { "generate" } else { "infer" };
        let more: &[&str] = if name == "ends" { &["--max-new-tokens", "4"] } else { &[] };
        let line = [command, "--model", name, "--data", "rows.csv", "--out", "out.parquet"];
        refused(&place, &[&line[..], more].concat(), code, expected);
    }
}

/// The last weight.
fn not_a_number(model: &Path) {
    let path = model.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// A token more than the embedding has.
fn other_tokenizer(model: &Path) {
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["é"] = json!(97);
    fs::write(path, tokenizer.to_string()).unwrap();
}

fn index_outside(model: &Path) {
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let index = json!({"weight_map": {"wte.weight": "../model.safetensors"}});
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

fn strange_end(model: &Path) {
    fs::write(model.join("generation_config.json"), json!({"eos_token_id": [1, 97]}).to_string()).unwrap();
}
