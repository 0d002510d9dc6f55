//! A model that nobody finetunes, with and without shown answers.

use std::{collections::BTreeMap, fs};

use fulcrum_common::{
    plan::{
        Architecture, FileDigest, Format, Head, HeadInit, HeadSpec, Objective, Output, Part, Prepare,
        Readout, Shots, Source, Work,
    },
    source,
};
use fulcrum_data::{LogProbabilities, Probabilities, Table};
use fulcrum_methods::Input;

use crate::bench::*;

fn shots(count: usize) -> Shots {
    Shots { count, answers: vec!["F".into(), "T".into()], separator: "+".into(), seed: 4 }
}

fn prompted(bench: &mut Bench, inputs: &[(&str, &Input)], count: usize, max_tokens: usize) -> (Input, Table) {
    let work = Prepare::Prompted { part: Part::Test, shots: shots(count), max_tokens };
    let rows = bench.run(Work::Prepare(work), inputs);
    let table = Table::read(&rows.files["test.parquet"]).unwrap();
    (rows, table)
}

#[test]
fn a_text_stands_after_others_with_their_answers() {
    let mut bench = Bench::new();
    let Work::Prepare(Prepare::NewModel { architecture, alphabet, ends, seed }) = new_model(8) else {
        panic!()
    };
    let architecture = Architecture { context: 32, ..architecture };
    let model = bench.run(Work::Prepare(Prepare::NewModel { architecture, alphabet, ends, seed }), &[]);
    let data = bench.run(dataset(), &[]);
    let table = |part: &str| Table::read(&data.files[&format!("{part}.parquet")]).unwrap();
    let (test, shown) = (table("test"), table("weak_labels"));
    let truth: BTreeMap<&str, i32> =
        shown.texts.iter().map(String::as_str).zip(shown.labels.clone().unwrap()).collect();
    // Labels that are never true.
    let wrong = shown.labels.as_ref().unwrap().iter().map(|&class| vec![class as f32, 1.0 - class as f32]);
    let path = bench.folder.path().join("part-00000.parquet");
    Probabilities { rows: shown.rows.clone(), probabilities: wrong.collect() }.write(&path).unwrap();
    let labels = Input { files: [("part-00000.parquet".to_owned(), path)].into(), facts: [].into() };

    for (labels, right) in [(None, true), (Some(&labels), false)] {
        let mut inputs = vec![("data", &data), ("model", &model)];
        inputs.extend(labels.map(|labels| ("labels", labels)));
        // The beginning, nine characters of each claim, an answer and a separator.
        let (facts, rows) = prompted(&mut bench, &inputs, 1, 21);
        assert_eq!((&rows.rows, &rows.labels), (&test.rows, &test.labels));
        for (prompted, text) in rows.texts.iter().zip(&test.texts) {
            let shot = prompted.strip_suffix(text.as_str()).unwrap().strip_suffix('+').unwrap();
            let (shot, answer) = shot.split_at(shot.len() - 1);
            assert_eq!(answer == ["F", "T"][truth[shot] as usize], right, "{prompted}");
        }
        assert_eq!((facts.facts["shots"], facts.facts["shortened"]), (test.len() as u64, 0));
    }
    let inputs = [("data", &data), ("model", &model)];
    for (max_tokens, fit) in [(20, 0), (31, 1), (100, 2)] {
        let (facts, rows) = prompted(&mut bench, &inputs, 5, max_tokens);
        let length = |texts: &[String]| texts.iter().map(String::len).max().unwrap();
        assert_eq!(length(&rows.texts), 9 + 11 * fit, "what does not fit is left out");
        let rows = test.len() as u64;
        assert_eq!((facts.facts["shots"], facts.facts["shortened"]), (rows * fit as u64, rows));
    }
}

#[test]
fn a_model_that_knows_the_task_answers_without_having_been_trained_for_it() {
    let mut bench = Bench::new();
    let (data, model) = (bench.run(dataset(), &[]), bench.run(new_model(32), &[]));
    let corpus = bench.run(Work::Prepare(Prepare::Corpus { source: Source::Arithmetic(ARITHMETIC) }), &[]);
    let speaks = train(Part::Corpus, Head::LanguageModel, Objective::LanguageModel);
    let model = bench.train(&speaks, &[("model", &model), ("data", &corpus)]);
    let init = HeadInit::Unembedding(vec!["F".into(), "T".into()]);
    let head = HeadSpec { init, readout: Some(Readout::Last), ..CLASSIFIER.into() };
    let asked = bench.run(Work::Prepare(Prepare::Head { head }), &[("model", &model)]);
    let said = bench.infer(&infer(Part::Test, Output::Probabilities), &asked, &data);
    let said = Probabilities::read(&said.files.values().collect::<Vec<_>>()).unwrap();

    // A claim's next tokens, as the language model itself has them.
    let test = Table::read(&data.files["test.parquet"]).unwrap();
    let line = |text: &String, mark: &str| format!("{{\"text\":\"{text}{mark}\"}}\n");
    let ends = ["F", "T"].map(|mark| {
        let lines: String = test.texts.iter().map(|text| line(text, mark)).collect();
        scores(&mut bench, &model, &lines)
    });
    for (at, said) in said.probabilities.iter().enumerate() {
        let odds = (ends[1][at] - ends[0][at]).exp();
        let expected = odds / (1.0 + odds);
        assert!((f64::from(said[1]) - expected).abs() < 1e-4, "row {at}: {} {expected}", said[1]);
    }
}

/// The log-probabilities of texts under a language model.
fn scores(bench: &mut Bench, model: &Input, lines: &str) -> Vec<f64> {
    let path = bench.folder.path().join("ends.jsonl");
    fs::write(&path, lines).unwrap();
    let files = vec![FileDigest { name: "ends.jsonl".into(), digest: source::digest(&path).unwrap() }];
    let format = Format::unlabelled("{{ text }}");
    let rows = Work::Prepare(Prepare::Rows { source: Source::Files { files }, format });
    let (rows, _) = bench.try_run(rows, &[], None, &[("file/0", &path)]).unwrap();
    let scored = bench.infer(&infer(Part::Rows, Output::LogProbability), model, &rows);
    let parts: Vec<_> = scored.files.values().collect();
    LogProbabilities::read(&parts).unwrap().log_probability
}
