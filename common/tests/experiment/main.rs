//! What the experiment file says back: every problem, with its line and the way out.

mod generation;
mod kinds;
mod levels;
mod methods;
mod sweep;
mod training;
mod vectors;

use std::path::Path;

use fulcrum_common::experiment::{self, Experiment, Parallel};

const GOOD: &str = r#"name = "t"
recipe = "weak-to-strong"
seeds = [0, 1]
[task]
source = "builtin:arithmetic"
split = { ground_truth = 100, weak_labels = 100, test = 50 }
[[model]]
name = "small"
layers = 1
hidden = 16
heads = 2
context = 32
[[model]]
name = "large"
layers = 2
hidden = 32
heads = 2
context = 32
[train]
batch = 16
"#;

fn parse(text: &str) -> Result<Experiment, String> {
    experiment::parse("exp.toml", text, Path::new("")).map_err(|errors| errors.to_string())
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(parse(text).err().as_deref(), Some(expected), "\n{text}");
}

/// Replaces a piece of the good file, which must be there.
fn edited(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_good_file_is_good() {
    let experiment = parse(GOOD).unwrap();
    assert_eq!(experiment.name(), "t");
    assert_eq!(experiment.store().folder(), Some(Path::new("fulcrum-store")));
    assert_eq!(experiment.parallel(), Parallel { workers: None, fewest: None, threads: None });
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (line, expected) in [
        ("batchsize = 8", "exp.toml:21: train.batchsize is not a key; did you mean train.batch?"),
        (
            "learningrate = 8",
            "exp.toml:21: train.learningrate is not a key; did you mean train.learning_rate?",
        ),
        ("lr_schedule = 8", "exp.toml:21: train.lr_schedule is not a key; did you mean train.schedule?"),
        ("seeds = 8", "exp.toml:21: train.seeds is not a key; did you mean seeds?"),
        ("[trian]", "exp.toml:21: trian is not a key; did you mean train?"),
        (
            "[parallel]\nworker = 2",
            "exp.toml:22: parallel.worker is not a key; did you mean parallel.workers?",
        ),
        (
            "[[model]]\nname = \"x\"\nfrm = \"y\"",
            "exp.toml:23: model.frm is not a key; did you mean model.from?",
        ),
        ("[store]\nzzz = 1", "exp.toml:22: store.zzz is not a key; known here: store.path"),
    ] {
        let errors = parse(&format!("{GOOD}{line}\n")).unwrap_err();
        assert_eq!(errors.lines().find(|error| error.contains("not a key")), Some(expected));
    }
}

#[test]
fn a_value_of_the_wrong_type_or_out_of_range_is_refused_with_its_line() {
    for (from, to, expected) in [
        (
            "batch = 16",
            "batch = \"16\"",
            "exp.toml:20: train.batch must be a whole number from 1, not \"16\"",
        ),
        ("batch = 16", "batch = 0", "exp.toml:20: train.batch must be a whole number from 1, not 0"),
        ("batch = 16", "batch = -8", "exp.toml:20: train.batch must be a whole number from 1, not -8"),
        ("batch = 16", "batch = 1.5", "exp.toml:20: train.batch must be a whole number from 1, not 1.5"),
        (
            "batch = 16",
            "learning_rate = -1",
            "exp.toml:20: train.learning_rate must be a number above 0, not -1",
        ),
        (
            "batch = 16",
            "learning_rate = inf",
            "exp.toml:20: train.learning_rate must be a number above 0, not inf",
        ),
        (
            "batch = 16",
            "weight_decay = nan",
            "exp.toml:20: train.weight_decay must be a number from 0, not nan",
        ),
        ("batch = 16", "warmup = 1.1", "exp.toml:20: train.warmup must be a number from 0 to 1, not 1.1"),
        (
            "batch = 16",
            "schedule = \"cosin\"",
            "exp.toml:20: train.schedule must be \"constant\", \"linear\", \"cosine\" or \"inverse_sqrt\", not \"cosin\"",
        ),
        (
            "seeds = [0, 1]",
            "seeds = []",
            "exp.toml:3: seeds must be a list of whole numbers from 0, at least one and none twice, not []",
        ),
        (
            "seeds = [0, 1]",
            "seeds = [1, 1]",
            "exp.toml:3: seeds must be a list of whole numbers from 0, at least one and none twice, not [1, 1]",
        ),
        (
            "test = 50",
            "test = 50, balance = 0.4",
            "exp.toml:6: task.split.balance must be a number from 0.5 to 1, not 0.4",
        ),
        (
            "name = \"t\"",
            "name = \"../t\"",
            "exp.toml:1: name must be a name of at most 64 letters, digits, '-', '_' and '.', beginning with a letter \
             or digit, not \"../t\"",
        ),
        (
            "builtin:arithmetic",
            "builtin:geometry",
            "exp.toml:5: task.source must be \"builtin:arithmetic\", \"builtin:mixture\", \"builtin:mate-in-one\", \"hf:OWNER/NAME\", \"hf:OWNER/NAME@REVISION\" or a folder, \
             not \"builtin:geometry\"",
        ),
        (
            "layers = 1",
            "layers = 1025",
            "exp.toml:9: model.layers must be a whole number from 1 to 1024, not 1025",
        ),
        (
            "hidden = 16",
            "hidden = 131074",
            "exp.toml:10: model.hidden must be a whole number from 1 to 131072, not 131074",
        ),
        (
            "heads = 2",
            "heads = 2048",
            "exp.toml:11: model.heads must be a whole number from 1 to 1024, not 2048",
        ),
        (
            "context = 32",
            "context = 10",
            "exp.toml:12: model.context must be a whole number from 11 to 4194304, not 10",
        ),
        (
            "[train]",
            "[report]\ndraws = 1_000_001\n[train]",
            "exp.toml:20: report.draws must be a whole number from 1 to 1000000, not 1_000_001",
        ),
        (
            "recipe = \"weak-to-strong\"",
            "recipe = \"debate\"",
            "exp.toml:2: recipe must be \"weak-to-strong\", not \"debate\"",
        ),
    ] {
        refused(&edited(from, to), expected);
    }
}

#[test]
fn a_missing_key_is_named() {
    refused(
        &edited("name = \"t\"\n", ""),
        "exp.toml:1: name is missing: it must be a name of at most 64 letters, digits, '-', '_' and '.', beginning \
         with a letter or digit",
    );
    refused(
        &edited("heads = 2\n", ""),
        "exp.toml:7: model.heads is missing for \"small\": a model made here has layers, hidden, heads and context, \
         any other has from",
    );
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    for (from, to, expected) in [
        (
            "batch = 16",
            "batch = 16\nmicro_batch = 5",
            "exp.toml:21: train.micro_batch = 5 does not divide train.batch = 16",
        ),
        (
            "name = \"large\"",
            "name = \"small\"",
            "exp.toml:14: model.name = \"small\" is taken by an earlier model",
        ),
        ("hidden = 16", "hidden = 15", "exp.toml:11: model.heads = 2 does not divide model.hidden = 15"),
        (
            "[train]",
            "[methods]\npairs = [[\"large\", \"small\"], [\"small\", \"large\"]]\n[train]",
            "exp.toml:20: methods.pairs has [\"large\", \"small\"]: a pair is [weak, strong], and the ladder is listed \
             weakest first",
        ),
        (
            "[train]",
            "[methods]\npairs = [[\"small\", \"huge\"], [\"small\", \"large\"]]\n[train]",
            "exp.toml:20: methods.pairs names \"huge\", which is no model; known: small, large",
        ),
        (
            "[train]\nbatch = 16",
            "[methods]\nrun = [\"confidence\"]\n[train]\nbatch = 1",
            "exp.toml:22: train.batch = 1 has no median: the confidence loss needs a batch of at least 2",
        ),
        (
            "weak_labels = 100, test = 50 }",
            "weak_labels = 1, test = 50 }\n[methods]\nrun = [\"confidence\"]",
            "exp.toml:6: task.split.weak_labels = 1 has no median: the confidence loss needs at least 2 rows",
        ),
        (
            "seeds = [0, 1]",
            "seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]\n\
             report = { draws = 1_000_000 }",
            "exp.toml:4: report.draws = 1000000 is too many for 69 predictions: take 972592 at most",
        ),
        (
            "[train]",
            "[parallel]\nworkers = 3\n[train]",
            "exp.toml:20: parallel.workers = 3 is more than the 2 micro-batches of a batch: take fewer workers or a \
             smaller train.micro_batch",
        ),
        (
            "[train]",
            "[task.arithmetic]\nrows = 200\n[train]",
            "exp.toml:20: task.arithmetic.rows = 200 is less than the 250 that task.split needs",
        ),
        (
            "[train]",
            "[task.arithmetic]\nbelow = 10\n[train]",
            "exp.toml:20: task.arithmetic has 200 different claims below 10, not 313: raise task.arithmetic.below or \
             ask for fewer rows",
        ),
    ] {
        refused(&edited(from, to), expected);
    }
}

#[test]
fn a_head_begins_with_a_token_for_each_class() {
    parse(&edited("context = 32", "context = 32\nhead_init = [\"F\", \"T\"]\nreadout = \"first\"")).unwrap();
    for (line, expected) in [
        (
            "head_init = [\"F\", \"T\", \"?\"]",
            "exp.toml:13: model.head_init has 3 tokens, but the task has 2 classes",
        ),
        (
            "head_init = \"ones\"",
            "exp.toml:13: model.head_init must be \"normal\", \"zero\" or a list of tokens, not \"ones\"",
        ),
        (
            "readout = \"middle\"",
            "exp.toml:13: model.readout must be \"last\", \"mean\" or \"first\", not \"middle\"",
        ),
    ] {
        refused(&edited("context = 32", &format!("context = 32\n{line}")), expected);
    }
}

#[test]
fn a_section_that_is_not_read_is_an_error() {
    refused(
        &format!("{GOOD}[methods.product]\n"),
        "exp.toml:21: methods.product is not read: \"product\" is not in methods.run, nor the loss of a [[method]]",
    );
    refused(
        &format!("{GOOD}[methods.confidence]\n"),
        "exp.toml:21: methods.confidence is not read: \"confidence\" is not in methods.run, nor the loss of a [[method]]",
    );
    refused(
        &edited("source", "text = \"{{ x }}\"\nsource"),
        "exp.toml:5: task.text is not read: the rows of a built-in source are generated",
    );
    refused(
        &edited("layers = 1", "from = \"pypi:some-model\"\nlayers = 1"),
        "exp.toml:11: model.hidden is not read: \"small\" has its shape `from` elsewhere\n\
         exp.toml:12: model.heads is not read: \"small\" has its shape `from` elsewhere\n\
         exp.toml:13: model.context is not read: \"small\" has its shape `from` elsewhere",
    );
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_lines() {
    let text = edited("seeds = [0, 1]", "seeds = []").replace("batch = 16", "batch = 0\nlearning_rat = 1");
    let errors = experiment::parse("exp.toml", &text, Path::new("")).unwrap_err();
    let lines: Vec<_> = errors.problems().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(3), Some(20), Some(21)]);
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let errors = parse("name = \"t\"\nseeds = [0,\n[task]\n= 3\n").unwrap_err();
    assert!(errors.starts_with("exp.toml:") && errors.contains("not TOML"), "{errors}");
    let errors = parse(&edited("recipe", "name = \"u\"\nrecipe")).unwrap_err();
    assert!(errors.starts_with("exp.toml:2: not TOML: duplicate key"), "{errors}");
}

#[test]
fn a_file_that_is_absent_or_far_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("exp.toml");
    assert!(experiment::load(&path).unwrap_err().to_string().contains("exp.toml: cannot be read"));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(experiment::load(&path).unwrap_err().to_string().contains("is no experiment file"));
}

#[test]
fn train_keys_alone_are_checked_the_same_way() {
    use fulcrum_common::experiment::Training;
    assert_eq!(Training::parse("--set", "max_tokens = 9").unwrap().max_tokens(), 9);
    let errors = Training::parse("--set", "epochs = 0\nbatchsize = 1").unwrap_err().to_string();
    let expected = "--set:1: train.epochs must be a whole number from 1, not 0\n\
                    --set:2: train.batchsize is not a key; did you mean train.batch?";
    assert_eq!(errors, expected);
}

#[test]
fn every_committed_experiment_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    assert!(!files.is_empty());
    for path in files {
        let experiment = experiment::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            Some(experiment.shared().name()),
            path.file_stem().and_then(|stem| stem.to_str()),
            "name is the file's"
        );
    }
}

/// An experiment over files, whose `[task]` has these lines from line 6 on.
fn task(lines: &str) -> String {
    let head = GOOD.split("source").next().unwrap_or_default();
    format!(
        r#"{head}source = "rows"
{lines}files = ["a.jsonl"]
split = {{ ground_truth = 100, weak_labels = 100, test = 50 }}
[[model]]
name = "small"
from = "small"
[[model]]
name = "large"
from = "large"
"#
    )
}

#[test]
fn the_keys_of_a_task_are_those_of_one_form() {
    let choices = "text = \"{{ q }} {{ choice }}\"\nchoices = \"answers\"\nanswer = \"right\"\n";
    let pair = "chosen = \"good\"\nrejected = \"bad\"\nprompt = \"question\"\n";
    for good in [choices, pair, "format = \"sciq\"\npick = \"two\"\nseed = 3\n", "format = \"boolq\"\n"] {
        parse(&task(good)).unwrap_or_else(|e| panic!("{e}\n{good}"));
    }
    let cases = [
        (choices, "subset = \"s\"\n", "9: task.subset is not read: task.files names the files"),
        (choices, "source_split = \"s\"\n", "9: task.source_split is not read: task.files names the files"),
        (choices, "label = \"label\"\n", "9: task.label is not read: rows are given by choices and answer"),
        (choices, "seed = 1\n", "9: task.seed is not read: no coin is thrown for these rows"),
        (choices, "prompt = \"q\"\n", "9: task.prompt is not read: rows are given by choices and answer"),
        (pair, "text = \"{{ q }}\"\n", "9: task.text is not read: rows are given by chosen and rejected"),
        (
            "format = \"sciq\"\n",
            "text = \"{{ q }}\"\n",
            "7: task.text is not read: the formatter \"sciq\" has its own",
        ),
        (
            "format = \"sciq\"\n",
            "group_by = \"q\"\n",
            "7: task.group_by is not read: the formatter \"sciq\" has its own",
        ),
        (
            "format = \"sciq\"\n",
            "columns = [\"q\"]\n",
            "7: task.columns is not read: the formatter \"sciq\" has its own",
        ),
        (
            "format = \"boolq\"\n",
            "pick = \"one\"\n",
            "7: task.pick is not read: a row of \"boolq\" has one text",
        ),
        ("format = \"boolq\"\n", "seed = 1\n", "7: task.seed is not read: no coin is thrown for these rows"),
        ("", "format = \"sicq\"\n", "6: task.format = \"sicq\" is no formatter; the nearest is \"sciq\""),
        (
            "text = \"{{ q }}\"\nanswer = \"a\"\n",
            "choices = [\"a\"]\n",
            "8: task.choices must name two answers at least",
        ),
        (
            "text = \"{{ q }}\"\nanswer = \"a\"\n",
            "choices = \"a\"\n",
            "6: task.text does not show the answer: write {{ choice }} where it belongs",
        ),
        ("chosen = \"good\"\n", "", "4: task.rejected is missing: write the text that is not preferred"),
        (
            "answer = \"a\"\nchoices = \"b\"\n",
            "",
            "4: task.text is missing: write a template such as text = \"{{ sentence }}\"",
        ),
    ];
    for (good, bad, expected) in cases {
        refused(&task(&format!("{good}{bad}")), &format!("exp.toml:{expected}"));
    }
}

#[test]
fn the_tasks_of_the_data_page_are_sound() {
    let page = include_str!("../../../docs/data.md");
    let tasks: Vec<_> = page.split("```toml\n").skip(1).filter(|block| block.starts_with("[task]")).collect();
    assert!(tasks.len() >= 3, "{page}");
    for block in tasks {
        let (lines, _) = block.split_once("```").unwrap();
        let (_, lines) = lines.split_once('\n').unwrap();
        // The page says where the rows come from, and so does the experiment around.
        let is_place = |line: &&str| line.starts_with("source") || line.starts_with("files");
        let lines: String =
            lines.lines().filter(|line| !is_place(line)).map(|line| format!("{line}\n")).collect();
        parse(&task(&lines)).unwrap_or_else(|e| panic!("{e}\n{lines}"));
    }
}
