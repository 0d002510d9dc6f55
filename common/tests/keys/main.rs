//! Content keys are a promise: what decides a result changes them, nothing else does, and a new version of the
//! program changes them only on purpose.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure message, in its helpers too")]

mod document;
mod lists;

use std::{collections::BTreeSet, path::Path};

use document::Document;
use fulcrum_common::{
    experiment,
    plan::Plan,
    recipe,
    source::{HubCache, Roots, Sources},
};
use lists::*;
use proptest::prelude::*;

/// The built-in task with models made here.
const MADE_HERE: &str = include_str!("made-here.toml");

/// Files and pretrained models.
const FROM_OUTSIDE: &str = include_str!("from-outside.toml");

/// A folder with what `FROM_OUTSIDE` reads.
fn outside() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for (model, layers) in [("one", 6), ("other", 6)] {
        let config = format!(r#"{{"num_hidden_layers": {layers}, "max_position_embeddings": 512}}"#);
        write(&format!("{model}/config.json"), &config);
        write(&format!("{model}/model.safetensors"), model);
        write(&format!("{model}/tokenizer.json"), "{}");
    }
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        write(&format!("adapter/{name}"), name);
    }
    for name in ["train.csv", "test.csv", "small/train.csv"] {
        write(&format!("dataset/{name}"), name);
    }
    let card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.csv\n  \
        - split: test\n    path: test.csv\n- config_name: small\n  data_dir: small\n---\n";
    write("dataset/README.md", card);
    for name in ["a.csv", "b.csv"] {
        write(&format!("rows/{name}"), name);
        write(&format!("copied/{name}"), name);
    }
    write("rows/e.safetensors", "embeddings");
    dir
}

fn compile(text: &str, folder: &Path) -> Plan {
    let experiment = experiment::parse("keys.toml", text, folder).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let roots = Roots {
        data: Some(folder.to_owned()),
        cache: folder.join("cache"),
        hub: HubCache::new(folder.join("hub")),
    };
    let sources = Sources::resolve(&experiment, &roots).unwrap();
    let plan = recipe::compile(&experiment, &sources).unwrap();
    plan.check().unwrap();
    plan
}

fn keys(plan: &Plan) -> BTreeSet<String> {
    plan.stages().iter().map(|stage| stage.key.to_string()).collect()
}

#[test]
fn keys_are_the_committed_ones() {
    let dir = outside();
    let mut found = String::new();
    for (title, text) in
        [("made-here", MADE_HERE), ("from-outside", FROM_OUTSIDE), ("mate-in-one", &of_mates())]
    {
        for stage in compile(text, dir.path()).stages() {
            found.push_str(&format!("{title}: {} = {}\n", stage.name, stage.key));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/golden.txt");
    if std::env::var_os("FULCRUM_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == found,
        "the content keys have changed, so every finished artifact would be made again. If stages now produce other \
         bytes, raise plan::CODE_VERSION; if only their description changed on purpose, that is enough. Then run \
         `FULCRUM_BLESS=1 cargo test -p fulcrum-common --test keys`.\nfound:\n{found}"
    );
}

#[test]
fn what_decides_a_result_changes_the_goal() {
    let dir = outside();
    let cases = [
        (MADE_HERE.to_owned(), DECIDING_MADE_HERE),
        (MADE_HERE.to_owned(), &both(DECIDING_UPDATE)),
        (descending(), &both(DECIDING_DESCENT)),
        (of_mates(), DECIDING_MATES),
        (adapted(), DECIDING_ADAPTED),
        (FROM_OUTSIDE.to_owned(), DECIDING_FROM_OUTSIDE),
        (leveled(), DECIDING_LEVELED),
        (discovered(), DECIDING_DISCOVERED),
        (formatted(CHOICES), DECIDING_CHOICES),
        (formatted(PAIR), DECIDING_PAIR),
        (formatted(COMPARED), DECIDING_COMPARED),
        (formatted(WRITTEN), DECIDING_WRITTEN),
        (formatted(NAMED), DECIDING_NAMED),
        (hybrid(), DECIDING_HYBRID),
        (every_method(), DECIDING_METHODS),
        (with_parts(), DECIDING_PARTS),
        (prompted(), DECIDING_PROMPT),
        (mixture(), DECIDING_MIXTURE),
        (embedded(), DECIDING_EMBEDDED),
    ];
    for (text, changes) in &cases {
        let before = compile(text, dir.path()).goal();
        for (section, key, value) in *changes {
            let mut document = Document::parse(text);
            document.set(section, key, value);
            // A pair less leaves a model without one.
            if *key == "pairs" {
                document.remove_section("model", r#""medium""#);
            }
            assert_ne!(
                compile(&document.to_string(), dir.path()).goal(),
                before,
                "{section}.{key} = {value}"
            );
        }
    }
}

#[test]
fn what_decides_for_a_student_changes_the_goal() {
    let dir = outside();
    let before = compile(MADE_HERE, dir.path()).goal();
    for (_, key, value) in DECIDING_STUDENT {
        let name = "name = \"large\"\n";
        let text = MADE_HERE.replace(name, &format!("{name}{key} = {value}\n"));
        assert_ne!(compile(&text, dir.path()).goal(), before, "{key} = {value}");
    }
}

#[test]
fn what_does_not_decide_a_result_changes_no_key() {
    let dir = outside();
    for (text, changes) in [(MADE_HERE, NEUTRAL), (FROM_OUTSIDE, NEUTRAL), (FROM_OUTSIDE, PLACES)] {
        let before = keys(&compile(text, dir.path()));
        for (section, key, value) in changes {
            let mut document = Document::parse(text);
            document.set(section, key, value);
            assert_eq!(
                keys(&compile(&document.to_string(), dir.path())),
                before,
                "{section}.{key} = {value}"
            );
        }
    }
}

#[test]
fn every_key_of_the_reference_is_known_to_decide_or_not_to() {
    let deciding = [
        &both(DECIDING_UPDATE),
        &both(DECIDING_DESCENT),
        DECIDING_MADE_HERE,
        DECIDING_MATES,
        DECIDING_ADAPTED,
        DECIDING_FROM_OUTSIDE,
        DECIDING_LEVELED,
        DECIDING_DISCOVERED,
        DECIDING_CHOICES,
        DECIDING_PAIR,
        DECIDING_COMPARED,
        DECIDING_WRITTEN,
        DECIDING_NAMED,
        DECIDING_HYBRID,
        DECIDING_METHODS,
        DECIDING_PARTS,
        DECIDING_PROMPT,
        DECIDING_MIXTURE,
        DECIDING_EMBEDDED,
        DECIDING_STUDENT,
    ];
    let triples = [NEUTRAL, PLACES, &deciding.concat()].concat();
    let covered =
        triples.iter().map(|(section, key, _)| (*section, *key)).chain([SINGLE, OF_A_LIST].concat());
    let covered: BTreeSet<String> = covered.map(|(section, key)| format!("{section}.{key}")).collect();
    let page = experiment::reference();
    let mut section = "";
    let mut known = BTreeSet::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = if title.starts_with('`') { title.trim_matches(['`', '[', ']']) } else { "" };
        } else if let Some(row) = line.strip_prefix("| `") {
            known.insert(format!("{section}.{}", row.split('`').next().unwrap()));
        }
    }
    assert_eq!(covered, known, "put a new key into one of the lists of this test");
}

#[test]
fn a_default_written_out_is_the_same_as_left_out() {
    let dir = outside();
    let before = keys(&compile(MADE_HERE, dir.path()));
    for (section, key, default) in [
        ("task.split", "seed", "0"),
        ("pretrain", "micro_batch", "32"),
        ("train", "micro_batch", "8"),
        ("train", "warmup", "0.1"),
        ("model", "head_init", r#""normal""#),
        ("train", "trainable", r#""all""#),
        ("train", "freeze", "[]"),
        ("parallel", "strategy", r#""data""#),
        ("parallel", "precision", r#""fp32""#),
        ("parallel", "mode", r#""fast""#),
        ("parallel", "wire", r#""fp32""#),
    ] {
        let mut document = Document::parse(MADE_HERE);
        document.set(section, key, default);
        assert_eq!(keys(&compile(&document.to_string(), dir.path())), before, "{section}.{key}");
    }
    for (key, default) in [
        ("optimizer", r#""adamw""#),
        ("beta1", "0.9"),
        ("beta2", "0.999"),
        ("epsilon", "1e-8"),
        ("floor", "0"),
        ("no_decay", "[]"),
    ] {
        assert_eq!(keys(&compile(&updated(&[(key, default)]), dir.path())), before, "{key}");
    }
    for (form, key, default) in [
        (CHOICES, "seed", "0"),
        (PAIR, "pick", r#""all""#),
        (PAIR, "pick", r#""two""#),
        (PAIR, "kind", r#""classification""#),
        (COMPARED, "seed", "0"),
        (NAMED, "pick", r#""one""#),
        (NAMED, "seed", "0"),
    ] {
        let written = formatted(&[form, &[(key, default)]].concat());
        assert_eq!(
            keys(&compile(&written, dir.path())),
            keys(&compile(&formatted(form), dir.path())),
            "{written}"
        );
    }
}

#[test]
fn experiments_share_the_stages_they_have_in_common() {
    let dir = outside();
    let mut document = Document::parse(MADE_HERE);
    document.set("methods", "run", r#"["naive"]"#);
    document.remove_section("methods.confidence", "");
    let (all, naive) = (compile(MADE_HERE, dir.path()), compile(&document.to_string(), dir.path()));
    let goal = naive.goal().unwrap().to_string();
    let mut shared = keys(&naive);
    assert!(shared.remove(&goal));
    assert!(shared.is_subset(&keys(&all)), "all but the measurement");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Order of sections and keys, comments, blank lines and spaces are the author's own.
    #[test]
    fn keys_do_not_depend_on_how_the_file_is_laid_out(seed in any::<[u8; 32]>()) {
        let dir = outside();
        for text in [MADE_HERE, FROM_OUTSIDE] {
            let shuffled = Document::parse(text).shuffled(&seed);
            let plans = (compile(text, dir.path()), compile(&shuffled, dir.path()));
            prop_assert_eq!(plans.0.goal(), plans.1.goal(), "{}", shuffled);
            prop_assert_eq!(keys(&plans.0), keys(&plans.1));
        }
    }
}
