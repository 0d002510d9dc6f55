//! Content keys are a promise: what decides a result changes them, nothing else does, and a new version of the
//! program changes them only on purpose.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure message, in its helpers too")]

mod document;

use std::{collections::BTreeSet, path::Path};

use document::Document;
use fulcrum_common::{
    experiment,
    plan::Plan,
    recipe,
    source::{HubCache, Roots, Sources},
};
use proptest::prelude::*;

/// The built-in task with models made here.
const MADE_HERE: &str = include_str!("keys/made-here.toml");

/// Files and pretrained models.
const FROM_OUTSIDE: &str = include_str!("keys/from-outside.toml");

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
    for (title, text) in [("made-here", MADE_HERE), ("from-outside", FROM_OUTSIDE)] {
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

/// Keys that change nothing, with another value than the files have.
const NEUTRAL: &[(&str, &str, &str)] = &[
    ("", "name", r#""renamed""#),
    ("parallel", "workers", "2"),
    ("parallel", "threads", "3"),
    ("parallel", "fewest", "1"),
    ("checkpoint", "steps", "7"),
    ("checkpoint", "seconds", "7"),
    ("checkpoint", "verify_steps", "7"),
    ("store", "path", r#""elsewhere""#),
];

/// Keys that have a single choice for now.
const SINGLE: &[(&str, &str)] = &[("", "recipe"), ("task", "kind")];

/// Keys that decide a result, with another value than `MADE_HERE` has.
const DECIDING_MADE_HERE: &[(&str, &str, &str)] = &[
    ("", "seeds", "[0, 2]"),
    ("task.split", "ground_truth", "101"),
    ("task.split", "weak_labels", "101"),
    ("task.split", "validation", "11"),
    ("task.split", "test", "51"),
    ("task.split", "balance", "0.6"),
    ("task.split", "over_long", r#""drop""#),
    ("task.split", "duplicates", r#""drop""#),
    ("task.split", "seed", "9"),
    ("task.arithmetic", "below", "21"),
    ("task.arithmetic", "rows", "700"),
    ("task.arithmetic", "seed", "9"),
    ("model", "name", r#""tiny""#),
    ("model", "layers", "3"),
    ("model", "hidden", "24"),
    ("model", "heads", "4"),
    ("model", "context", "48"),
    ("model", "learning_rate", "0.3"),
    ("model", "head_init", r#"["F", "T"]"#),
    ("model", "readout", r#""mean""#),
    ("pretrain", "rows", "999"),
    ("pretrain", "noise", "0.3"),
    ("pretrain", "seed", "9"),
    ("pretrain", "epochs", "9"),
    ("pretrain", "batch", "96"),
    ("pretrain", "micro_batch", "8"),
    ("pretrain", "learning_rate", "0.3"),
    ("pretrain", "warmup", "0.3"),
    ("pretrain", "weight_decay", "0.3"),
    ("parallel", "strategy", r#""zero1""#),
    ("parallel", "precision", r#""bf16""#),
    ("parallel", "mode", r#""deterministic""#),
    ("parallel", "wire", r#""bf16""#),
    ("methods", "run", r#"["confidence"]"#),
    ("methods", "pairs", r#"[["small", "large"]]"#),
    ("methods.confidence", "weight", "0.75"),
    ("methods.confidence", "warmup", "0.3"),
    ("methods.confidence", "form", r#""released""#),
    ("methods.confidence", "threshold", r#""prior""#),
    ("train", "epochs", "9"),
    ("train", "batch", "96"),
    ("train", "micro_batch", "4"),
    ("train", "learning_rate", "0.3"),
    ("train", "warmup", "0.3"),
    ("train", "weight_decay", "0.3"),
    ("train", "max_tokens", "9"),
    ("train", "trainable", r#""head""#),
    ("train", "freeze", r#"["*.wte.weight"]"#),
    ("infer", "batch_tokens", "32"),
    ("infer", "shard", "1024"),
    ("report", "draws", "9"),
    ("report", "seed", "9"),
];

/// The same for both sections that update a model.
const DECIDING_UPDATE: &[(&str, &str)] = &[
    ("optimizer", r#""adafactor""#),
    ("beta1", "0.8"),
    ("beta2", "0.8"),
    ("epsilon", "0.3"),
    ("schedule", r#""cosine""#),
    ("floor", "0.3"),
    ("clip", "0.3"),
];

/// The same for what is read where they descend by the gradient alone.
const DECIDING_DESCENT: &[(&str, &str)] =
    &[("momentum", "0.3"), ("nesterov", "true"), ("no_decay", r#"["*.wte.weight"]"#)];

/// `MADE_HERE` with keys in both of them.
fn updated(keys: &[(&str, &str)]) -> String {
    let mut document = Document::parse(MADE_HERE);
    for (key, value) in keys {
        document.set("pretrain", key, value);
        document.set("train", key, value);
    }
    document.to_string()
}

/// `MADE_HERE` with stochastic gradient descent and weight decay.
fn descending() -> String {
    updated(&[("optimizer", r#""sgd""#), ("weight_decay", "0.1")])
}

/// The keys of both sections.
fn both(keys: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str, &'static str)> {
    let of = |section| keys.iter().map(move |(key, value)| (section, *key, *value));
    of("pretrain").chain(of("train")).collect()
}

/// The same for what is read where adapters are trained.
const DECIDING_ADAPTED: &[(&str, &str, &str)] = &[
    ("train.lora", "rank", "4"),
    ("train.lora", "alpha", "0.3"),
    ("train.lora", "dropout", "0.3"),
    ("train.lora", "targets", r#"["c_attn"]"#),
];

/// `MADE_HERE` with adapters.
fn adapted() -> String {
    format!("{MADE_HERE}[train.lora]\n")
}

/// The same for what only `FROM_OUTSIDE` has.
const DECIDING_FROM_OUTSIDE: &[(&str, &str, &str)] = &[
    ("task", "files", r#"["b.csv", "a.csv"]"#),
    ("task", "text", r#""{{ other }}""#),
    ("task", "label", r#""other""#),
    ("task", "classes", r#"["1", "0"]"#),
    ("task", "columns", r#"["sentence", "label", "third"]"#),
    ("task", "group_by", r#""sentence""#),
    ("model", "from", r#""other""#),
    ("model", "adapter", r#""adapter""#),
    ("model", "layers", "1"),
];

/// A question with its answers, in place of the label of `FROM_OUTSIDE`.
const CHOICES: &[(&str, &str)] = &[
    ("choices", r#"["a", "b"]"#),
    ("answer", r#""right""#),
    ("text", r#""{{ choice }}""#),
    ("pick", r#""one""#),
];

/// The same for what only it has.
const DECIDING_CHOICES: &[(&str, &str, &str)] = &[
    ("task", "choices", r#""answers""#),
    ("task", "answer", r#""other""#),
    ("task", "pick", r#""two""#),
    ("task", "seed", "9"),
];

/// Two texts, of which one is preferred.
const PAIR: &[(&str, &str)] = &[("chosen", r#""good""#), ("rejected", r#""bad""#)];

/// The same for what only they have.
const DECIDING_PAIR: &[(&str, &str, &str)] = &[
    ("task", "chosen", r#""other""#),
    ("task", "rejected", r#""other""#),
    ("task", "prompt", r#""question""#),
    ("task", "pick", r#""one""#),
];

/// The rows of a known dataset.
const NAMED: &[(&str, &str)] = &[("format", r#""sciq""#)];

/// The same for what only they have.
const DECIDING_NAMED: &[(&str, &str, &str)] =
    &[("task", "format", r#""dream""#), ("task", "pick", r#""all""#), ("task", "seed", "9")];

/// The same for what only other methods have.
const DECIDING_METHODS: &[(&str, &str, &str)] = &[
    ("methods.product", "alpha", "2.0"),
    ("methods.product", "beta", "0.5"),
    ("methods.entropy", "weight", "0.75"),
    ("methods.entropy", "warmup", "0.3"),
    ("methods.window", "radius", "0.2"),
    ("methods.generalized", "q", "0.5"),
    ("methods.smoothing", "amount", "0.2"),
];

/// `MADE_HERE` with every method there is.
fn every_method() -> String {
    let mut document = Document::parse(MADE_HERE);
    let all = ["naive", "confidence", "kl", "product", "entropy", "window", "generalized", "smoothing"];
    document.set("methods", "run", &format!("{all:?}"));
    document.to_string()
}

/// The same for a model that has a weaker one.
const DECIDING_STUDENT: &[(&str, &str, &str)] = &[("model", "confidence_weight", "0.75")];

/// The same for groups of workers.
const DECIDING_HYBRID: &[(&str, &str, &str)] = &[("parallel", "shards", "4")];

/// `MADE_HERE` in groups of two workers.
fn hybrid() -> String {
    let mut document = Document::parse(MADE_HERE);
    document.set("parallel", "strategy", r#""hybrid""#);
    document.set("parallel", "shards", "2");
    document.to_string()
}

/// `FROM_OUTSIDE` with other keys that say how a row becomes examples.
fn formatted(keys: &[(&str, &str)]) -> String {
    let mut document = Document::parse(FROM_OUTSIDE);
    for key in ["text", "label", "classes", "columns"] {
        document.unset("task", key);
    }
    for (key, value) in keys {
        document.set("task", key, value);
    }
    document.to_string()
}

/// `task.source` names a place; what decides is the bytes that are there.
const PLACES: &[(&str, &str, &str)] = &[("task", "source", r#""copied""#)];

/// The same for rows whose files are not named.
const DECIDING_DISCOVERED: &[(&str, &str, &str)] =
    &[("task", "source_split", r#""test""#), ("task", "subset", r#""small""#)];

/// `FROM_OUTSIDE` over the default split of a dataset.
fn discovered() -> String {
    let mut document = Document::parse(FROM_OUTSIDE);
    document.set("task", "source", r#""dataset""#);
    document.unset("task", "files");
    document.to_string()
}

#[test]
fn what_decides_a_result_changes_the_goal() {
    let dir = outside();
    let cases = [
        (MADE_HERE.to_owned(), DECIDING_MADE_HERE),
        (MADE_HERE.to_owned(), &both(DECIDING_UPDATE)),
        (descending(), &both(DECIDING_DESCENT)),
        (adapted(), DECIDING_ADAPTED),
        (FROM_OUTSIDE.to_owned(), DECIDING_FROM_OUTSIDE),
        (discovered(), DECIDING_DISCOVERED),
        (formatted(CHOICES), DECIDING_CHOICES),
        (formatted(PAIR), DECIDING_PAIR),
        (formatted(NAMED), DECIDING_NAMED),
        (hybrid(), DECIDING_HYBRID),
        (every_method(), DECIDING_METHODS),
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
        DECIDING_ADAPTED,
        DECIDING_FROM_OUTSIDE,
        DECIDING_DISCOVERED,
        DECIDING_CHOICES,
        DECIDING_PAIR,
        DECIDING_NAMED,
        DECIDING_HYBRID,
        DECIDING_METHODS,
        DECIDING_STUDENT,
    ];
    let triples = [NEUTRAL, PLACES, &deciding.concat()].concat();
    let covered = triples.iter().map(|(section, key, _)| (*section, *key)).chain(SINGLE.iter().copied());
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
