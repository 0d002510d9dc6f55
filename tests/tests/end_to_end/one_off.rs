//! `fulcrum train` and `fulcrum infer` on a model and a file of one's own.

use std::fs;

use crate::workplace::Workplace;

/// A model folder: the pretrained large model of the tiny experiment, exported from the store.
fn model(place: &Workplace) {
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    let listed = place.succeed(&["artifacts", "ls"]);
    let line = listed.lines().find(|line| line.contains("pretrain large")).expect(&listed);
    let key =
        line.split_whitespace().find(|word| word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit()));
    place.succeed(&["artifacts", "export", key.expect(line), "model"]);
}

#[test]
fn one_finetune_and_two_passes_over_a_file() {
    let place = Workplace::new();
    model(&place);
    let rows: String = (10..60)
        .map(|a| {
            let label = a % 2;
            format!("{{\"text\": \"{a}+11={:03}\", \"label\": {label}}}\n", a + 11 + label)
        })
        .collect();
    fs::write(place.at("claims.jsonl"), rows).unwrap();

    place.succeed(&[
        "infer",
        "--model",
        "model",
        "--data",
        "claims.jsonl",
        "--out",
        "lm.parquet",
        "--workers",
        "2",
    ]);
    assert!(fs::read(place.at("lm.parquet")).unwrap().starts_with(b"PAR1"));

    let train = ["train", "--model", "model", "--data", "claims.jsonl", "--label", "label", "--classes", "0,1"];
    place.succeed(&[&train[..], &["--out", "classifier", "--workers", "2"]].concat());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(place.at("classifier").join(file).is_file(), "{file}");
    }
    place.succeed(&[
        "infer",
        "--model",
        "classifier",
        "--data",
        "claims.jsonl",
        "--out",
        "p.parquet",
        "--workers",
        "2",
    ]);
    assert!(fs::read(place.at("p.parquet")).unwrap().starts_with(b"PAR1"));

    let missing = place.run(&["infer", "--model", "nowhere", "--data", "claims.jsonl", "--out", "q.parquet"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere"));
}
