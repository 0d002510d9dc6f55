//! `fulcrum train` and `fulcrum infer` on a model and a file of one's own.

use std::{fs, path::Path};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Row, RowAccessor},
};

use crate::workplace::Workplace;

/// Rows of the user's file.
const ROWS: usize = 50;

/// A model folder: the pretrained large model of the tiny experiment, exported from the store.
pub(crate) fn model(place: &Workplace) {
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    let listed = place.succeed(&["artifacts", "ls"]);
    let line = listed.lines().find(|line| line.contains("pretrain large")).expect(&listed);
    let key =
        line.split_whitespace().find(|word| word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit()));
    place.succeed(&["artifacts", "export", key.expect(line), "model"]);
}

/// Right claims and wrong ones, taking turns.
fn claims(place: &Workplace) {
    let line = |row: usize| {
        let (a, label) = (row + 10, row % 2);
        format!("{{\"text\": \"{a}+11={:03}\", \"label\": {label}}}\n", a + 12 - label)
    };
    fs::write(place.at("claims.jsonl"), (0..ROWS).map(line).collect::<String>()).unwrap();
}

/// `fulcrum infer` of a model on the claims: the names of the columns, and the rows.
fn infer(place: &Workplace, model: &str, out: &str) -> (Vec<String>, Vec<Row>) {
    place.succeed(&["infer", "--model", model, "--data", "claims.jsonl", "--out", out, "--workers", "2"]);
    let reader = SerializedFileReader::new(fs::File::open(place.at(out)).unwrap()).unwrap();
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let columns = fields.iter().map(|field| field.name().to_owned()).collect();
    (columns, reader.get_row_iter(None).unwrap().map(Result::unwrap).collect())
}

#[test]
fn a_language_model_gives_every_row_its_log_probability() {
    let place = Workplace::new();
    model(&place);
    claims(&place);
    let (columns, rows) = infer(&place, "model", "lm.parquet");
    assert_eq!(columns, ["row", "tokens", "log_probability"]);
    assert_eq!(rows.len(), ROWS);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row.get_long(0).unwrap(), number as i64);
        // A token that opens the text, and nine characters.
        assert_eq!(row.get_long(1).unwrap(), 10);
        assert!(row.get_double(2).unwrap() < 0.0, "{row}");
    }
}

#[test]
fn a_classifier_of_ones_own_is_trained_and_gives_probabilities() {
    let place = Workplace::new();
    model(&place);
    claims(&place);
    let train =
        ["train", "--model", "model", "--data", "claims.jsonl", "--label", "label", "--classes", "0,1"];
    place.succeed(&[&train[..], &["--out", "classifier", "--workers", "2"]].concat());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(place.at("classifier").join(file).is_file(), "{file}");
    }
    let (columns, rows) = infer(&place, "classifier", "p.parquet");
    assert_eq!(columns, ["row", "probabilities"]);
    assert_eq!(rows.len(), ROWS);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row.get_long(0).unwrap(), number as i64);
        let list = row.get_list(1).unwrap().elements();
        let sum: f64 = list.iter().map(|value| value.to_string().parse::<f64>().unwrap()).sum();
        assert!(list.len() == 2 && (sum - 1.0).abs() < 1e-5, "{row}");
    }
}

#[test]
fn weak_labels_of_another_program_teach_a_classifier() {
    let place = Workplace::new();
    model(&place);
    // What the datasets library's `save_to_disk` wrote of openai/weak-to-strong's columns.
    let labels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../launch/tests/fixtures/weak_labels/openai");
    let said = place.succeed(&["import-labels", labels.to_str().unwrap(), "--out", "labels.parquet"]);
    assert_eq!(said, "5 rows of 2 classes in labels.parquet, right on 80.0 % of 5 with ground truth\n");
    let train = ["train", "--model", "model", "--data", "labels.parquet", "--classes", "0,1", "--batch", "2"];
    place.succeed(&[&train[..], &["--soft-label", "soft_label", "--out", "taught"]].concat());
    // The same rows under the likelier class alone are other labels, and so another model.
    place.succeed(&[&train[..], &["--label", "hard_label", "--out", "hardened"]].concat());
    let weights = |model: &str| fs::read(place.at(model).join("model.safetensors")).unwrap();
    assert_ne!(weights("taught"), weights("hardened"));
    let wrong = place.run(&[&train[..], &["--soft-label", "text", "--out", "none"]].concat());
    let told = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(20), "{told}");
    assert!(told.contains("row 1: column `text` is \"Q: what is 0?"), "{told}");
}

#[test]
fn pairs_that_teach_nothing_are_counted_where_they_are_left_out() {
    let place = Workplace::new();
    place.tiny_model("model");
    let line = |row: usize| {
        let chosen = format!("\\n\\nHuman: {row}?\\n\\nAssistant: yes");
        let rejected = if row.is_multiple_of(3) { chosen.clone() } else { format!("{chosen} and no") };
        format!("{{\"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
    };
    fs::write(place.at("pairs.jsonl"), (0..9).map(line).collect::<String>()).unwrap();
    let train = ["train", "--model", "model", "--data", "pairs.jsonl", "--format", "anthropic_hh"];
    let output = place.run(&[&train[..], &["--epochs", "1", "--out", "out"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("left out: 3 pairs of equal or empty texts"), "{said}");
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let place = Workplace::new();
    claims(&place);
    let missing = place.run(&["infer", "--model", "nowhere", "--data", "claims.jsonl", "--out", "q.parquet"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere"));
}
