//! A training in stretches, the best of its moments, and a part in shares.

use std::fs;

use fulcrum_common::plan::{Merge, Part, Prepare, Span, Train, Work};
use fulcrum_data::{Probabilities, Table};
use fulcrum_methods::Input;

use crate::bench::*;

/// A stretch of a training, after that of `before`.
fn stretch(bench: &mut Bench, span: Option<Span>, inputs: &[(&str, &Input)]) -> Input {
    let Work::Train(train) = train(Part::GroundTruth, CLASSIFIER, CONFIDENCE) else { panic!() };
    bench.train(&Work::Train(Train { span, ..train }), inputs)
}

/// Two moments of a training.
fn moments(bench: &mut Bench, data: &Input) -> [Input; 2] {
    let model = bench.run(new_model(8), &[]);
    let at = |begin| Some(Span { begin, end: begin + 1, of: 2 });
    let first = stretch(bench, at(0), &[("model", &model), ("data", data)]);
    let second = stretch(bench, at(1), &[("model", &model), ("data", data), ("before", &first)]);
    [first, second]
}

#[test]
fn two_stretches_leave_the_files_of_one_training() {
    let mut bench = Bench::new();
    let (data, model) = (bench.run(dataset(), &[]), bench.run(new_model(8), &[]));
    let whole = stretch(&mut bench, None, &[("model", &model), ("data", &data)]);
    let [first, second] = moments(&mut bench, &data);
    assert!(first.files.contains_key("state.bin") && first.facts["steps"] < whole.facts["steps"]);
    assert_eq!(second.facts, whole.facts);
    assert_eq!(second.files.keys().collect::<Vec<_>>(), whole.files.keys().collect::<Vec<_>>());
    for (name, path) in &whole.files {
        assert_eq!(fs::read(&second.files[name]).unwrap(), fs::read(path).unwrap(), "{name}");
    }
}

#[test]
fn the_best_of_several_moments_is_the_one_that_says_most_that_is_held_to_be_right() {
    let mut bench = Bench::new();
    let data = bench.run(dataset(), &[]);
    let models = moments(&mut bench, &data);
    let rows = Table::read(&data.files["validation.parquet"]).unwrap();
    let truth = rows.labels.unwrap();
    // What each of two models says: of the class that a row's label is, this probability.
    let say = |bench: &Bench, name: &str, of_truth: &dyn Fn(usize) -> f32| {
        let row = |at: usize| {
            let mut row = vec![1.0 - of_truth(at); 2];
            row[truth[at] as usize] = of_truth(at);
            row
        };
        let path = bench.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        let probabilities = (0..truth.len()).map(row).collect();
        let path = path.join("part-00000.parquet");
        Probabilities { rows: rows.rows.clone(), probabilities }.write(&path).unwrap();
        Input { files: [("part-00000.parquet".to_owned(), path)].into(), facts: [].into() }
    };
    let mut chosen = |said: [&Input; 2], labels: Option<&Input>| {
        let mut inputs = vec![("data", &data)];
        inputs.extend([("model/0", &models[0]), ("model/1", &models[1])]);
        inputs.extend([("prediction/0", said[0]), ("prediction/1", said[1])]);
        inputs.extend(labels.map(|labels| ("labels", labels)));
        let best = bench.run(Work::Merge(Merge::Best), &inputs);
        let weights = |of: &Input| fs::read(&of.files["model.safetensors"]).unwrap();
        let at = best.facts["chosen"];
        assert_eq!(weights(&best), weights(&models[at as usize]));
        assert!(!best.files.contains_key("state.bin"), "only the model goes on");
        (at, best.facts["right/0"], best.facts["right/1"])
    };
    let bench = Bench::new();
    let mostly = say(&bench, "mostly", &|at| if at == 0 { 0.4 } else { 0.9 });
    let barely = say(&bench, "barely", &|_| 0.6);
    let never = say(&bench, "never", &|_| 0.1);
    let sure = say(&bench, "sure", &|_| 0.9);
    let all = truth.len() as u64;
    assert_eq!(chosen([&mostly, &barely], None), (1, all - 1, all), "by the true labels");
    assert_eq!(chosen([&barely, &sure], None), (1, all, all), "of equals the surer");
    assert_eq!(chosen([&sure, &sure], None), (0, all, all), "of equals the earlier");
    assert_eq!(chosen([&mostly, &never], Some(&never)), (1, 1, all), "by labels that are wrong");
}

#[test]
fn shares_of_a_part_have_each_row_once() {
    let mut bench = Bench::new();
    let data = bench.run(dataset(), &[]);
    let part = Part::WeakLabels;
    let rows = |of: &Input| Table::read(&of.files["weak_labels.parquet"]).unwrap().rows;
    let mut shares: Vec<i64> = Vec::new();
    for index in 0..4 {
        let share = bench.run(Work::Prepare(Prepare::Share { part, index, of: 4 }), &[("data", &data)]);
        assert_eq!(share.facts["rows/weak_labels"], rows(&share).len() as u64);
        assert!([10, 11].contains(&rows(&share).len()));
        shares.extend(rows(&share));
    }
    shares.sort_unstable();
    assert_eq!(shares, rows(&data));
    let work = Work::Prepare(Prepare::Share { part, index: 4, of: 4 });
    let error = bench.try_run(work, &[("data", &data)], None, &[]).unwrap_err().to_string();
    assert!(error.contains("share 4 of 4 is none"), "{error}");
}
