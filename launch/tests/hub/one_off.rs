//! `fulcrum train`, `infer` and `generate` on a model of the hub.

use std::fs;

use crate::{MODEL, ROWS, asked, hub, place, server};

/// A language model, as far as a plan asks.
const CONFIG: &str =
    r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_positions": 64}"#;

/// What each command says of its own; all need a worker, and there is none beside this program.
const COMMANDS: [&[&str]; 3] = [
    &["train", "--out", "out", "--label", "label", "--classes", "0,1"],
    &["infer", "--out", "out.parquet"],
    &["generate", "--out", "out.parquet", "--max-new-tokens", "4"],
];

#[test]
fn a_model_of_the_hub_is_fetched_once_for_all_commands() {
    let (place, hub) = (place(), hub());
    hub.put("owner/model", "config.json", CONFIG.as_bytes(), false);
    hub.put("owner/model", "generation_config.json", b"{\"eos_token_id\": 1}", false);
    place.write("rows.csv", ROWS);
    let run = |args: &[&str], model: &str, offline: &str| {
        let variables = [("HF_ENDPOINT", hub.address.as_str()), ("HF_HUB_OFFLINE", offline)];
        place.run_with(&variables, &[args, &["--model", model, "--data", "rows.csv"]].concat())
    };
    for args in COMMANDS {
        let done = run(args, "hf:owner/model", "0");
        // All that a plan needs was there.
        assert!(done.err.contains("cargo build --package fulcrum-worker"), "{args:?}: {}", done.err);
    }
    let snapshot = place.at(MODEL).join("snapshots").join(server::COMMIT);
    for name in ["model.safetensors", "tokenizer.json", "generation_config.json"] {
        assert!(snapshot.join(name).is_file(), "{name}");
    }
    let listings = asked(&hub).iter().filter(|path| path.starts_with("/api/")).count();
    assert_eq!(listings, 1, "{:?}", asked(&hub));

    let offline = run(COMMANDS[1], "hf:owner/other", "1");
    assert_eq!(offline.code, Some(2), "{}", offline.err);
    assert!(offline.err.contains("the model hf:owner/other is not in"), "{}", offline.err);
    let revised = run(COMMANDS[1], "hf:owner/model@v2", "0");
    assert!(revised.err.starts_with("fetching the model hf:owner/model@v2 "), "{}", revised.err);
    assert_eq!(fs::read_to_string(place.at(MODEL).join("refs/v2")).unwrap(), server::COMMIT);
    for wrong in ["hf:", "hf:../model", "hf:owner/model@", "pypi:../x"] {
        let refused = run(COMMANDS[1], wrong, "1");
        assert_eq!((refused.code, refused.err.lines().count()), (Some(2), 1), "{wrong}: {}", refused.err);
        assert!(refused.err.contains("hf:OWNER/NAME@REVISION"), "{wrong}: {}", refused.err);
    }
}

#[test]
fn a_copy_of_the_model_below_the_data_root_goes_first() {
    let (place, hub) = (place(), hub());
    fs::create_dir_all(place.at("data/owner/model")).unwrap();
    for (name, text) in [("config.json", CONFIG), ("model.safetensors", "w"), ("tokenizer.json", "{}")] {
        place.write(&format!("data/owner/model/{name}"), text);
    }
    place.write("rows.csv", ROWS);
    let args = [COMMANDS[1], &["--model", "hf:owner/model", "--data", "rows.csv", "--data-root", "data"]];
    let done =
        place.run_with(&[("HF_ENDPOINT", hub.address.as_str()), ("HF_HUB_OFFLINE", "0")], &args.concat());
    assert!(done.err.contains("cargo build --package fulcrum-worker"), "{}", done.err);
    assert!(hub.requests().is_empty());
}
