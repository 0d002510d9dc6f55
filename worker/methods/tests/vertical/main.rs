//! The whole life of a weak-to-strong experiment through `run`, without coordinator or store: prepare, pretrain,
//! finetune, label, train the student, predict, measure.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod bench;
mod moments;
mod prompts;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::PathBuf,
};

use fulcrum_common::{
    Key,
    plan::{
        self, FileDigest, Format, Head, HeadInit, Infer, Lora, Measure, Merge, Objective, Output, Part,
        Prediction, Prepare, Readout, Role, Source, Train, Trainable, Work,
    },
    results::{AccuracyResults, Results, SCHEMA},
    source,
};
use fulcrum_data::{LogProbabilities, Probabilities, Table, Tokenizer};
use fulcrum_methods::{Error, Input, Outcome, Shard};
use fulcrum_models::{Model, ModelFiles};

use bench::*;

#[test]
fn an_experiment_runs_from_nothing_to_its_results() {
    let mut bench = Bench::new();
    let data = bench.run(dataset(), &[]);
    assert_eq!(data.facts["rows/weak_labels"], 42);
    let corpus = bench.run(Work::Prepare(Prepare::Corpus { source: Source::Arithmetic(ARITHMETIC) }), &[]);
    let (small, large) = (bench.run(new_model(8), &[]), bench.run(new_model(16), &[]));
    let large = bench.train(
        &train(Part::Corpus, Head::LanguageModel, Objective::LanguageModel),
        &[("model", &large), ("data", &corpus)],
    );
    assert_eq!(large.facts["steps"], 15);
    let losses = fs::read_to_string(&large.files["losses.jsonl"]).unwrap();
    assert_eq!(losses.lines().count(), 15);
    let training = fs::read_to_string(&large.files["training.json"]).unwrap();
    assert!(training.starts_with(r#"{"updates":15,"optimizer":""#), "{training}");

    let ground = train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy);
    let weak = bench.train(&ground, &[("model", &small), ("data", &data)]);
    assert_eq!(weak.facts["steps"], 3);
    let labels = bench.infer(&infer(Part::WeakLabels, Output::Probabilities), &weak, &data);
    assert_eq!(
        labels.files.keys().collect::<Vec<_>>(),
        ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    );
    let second = train(Part::WeakLabels, CLASSIFIER, Objective::CrossEntropy);
    let ceiling = bench.train(&second, &[("model", &large), ("data", &data)]);
    let taught = [("model", &large), ("data", &data), ("labels", &labels)];
    let naive = bench.train(&second, &taught);
    let confident = bench.train(&train(Part::WeakLabels, CLASSIFIER, CONFIDENCE), &taught);
    let weights = |model: &Input| fs::read(&model.files["model.safetensors"]).unwrap();
    assert!(weights(&naive) != weights(&ceiling) && weights(&naive) != weights(&confident));

    let student =
        |method: &str| Role::Student { method: method.into(), weak: "small".into(), strong: "large".into() };
    let roles = [
        (&weak, Role::Weak { model: "small".into() }),
        (&ceiling, Role::Ceiling { model: "large".into(), method: None }),
        (&naive, student("naive")),
        (&confident, student("confidence")),
    ];
    let (mut inputs, mut predictions) = (vec![("data".to_owned(), data.clone())], Vec::new());
    for (at, (model, role)) in roles.into_iter().enumerate() {
        let (input, name) = (format!("prediction/{at}"), format!("model/{at}"));
        inputs.push((input.clone(), bench.infer(&infer(Part::Test, Output::Probabilities), model, &data)));
        inputs.push((name.clone(), model.clone()));
        predictions.push(Prediction { input, model: name, role, seed: 0, progress: None, oracle: false });
    }
    let measure = Work::Measure(Measure::WeakToStrong {
        ladder: vec!["small".into(), "large".into()],
        predictions,
        written: false,
        draws: 100,
        seed: 0,
        schema: SCHEMA,
    });
    let inputs: Vec<(&str, &Input)> = inputs.iter().map(|(role, input)| (role.as_str(), input)).collect();
    let text = |artifact: Input| fs::read(&artifact.files["results.json"]).unwrap();
    let results = text(bench.run(measure.clone(), &inputs));
    assert_eq!(results, text(bench.run(measure, &inputs)));
    let results = Results::from_json(&results).unwrap();
    assert_eq!((results.test_rows, results.chance), (30, 0.5));
    assert_eq!(
        results.ladder.iter().map(|model| model.parameters).collect::<Vec<_>>(),
        [weak.facts["parameters"], ceiling.facts["parameters"]]
    );
    assert_eq!(
        results.students.iter().map(|student| student.method.as_str()).collect::<Vec<_>>(),
        ["naive", "confidence"]
    );
    let by_hand = accuracy_by_hand(&data, inputs[1].1);
    assert_eq!(results.supervisors[0].accuracy, by_hand);

    let inputs = [("data", &data), ("prediction", inputs[1].1)];
    let alone = text(bench.run(Work::Measure(Measure::Accuracy { part: Part::Test }), &inputs));
    assert_eq!(AccuracyResults::from_json(&alone).unwrap().accuracy, by_hand);
}

/// Counted in the other way round: by looking up each prediction's label.
fn accuracy_by_hand(data: &Input, prediction: &Input) -> f64 {
    let table = Table::read(&data.files["test.parquet"]).unwrap();
    let labels: BTreeMap<i64, i32> = table.rows.iter().copied().zip(table.labels.unwrap()).collect();
    let parts: Vec<&PathBuf> = prediction.files.values().collect();
    let found = Probabilities::read(&parts).unwrap();
    let hits =
        found.rows.iter().zip(&found.probabilities).filter(|(row, p)| i32::from(p[1] > p[0]) == labels[row]);
    hits.count() as f64 / labels.len() as f64
}

#[test]
fn a_stage_gives_the_same_bytes_again_and_shards_cut_anywhere_give_the_same_numbers_to_rounding() {
    let mut bench = Bench::new();
    let (data, model) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let inputs = [("model", &model), ("data", &data)];
    let ground = train(Part::GroundTruth, CLASSIFIER, CONFIDENCE);
    let (first, again) = (bench.train(&ground, &inputs), bench.train(&ground, &inputs));
    for name in first.files.keys() {
        assert_eq!(fs::read(&first.files[name]).unwrap(), fs::read(&again.files[name]).unwrap(), "{name}");
    }
    let numbers = [44, 16, 16, 3].map(|shard| {
        let work = Infer { shard, ..infer(Part::WeakLabels, Output::Probabilities) };
        let whole = bench.infer(&work, &first, &data);
        Probabilities::read(&whole.files.values().collect::<Vec<_>>()).unwrap()
    });
    assert_eq!(numbers[1], numbers[2], "the same shards give the same bytes");
    for other in &numbers[1..] {
        assert_eq!(numbers[0].rows, other.rows);
        let (one, other) = (numbers[0].probabilities.concat(), other.probabilities.concat());
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn a_language_model_scores_rows_that_carry_no_labels() {
    let mut bench = Bench::new();
    let path = bench.folder.path().join("claims.jsonl");
    fs::write(&path, "{\"text\":\"1+1=2\"}\n{\"text\":\"7\"}\n").unwrap();
    let files = vec![FileDigest { name: "claims.jsonl".into(), digest: source::digest(&path).unwrap() }];
    let rows = Work::Prepare(Prepare::Rows {
        source: Source::Files { files },
        format: Format::unlabelled("{{ text }}"),
    });
    let (rows, _) = bench.try_run(rows, &[], None, &[("file/0", &path)]).unwrap();
    let model = bench.run(new_model(8), &[]);
    let scored = bench.infer(&infer(Part::Rows, Output::LogProbability), &model, &rows);
    let found = LogProbabilities::read(&[&scored.files["part-00000.parquet"]]).unwrap();
    // The characters and the mark of the beginning.
    assert_eq!(found.tokens, [6, 2]);
    // Untrained, so every one of 18 tokens (15 characters, pad, begin, unknown) is about as likely.
    for (tokens, log_probability) in found.tokens.iter().zip(&found.log_probability) {
        let predicted = (tokens - 1) as f64;
        assert!((log_probability + predicted * 18f64.ln()).abs() < 0.1 * predicted, "{found:?}");
    }
}

#[test]
fn sources_that_changed_since_the_plan_are_refused() {
    let mut bench = Bench::new();
    let path = bench.folder.path().join("rows.jsonl");
    fs::write(&path, "{\"text\":\"now\"}\n").unwrap();
    let files = vec![FileDigest { name: "rows.jsonl".into(), digest: Key::of(b"then") }];
    let rows = Prepare::Rows { source: Source::Files { files }, format: Format::unlabelled("{{ text }}") };
    let error = bench.try_run(Work::Prepare(rows.clone()), &[], None, &[("file/0", &path)]).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    let error = bench.try_run(Work::Prepare(rows), &[], None, &[]).unwrap_err();
    assert!(matches!(error, Error::Location(_)), "{error}");

    let model = bench.run(new_model(8), &[]);
    let folder = model.files["config.json"].parent().unwrap().to_owned();
    let import = |digest, layers| Work::Prepare(Prepare::Model { digest, layers, adapter: None });
    let error = bench.try_run(import(Key::of(b"then"), None), &[], None, &[("model", &folder)]).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    let digest = source::model_digest(&folder).unwrap();
    let (same, _) = bench.try_run(import(digest, None), &[], None, &[("model", &folder)]).unwrap();
    assert_eq!(
        fs::read(&same.files["model.safetensors"]).unwrap(),
        fs::read(&model.files["model.safetensors"]).unwrap()
    );
    let (first, _) = bench.try_run(import(digest, Some(1)), &[], None, &[("model", &folder)]).unwrap();
    assert!(first.facts["parameters"] < model.facts["parameters"]);
}

#[test]
fn models_of_one_shape_have_a_mean_and_others_none() {
    let mut bench = Bench::new();
    let data = bench.run(dataset(), &[]);
    let (model, other) = (bench.run(new_model(8), &[]), bench.run(new_model(16), &[]));
    let inputs = [("model", &model), ("data", &data)];
    let trained = bench.train(&train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy), &inputs);
    let average = || Work::Merge(Merge::Average);
    let same = bench.run(average(), &[("model/0", &trained), ("model/1", &trained)]);
    let bytes = |input: &Input| fs::read(&input.files["model.safetensors"]).unwrap();
    assert_eq!(bytes(&same), bytes(&trained));
    let tensors = |input: &Input| -> BTreeMap<String, tch::Tensor> {
        let read = tch::Tensor::read_safetensors(&input.files["model.safetensors"]).unwrap();
        read.into_iter().collect()
    };
    let second = bench.train(&train(Part::WeakLabels, CLASSIFIER, CONFIDENCE), &inputs);
    let mean = bench.run(average(), &[("model/0", &trained), ("model/1", &second)]);
    let (one, two) = (tensors(&trained), tensors(&second));
    for (name, mean) in tensors(&mean) {
        let expected = (&one[&name] + &two[&name]) / 2.0;
        assert!(mean.allclose(&expected, 1e-6, 1e-7, false), "{name}");
    }
    let error = bench.try_run(average(), &[("model/0", &model), ("model/1", &other)], None, &[]).unwrap_err();
    assert!(error.to_string().contains("model/1 differs from model/0"), "{error}");
}

#[test]
fn predictions_of_the_same_rows_have_a_mean_and_others_none() {
    let mut bench = Bench::new();
    let (data, model) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let inputs = [("model", &model), ("data", &data)];
    let [one, two] = [Objective::CrossEntropy, CONFIDENCE]
        .map(|objective| bench.train(&train(Part::GroundTruth, CLASSIFIER, objective), &inputs));
    let [first, second] =
        [&one, &two].map(|trained| bench.infer(&infer(Part::Test, Output::Probabilities), trained, &data));
    let other = bench.infer(&infer(Part::WeakLabels, Output::Probabilities), &one, &data);
    let mean = || Work::Merge(Merge::Predictions);
    let merged = bench.run(mean(), &[("labels/0", &first), ("labels/1", &second)]);
    let read = |input: &Input| Probabilities::read(&input.files.values().collect::<Vec<_>>()).unwrap();
    let [first_read, second_read, merged] = [&first, &second, &merged].map(read);
    assert_ne!(first_read, second_read);
    assert_eq!(merged.rows, first_read.rows);
    for ((mean, one), two) in merged
        .probabilities
        .iter()
        .flatten()
        .zip(first_read.probabilities.iter().flatten())
        .zip(second_read.probabilities.iter().flatten())
    {
        assert!((mean - (one + two) / 2.0).abs() < 1e-6);
    }
    let error = bench.try_run(mean(), &[("labels/0", &first), ("labels/1", &other)], None, &[]).unwrap_err();
    assert!(error.to_string().contains("made of other rows"), "{error}");
}

#[test]
fn work_that_does_not_fit_its_inputs_is_refused_and_named() {
    let mut bench = Bench::new();
    let (data, model) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let trained = bench.train(
        &train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy),
        &[("model", &model), ("data", &data)],
    );
    let tested = bench.infer(&infer(Part::Test, Output::Probabilities), &trained, &data);
    let [ground, weak, test] =
        [Part::GroundTruth, Part::WeakLabels, Part::Test].map(|part| bench.tokens(part, &model, &data));
    let with = |tokens| vec![("model", &model), ("data", &data), ("tokens", tokens)];
    let taught = |tokens| [with(tokens), vec![("labels", &tested)]].concat();
    let classifier = Work::Infer(infer(Part::Test, Output::Probabilities));
    type Case<'a> = (Work, Vec<(&'a str, &'a Input)>, Option<Range<usize>>, &'a str);
    let table: [Case<'_>; 9] = [
        (
            train(Part::WeakLabels, CLASSIFIER, Objective::CrossEntropy),
            taught(&weak),
            None,
            "labels of weak_labels: row",
        ),
        (
            train(Part::Corpus, CLASSIFIER, Objective::CrossEntropy),
            with(&test),
            None,
            "input \"data\" has no file \"corpus.parquet\"",
        ),
        (
            train(Part::GroundTruth, CLASSIFIER, Objective::LanguageModel),
            with(&ground),
            None,
            "a model that ends in Classifier",
        ),
        (
            train(Part::Test, Head::Classifier { classes: 3 }, Objective::CrossEntropy),
            taught(&test),
            None,
            "labels of test: the labels have 2 classes, the student has 3",
        ),
        (
            train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy),
            with(&ground).into_iter().filter(|(role, _)| *role != "model").collect(),
            None,
            "the stage was given no input \"model\"",
        ),
        (
            train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy),
            vec![("model", &model), ("data", &data)],
            None,
            "the stage was given no input \"tokens\"",
        ),
        (
            train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy),
            with(&test),
            None,
            "80 label values for 30 rows of 2 classes",
        ),
        (classifier.clone(), with(&test), Some(2..8), "shard 2..8 does not fit 30 rows"),
        (classifier, with(&test), Some(16..32), "shard 16..32 does not fit 30 rows"),
    ];
    for (work, inputs, shard, expected) in table {
        let error = bench.try_run(work, &inputs, shard.map(Shard::from), &[]).unwrap_err();
        assert!(error.to_string().starts_with(expected) && !error.retry(), "{error}");
    }
}

#[test]
fn a_row_that_is_left_out_is_missed_by_name_and_changes_nothing_else() {
    let mut bench = Bench::new();
    let (data, model) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let ground = train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy);
    let weak = bench.train(&ground, &[("model", &model), ("data", &data)]);
    let tokens = bench.tokens(Part::WeakLabels, &weak, &data);
    let inputs = [("model", &weak), ("data", &data), ("tokens", &tokens)];
    let shard =
        |skip: &[usize], trial| Shard { skip: skip.iter().copied().collect(), trial, ..(0..42).into() };
    let work = Infer { shard: 42, ..infer(Part::WeakLabels, Output::Probabilities) };
    let mut run = |shard| bench.try_run(Work::Infer(work.clone()), &inputs, Some(shard), &[]).unwrap();
    let (whole, _) = run(shard(&[], None));
    let (lacks, _) = run(shard(&[3, 20], None));
    let read = |input: &Input| Probabilities::read(&input.files.values().collect::<Vec<_>>()).unwrap();
    let (all, kept) = (read(&whole), read(&lacks));
    let expected: Vec<_> = (0..42).filter(|at| ![3, 20].contains(at)).collect();
    assert_eq!(kept.rows, expected.iter().map(|&at| all.rows[at]).collect::<Vec<_>>());
    let bits = |rows: &[f32]| rows.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (&at, row) in expected.iter().zip(&kept.probabilities) {
        assert_eq!(bits(row), bits(&all.probabilities[at]), "row {}", all.rows[at]);
    }
    let named: BTreeSet<i64> = [3, 20].map(|at| all.rows[at]).into();
    assert_eq!((plan::rows_left_out(&lacks.facts), lacks.facts["rows"]), (Ok(named.clone()), 40));
    for rows in [0..0, 3..4, 10..30] {
        let (_, outcome) = run(shard(&[3], Some(rows)));
        assert_eq!(outcome, Outcome::default(), "a trial leaves nothing");
    }
    // What reads it goes on without those rows, and only without those that are named.
    let merged = bench.run(Work::Merge(Merge::Predictions), &[("labels/0", &whole), ("labels/1", &lacks)]);
    assert_eq!(read(&merged).rows, kept.rows);
    assert_eq!(plan::rows_left_out(&merged.facts), Ok(named));
    let Work::Train(student) = train(Part::WeakLabels, CLASSIFIER, Objective::CrossEntropy) else { panic!() };
    let taught = [("model", &model), ("data", &data), ("labels", &lacks)];
    assert_eq!(bench.train(&Work::Train(student.clone()), &taught).facts["steps"], 3);
    let unnamed = Input { facts: [("rows".to_owned(), 40)].into(), ..lacks.clone() };
    let wrong = [("model", &model), ("data", &data), ("labels", &unnamed), ("tokens", &tokens)];
    let error = bench.try_run(Work::Train(student), &wrong, None, &[]).unwrap_err().to_string();
    assert!(error.contains("has no prediction"), "{error}");
    let accuracy = Work::Measure(Measure::Accuracy { part: Part::WeakLabels });
    let measured = bench.run(accuracy, &[("data", &data), ("prediction", &lacks)]);
    let results = AccuracyResults::from_json(&fs::read(&measured.files["results.json"]).unwrap()).unwrap();
    assert_eq!((results.rows, results.left_out), (40, 2));
}

/// A finetuning of the classifier with other settings.
fn finetuning(change: impl FnOnce(&mut Train)) -> Work {
    let Work::Train(mut work) = train(Part::GroundTruth, CLASSIFIER, Objective::CrossEntropy) else {
        panic!("no training")
    };
    change(&mut work);
    Work::Train(work)
}

fn load(artifact: &Input) -> Model {
    let folder = artifact.files["config.json"].parent().unwrap();
    Model::load(&ModelFiles::in_folder(folder), tch::Device::Cpu).unwrap()
}

#[test]
fn adapters_leave_the_merged_model_and_themselves() {
    let mut bench = Bench::new();
    let (data, base) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let lora = Lora { rank: 2, alpha: 4.0, dropout: 0.2, targets: vec!["c_attn".into(), "c_fc".into()] };
    let work = finetuning(|train| train.lora = Some(lora));
    let inputs = [("model", &base), ("data", &data)];
    let (left, again) = (bench.train(&work, &inputs), bench.train(&work, &inputs));
    for name in left.files.keys() {
        assert_eq!(fs::read(&left.files[name]).unwrap(), fs::read(&again.files[name]).unwrap(), "{name}");
    }
    let merged = load(&left);
    assert_eq!(left.facts["parameters"], merged.parameter_count() as u64);
    let folder = left.files["adapter_config.json"].parent().unwrap();
    let rebuilt =
        load(&base).with_head(&CLASSIFIER.into(), 99).unwrap().with_adapter(folder).unwrap().merged();
    let before = load(&base).with_head(&CLASSIFIER.into(), 7).unwrap();
    let all = merged.parameters().iter().zip(rebuilt.parameters()).zip(before.parameters());
    for (((name, merged), (_, rebuilt)), (_, before)) in all {
        assert_eq!(merged, rebuilt, "{name}");
        let learns = ["c_attn.weight", "c_fc.weight", "score.weight"].iter().any(|end| name.ends_with(end));
        assert_eq!(merged != before, learns, "{name}");
    }
    // What follows reads the merged model as any other.
    let predicted = bench.infer(&infer(Part::Test, Output::Probabilities), &left, &data);
    assert_eq!(predicted.facts["rows"], 30);
}

#[test]
fn a_probe_trains_the_head_alone_from_the_beginning_it_is_told() {
    let mut bench = Bench::new();
    let (data, base) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let inputs = [("model", &base), ("data", &data)];
    let probe = |init: &[&str]| {
        finetuning(|train| {
            train.trainable = Trainable::Head;
            train.head.init = HeadInit::Unembedding(init.iter().map(|&token| token.to_owned()).collect());
            train.head.readout = Some(Readout::Mean);
            train.optimizer.learning_rate = 1e-12;
        })
    };
    let left = load(&bench.train(&probe(&["F", "T"]), &inputs));
    assert_eq!(left.readout(), Some(Readout::Mean));
    let base_model = load(&base);
    let find = |model: &Model, name: &str| {
        let found = model.parameters().iter().find(|(own, _)| own == name);
        found.unwrap_or_else(|| panic!("{name}")).1.detach()
    };
    for (name, before) in base_model.parameters() {
        assert_eq!(find(&left, name), before.detach(), "{name}");
    }
    let tokenizer = Tokenizer::from_file(&base.files["tokenizer.json"]).unwrap();
    let table_vd = find(&base_model, "transformer.wte.weight");
    for (class, token) in [(0, "F"), (1, "T")] {
        let row_d = table_vd.get(tokenizer.single(token).unwrap());
        let difference = (find(&left, "score.weight").get(class) - row_d).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "{token}: {difference}");
    }
    let tokens = bench.tokens(Part::GroundTruth, &base, &data);
    let adapted = finetuning(|train| {
        train.trainable = Trainable::Head;
        train.lora = Some(Lora { rank: 2, alpha: 4.0, dropout: 0.0, targets: vec!["c_attn".into()] });
    });
    let lost = finetuning(|train| train.trainable = Trainable::Except(vec!["*.wxe".into()]));
    for (work, expected) in [
        (probe(&["F", "TF"]), "\"TF\" is 2 tokens of this tokenizer"),
        (probe(&["F", "F"]), "\"F\" is the token of another class"),
        (adapted, "with adapters, these and the head are trained"),
        (lost, "these parameters cannot be chosen to be trained: \"*.wxe\""),
    ] {
        let inputs = [&inputs[..], &[("tokens", &tokens)]].concat();
        let error = bench.try_run(work, &inputs, None, &[]).unwrap_err();
        assert!(error.to_string().starts_with(expected) && !error.retry(), "{error}");
    }
}
