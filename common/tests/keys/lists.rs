//! Every key of the reference, with a value that is not its default, by what it needs around it.

use super::{FROM_OUTSIDE, MADE_HERE, document::Document};

/// Keys that change nothing, with another value than the files have.
pub(crate) const NEUTRAL: &[(&str, &str, &str)] = &[
    ("", "name", r#""renamed""#),
    ("parallel", "workers", "2"),
    ("parallel", "threads", "3"),
    ("parallel", "fewest", "1"),
    ("model", "workers", "1"),
    ("checkpoint", "steps", "7"),
    ("checkpoint", "seconds", "7"),
    ("checkpoint", "verify_steps", "7"),
    ("cluster", "partition", r#""gpu""#),
    ("cluster", "account", r#""me""#),
    ("cluster", "time", r#""1:00:00""#),
    ("cluster", "nodes", "2"),
    ("cluster", "cpus", "2"),
    ("cluster", "memory", r#""4G""#),
    ("cluster", "gpus", "true"),
    ("cluster", "grace", "60"),
    ("cluster", "flags", r#"["--constraint=ib"]"#),
    ("store", "path", r#""elsewhere""#),
];

/// Keys that have a single choice for now.
pub(crate) const SINGLE: &[(&str, &str)] = &[("", "recipe")];

/// Keys of one of several tasks: the test of `join` holds that such a task has the keys that it has alone.
pub(crate) const OF_A_LIST: &[(&str, &str)] = &[("task", "name")];

/// Keys that decide a result, with another value than `MADE_HERE` has.
pub(crate) const DECIDING_MADE_HERE: &[(&str, &str, &str)] = &[
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
    ("grid", "learning_rate", "[1e-3, 1e-4]"),
    ("grid", "epochs", "[1, 3]"),
    ("grid", "weight_decay", "[0.0, 0.1]"),
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
    ("infer", "poison_rows", "0"),
    ("report", "draws", "9"),
    ("report", "seed", "9"),
];

/// `MADE_HERE` with generated mates in place of claims.
pub(crate) fn of_mates() -> String {
    let mut document = Document::parse(MADE_HERE);
    document.remove_section("task.arithmetic", "");
    document.set("task", "source", r#""builtin:mate-in-one""#);
    document.set("task", "kind", r#""generation""#);
    document.set("methods", "run", r#"["naive"]"#);
    document.remove_section("methods.confidence", "");
    format!("{document}[task.mate-in-one]\n")
}

/// The same for what only they have.
pub(crate) const DECIDING_MATES: &[(&str, &str, &str)] = &[
    ("task", "answer_tokens", "9"),
    ("task.mate-in-one", "plies", "13"),
    ("task.mate-in-one", "rows", "700"),
    ("task.mate-in-one", "seed", "9"),
    ("pretrain", "noise", "0.3"),
];

/// The same for both sections that update a model.
pub(crate) const DECIDING_UPDATE: &[(&str, &str)] = &[
    ("optimizer", r#""adafactor""#),
    ("beta1", "0.8"),
    ("beta2", "0.8"),
    ("epsilon", "0.3"),
    ("schedule", r#""cosine""#),
    ("floor", "0.3"),
    ("clip", "0.3"),
];

/// The same for what is read where they descend by the gradient alone.
pub(crate) const DECIDING_DESCENT: &[(&str, &str)] =
    &[("momentum", "0.3"), ("nesterov", "true"), ("no_decay", r#"["*.wte.weight"]"#)];

/// `MADE_HERE` with keys in both of them.
pub(crate) fn updated(keys: &[(&str, &str)]) -> String {
    let mut document = Document::parse(MADE_HERE);
    for (key, value) in keys {
        document.set("pretrain", key, value);
        document.set("train", key, value);
    }
    document.to_string()
}

/// `MADE_HERE` with stochastic gradient descent and weight decay.
pub(crate) fn descending() -> String {
    updated(&[("optimizer", r#""sgd""#), ("weight_decay", "0.1")])
}

/// The keys of both sections.
pub(crate) fn both(keys: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str, &'static str)> {
    let of = |section| keys.iter().map(move |(key, value)| (section, *key, *value));
    of("pretrain").chain(of("train")).collect()
}

/// The same for what is read where adapters are trained.
pub(crate) const DECIDING_ADAPTED: &[(&str, &str, &str)] = &[
    ("train.lora", "rank", "4"),
    ("train.lora", "alpha", "0.3"),
    ("train.lora", "dropout", "0.3"),
    ("train.lora", "targets", r#"["c_attn"]"#),
];

/// `MADE_HERE` with adapters.
pub(crate) fn adapted() -> String {
    format!("{MADE_HERE}[train.lora]\n")
}

/// The same for what only `FROM_OUTSIDE` has.
pub(crate) const DECIDING_FROM_OUTSIDE: &[(&str, &str, &str)] = &[
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

/// `FROM_OUTSIDE` from easy rows to hard ones.
pub(crate) fn leveled() -> String {
    let mut document = Document::parse(FROM_OUTSIDE);
    document.set("task", "difficulty", r#""rating""#);
    document.set("task.split", "easy", "3");
    document.set("task.split", "hard", "6.5");
    document.to_string()
}

/// The same for what only that has.
pub(crate) const DECIDING_LEVELED: &[(&str, &str, &str)] =
    &[("task", "difficulty", r#""other""#), ("task.split", "easy", "2"), ("task.split", "hard", "6")];

/// A question with its answers, in place of the label of `FROM_OUTSIDE`.
pub(crate) const CHOICES: &[(&str, &str)] = &[
    ("choices", r#"["a", "b"]"#),
    ("answer", r#""right""#),
    ("text", r#""{{ choice }}""#),
    ("pick", r#""one""#),
];

/// The same for what only it has.
pub(crate) const DECIDING_CHOICES: &[(&str, &str, &str)] = &[
    ("task", "choices", r#""answers""#),
    ("task", "answer", r#""other""#),
    ("task", "pick", r#""two""#),
    ("task", "seed", "9"),
];

/// Two texts, of which one is preferred.
pub(crate) const PAIR: &[(&str, &str)] = &[("chosen", r#""good""#), ("rejected", r#""bad""#)];

/// The same for what only they have.
pub(crate) const DECIDING_PAIR: &[(&str, &str, &str)] = &[
    ("task", "chosen", r#""other""#),
    ("task", "rejected", r#""other""#),
    ("task", "prompt", r#""question""#),
    ("task", "pick", r#""one""#),
    ("task", "kind", r#""preference""#),
];

/// Two texts that are compared.
pub(crate) const COMPARED: &[(&str, &str)] =
    &[("kind", r#""preference""#), ("chosen", r#""good""#), ("rejected", r#""bad""#)];

/// The same for what only they have.
pub(crate) const DECIDING_COMPARED: &[(&str, &str, &str)] = &[
    ("task", "chosen", r#""other""#),
    ("task", "rejected", r#""other""#),
    ("task", "prompt", r#""question""#),
    ("task", "seed", "9"),
    ("model", "head_init", r#"["T"]"#),
];

/// Answers that models write.
pub(crate) const WRITTEN: &[(&str, &str)] =
    &[("kind", r#""generation""#), ("prompt", r#""question""#), ("completion", r#""good""#)];

/// The same for what only they have.
pub(crate) const DECIDING_WRITTEN: &[(&str, &str, &str)] = &[
    ("task", "prompt", r#""bad""#),
    ("task", "completion", r#""other""#),
    ("task", "position", r#""other""#),
    ("task", "answer_tokens", "9"),
];

/// The rows of a known dataset.
pub(crate) const NAMED: &[(&str, &str)] = &[("format", r#""sciq""#)];

/// The same for what only they have.
pub(crate) const DECIDING_NAMED: &[(&str, &str, &str)] = &[
    ("task", "format", r#""dream""#),
    ("task", "pick", r#""all""#),
    ("task", "seed", "9"),
    ("task", "kind", r#""multiple-choice""#),
];

/// The generated points, and models that see something of them.
const MIXTURE: &str = r#"
    name = "mixture"
    recipe = "weak-to-strong"
    [task]
    source = "builtin:mixture"
    [task.split]
    ground_truth = 100
    weak_labels = 100
    test = 50
    [[model]]
    name = "narrow"
    width = 2
    [[model]]
    name = "wide"
    width = 8
"#;

/// The same for what only they have.
pub(crate) const DECIDING_MIXTURE: &[(&str, &str, &str)] = &[
    ("task.mixture", "classes", "3"),
    ("task.mixture", "dimensions", "9"),
    ("task.mixture", "spread", "0.3"),
    ("task.mixture", "rows", "700"),
    ("task.mixture", "seed", "9"),
    ("model", "width", "3"),
    ("model", "noise", "0.3"),
];

/// The points and their models.
pub(crate) fn mixture() -> String {
    format!("{MIXTURE}[task.mixture]\n")
}

/// `FROM_OUTSIDE` with embeddings in place of texts.
pub(crate) fn embedded() -> String {
    let text = mixture().replace("[task.mixture]\n", "");
    let text = text
        .replace("\"builtin:mixture\"", "\"rows\"\nfiles = [\"e.safetensors\"]\nclasses = [\"0\", \"1\"]");
    text.replace("width = 2", "features = \"narrow\"").replace("width = 8", "features = \"wide\"")
}

/// The same for what only they have.
pub(crate) const DECIDING_EMBEDDED: &[(&str, &str, &str)] =
    &[("model", "features", r#""other""#), ("model", "own_classifier", "true")];

/// The same for what only other methods have.
pub(crate) const DECIDING_METHODS: &[(&str, &str, &str)] = &[
    ("methods.product", "alpha", "2.0"),
    ("methods.product", "beta", "0.5"),
    ("methods.entropy", "weight", "0.75"),
    ("methods.entropy", "warmup", "0.3"),
    ("methods.window", "radius", "0.2"),
    ("methods.generalized", "q", "0.5"),
    ("methods.smoothing", "amount", "0.2"),
];

/// `MADE_HERE` with every method there is.
pub(crate) fn every_method() -> String {
    let mut document = Document::parse(MADE_HERE);
    let all = ["naive", "confidence", "kl", "product", "entropy", "window", "generalized", "smoothing"];
    document.set("methods", "run", &format!("{all:?}"));
    document.to_string()
}

/// A method made of parts, in front of which another teaches.
const PARTS: &str = "[[method]]\nname = \"parts\"\nthrough = [\"medium\"]\ntuning = \"probe\"\nrounds = 1\nmoments = 2\nstop = \"weak-labels\"\n";

/// The same for what only such a method has.
pub(crate) const DECIDING_PARTS: &[(&str, &str, &str)] = &[
    ("method", "name", r#""other""#),
    ("method", "loss", r#""kl""#),
    ("method", "through", r#"["small"]"#),
    ("method", "rounds", "2"),
    ("method", "ensemble", "2"),
    ("method", "confident", "0.5"),
    ("method", "errors", r#""random""#),
    ("method", "hint", r#"["no", "yes"]"#),
    ("method", "generative", "1"),
    ("method", "tuning", r#""finetune""#),
    ("method", "probe_learning_rate", "0.3"),
    ("method", "moments", "3"),
    ("method", "fresh", "true"),
    ("task.split", "fresh", "12"),
    ("method", "stop", r#""ground-truth""#),
];

/// `MADE_HERE` with a method made of parts, before another whose rounds have rows of their own.
pub(crate) fn with_parts() -> String {
    let chain = "[[method]]\nname = \"chain\"\nrounds = 1\nfresh = true\n";
    let mut document = Document::parse(&format!("{MADE_HERE}{PARTS}{chain}"));
    document.set("task.split", "fresh", "10");
    document.to_string()
}

/// The same for what only a method has that asks.
pub(crate) const DECIDING_PROMPT: &[(&str, &str, &str)] =
    &[("method", "shots", "3"), ("method", "shot_labels", r#""truth""#), ("method", "separator", r#"" ""#)];

/// `MADE_HERE` with such a method.
pub(crate) fn prompted() -> String {
    let answering = MADE_HERE.replace("[[model]]", "[[model]]\nhead_init = [\"F\", \"T\"]");
    format!("{answering}[[method]]\nname = \"asked\"\ntuning = \"prompt\"\nshots = 2\nseparator = \"=\"\n")
}

/// The same for a model that has a weaker one.
pub(crate) const DECIDING_STUDENT: &[(&str, &str, &str)] = &[("model", "confidence_weight", "0.75")];

/// The same for groups of workers.
pub(crate) const DECIDING_HYBRID: &[(&str, &str, &str)] = &[("parallel", "shards", "4")];

/// `MADE_HERE` in groups of two workers.
pub(crate) fn hybrid() -> String {
    let mut document = Document::parse(MADE_HERE);
    document.set("parallel", "strategy", r#""hybrid""#);
    document.set("parallel", "shards", "2");
    document.to_string()
}

/// `FROM_OUTSIDE` with other keys that say how a row becomes examples.
pub(crate) fn formatted(keys: &[(&str, &str)]) -> String {
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
pub(crate) const PLACES: &[(&str, &str, &str)] = &[("task", "source", r#""copied""#)];

/// The same for rows whose files are not named.
pub(crate) const DECIDING_DISCOVERED: &[(&str, &str, &str)] =
    &[("task", "source_split", r#""test""#), ("task", "subset", r#""small""#)];

/// `FROM_OUTSIDE` over the default split of a dataset.
pub(crate) fn discovered() -> String {
    let mut document = Document::parse(FROM_OUTSIDE);
    document.set("task", "source", r#""dataset""#);
    document.unset("task", "files");
    document.to_string()
}
