//! Models and datasets of a hub: found in the user's copies, in the cache, or fetched from a server on this machine.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod one_off;
mod refusals;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use server::{Hub, Trouble};
use support::{Done, Place};

const EXPERIMENT: &str = r#"
name   = "far"
recipe = "weak-to-strong"

[task]
source  = "hf:owner/rows"
files   = ["data/rows.csv"]
text    = "{{ text }}"
label   = "label"
classes = ["0", "1"]
split   = { ground_truth = 4, weak_labels = 4, test = 4 }

[[model]]
name   = "small"
from   = "hf:owner/model"
layers = 2

[[model]]
name = "large"
from = "hf:owner/model"

[methods]
run = ["naive"]
"#;

const CONFIG: &str =
    r#"{"architectures": ["BertModel"], "num_hidden_layers": 6, "max_position_embeddings": 512}"#;
const ROWS: &str = "text,label\na,0\n";
const MODEL: &str = "huggingface/hub/models--owner--model";

/// What the hub has: a model with more than is needed of it, and a dataset.
fn hub() -> Hub {
    let hub = Hub::start();
    for (name, text) in [("config.json", CONFIG), ("tokenizer.json", "{}"), ("README.md", "read me")] {
        hub.put("owner/model", name, text.as_bytes(), false);
    }
    hub.put("owner/model", "tokenizer_config.json", b"{\"a\": 1}", false);
    hub.put("owner/model", "model.safetensors", &weights(), true);
    hub.put("owner/model", "pytorch_model.bin", b"pickle", true);
    hub.put("owner/rows", "data/rows.csv", ROWS.as_bytes(), false);
    hub.put("owner/rows", "data/other.csv", b"other", false);
    hub
}

/// More than a server says at once.
fn weights() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

fn place() -> Place {
    let place = Place::new();
    place.write("far.toml", EXPERIMENT);
    place
}

fn plan(place: &Place, hub: &Hub, variables: &[(&str, &str)]) -> Done {
    let online = [("HF_ENDPOINT", hub.address.as_str()), ("HF_HUB_OFFLINE", "0")];
    place.run_with(&[&online, variables].concat(), &["plan", "far.toml"])
}

/// The names that were asked for, without what leads to them.
fn asked(hub: &Hub) -> Vec<String> {
    hub.requests().iter().map(|request| request.path.clone()).collect()
}

#[test]
fn what_is_needed_is_fetched_once_into_the_layout_that_others_use() {
    let (place, hub) = (place(), hub());
    let planned = plan(&place, &hub, &[]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
    assert_eq!(planned.err.lines().count(), 2, "{}", planned.err);
    assert!(planned.err.starts_with("fetching the model hf:owner/model (2 MB) into "), "{}", planned.err);
    let snapshot = place.at(MODEL).join("snapshots").join(server::COMMIT);
    assert_eq!(place.read(&format!("{MODEL}/refs/main")), server::COMMIT);
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), weights());
    assert!(fs::read_link(snapshot.join("config.json")).unwrap().starts_with("../../blobs"));
    let rows = "huggingface/hub/datasets--owner--rows/snapshots";
    assert_eq!(place.read(&format!("{rows}/{}/data/rows.csv", server::COMMIT)), ROWS);
    let unneeded = ["README.md", "pytorch_model.bin", "other.csv"];
    assert!(
        asked(&hub).iter().all(|path| unneeded.iter().all(|name| !path.ends_with(name))),
        "{:?}",
        asked(&hub)
    );

    let before = asked(&hub).len();
    let again = plan(&place, &hub, &[]);
    assert_eq!((again.code, again.out, again.err.as_str()), (Some(0), planned.out.clone(), ""));
    assert_eq!(asked(&hub).len(), before, "the cache was not enough");
    let offline = place.run(&["plan", "far.toml"]);
    assert_eq!((offline.code, offline.out), (Some(0), planned.out), "{}", offline.err);
}

#[test]
fn the_files_of_a_split_are_found_on_the_hub_and_found_again_offline() {
    let (place, hub) = (place(), hub());
    place.write("far.toml", &EXPERIMENT.replace("files   = [\"data/rows.csv\"]", "source_split = \"test\""));
    let card =
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data/test-*\n---\n";
    hub.put("owner/rows", "README.md", card.as_bytes(), false);
    hub.put("owner/rows", "data/test-00000-of-00002.csv", ROWS.as_bytes(), true);
    let lacks = plan(&place, &hub, &[]);
    assert!(
        lacks.err.contains("the dataset hf:owner/rows: 1 of 2 files of data/test are there"),
        "{}",
        lacks.err
    );
    hub.put("owner/rows", "data/test-00001-of-00002.csv", ROWS.as_bytes(), true);
    let planned = plan(&place, &hub, &[]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
    assert!(asked(&hub).iter().all(|path| !path.ends_with("rows.csv") && !path.ends_with("other.csv")));
    let offline = place.run(&["plan", "far.toml"]);
    assert_eq!((offline.code, offline.out, offline.err.as_str()), (Some(0), planned.out, ""));
    place.write("far.toml", &EXPERIMENT.replace("files   = [\"data/rows.csv\"]", "source_split = \"train\""));
    let unknown = plan(&place, &hub, &[]);
    assert!(unknown.err.contains("there is no split \"train\": known are test"), "{}", unknown.err);
}

#[test]
fn a_copy_below_the_data_root_goes_first() {
    let (place, hub) = (place(), hub());
    for (name, text) in [("config.json", CONFIG), ("model.safetensors", "w"), ("tokenizer.json", "{}")] {
        fs::create_dir_all(place.at("data/owner/model")).unwrap();
        place.write(&format!("data/owner/model/{name}"), text);
    }
    fs::create_dir_all(place.at("data/owner/rows/data")).unwrap();
    place.write("data/owner/rows/data/rows.csv", ROWS);
    let root = place.at("data").display().to_string();
    let planned = plan(&place, &hub, &[("FULCRUM_DATA", &root)]);
    assert_eq!((planned.code, planned.err.as_str()), (Some(0), ""));
    assert!(hub.requests().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_where_it_sends_one() {
    let (place, hub) = (place(), hub());
    hub.trouble(Trouble::Gated("secret"));
    let refused = plan(&place, &hub, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(
        refused.err.contains("hf:owner/model is gated (401)") && refused.err.contains("HF_TOKEN"),
        "{}",
        refused.err
    );
    fs::create_dir_all(place.at("huggingface")).unwrap();
    place.write("huggingface/token", "secret\n");
    let planned = plan(&place, &hub, &[]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
    let elsewhere: Vec<_> = hub.requests().into_iter().filter(|request| request.elsewhere).collect();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|request| request.token.is_none()));
    let token =
        hub.requests().into_iter().filter(|request| !request.elsewhere).filter_map(|it| it.token).next_back();
    assert_eq!(token.as_deref(), Some("Bearer secret"));
}

#[test]
fn a_revision_is_asked_for_and_kept_apart() {
    let (place, hub) = (place(), hub());
    for revision in ["step1000", "refs/pr/7"] {
        place.write("far.toml", &EXPERIMENT.replace("owner/model", &format!("owner/model@{revision}")));
        let planned = plan(&place, &hub, &[]);
        assert_eq!(planned.code, Some(0), "{revision}: {}", planned.err);
        let asked_for = format!("/api/models/owner/model/revision/{}", revision.replace('/', "%2F"));
        assert!(asked(&hub).iter().any(|path| path.starts_with(&asked_for)), "{revision}: {:?}", asked(&hub));
        assert_eq!(place.read(&format!("{MODEL}/refs/{revision}")), server::COMMIT);
    }
    place.write("far.toml", &EXPERIMENT.replace("owner/model", &format!("owner/model@{}", server::COMMIT)));
    let before = asked(&hub).len();
    let known = plan(&place, &hub, &[]);
    assert_eq!(
        (known.code, known.err.as_str(), asked(&hub).len()),
        (Some(0), "", before),
        "a commit is a commit"
    );
}

#[test]
fn a_sharded_model_is_fetched_shard_by_shard() {
    let (place, hub) = (place(), hub());
    hub.remove("owner/model", "model.safetensors");
    let index = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;
    hub.put("owner/model", "model.safetensors.index.json", index.as_bytes(), false);
    hub.put("owner/model", "a.safetensors", b"a", true);
    let lacks = plan(&place, &hub, &[]);
    assert!(lacks.err.contains("has no file b.safetensors"), "{}", lacks.err);
    assert!(!place.at(MODEL).join("refs").exists(), "half a model looks whole");
    hub.put("owner/model", "b.safetensors", b"b", true);
    let planned = plan(&place, &hub, &[]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let (place, hub) = (place(), hub());
    hub.trouble(Trouble::BreakOff { after: 700_000 });
    let planned = plan(&place, &hub, &[]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
    let ranges: Vec<_> = hub.requests().into_iter().filter_map(|request| request.range).collect();
    assert!(ranges.iter().any(|range| range.starts_with("bytes=") && range != "bytes=0-"), "{ranges:?}");
    let snapshot = place.at(MODEL).join("snapshots").join(server::COMMIT);
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), weights());
}
