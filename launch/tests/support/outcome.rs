//! What a finished run leaves in its store.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float32Builder, Int32Array, Int64Array, ListBuilder},
    record_batch::RecordBatch,
};
use fulcrum_common::{
    plan::{Part, Plan, Prepare, Stage, Work},
    results::{Agreement, AgreementIntervals, Interval, Model, Results, SCHEMA, Score, Student, Summary},
    store::{Manifest, Store},
};
use parquet::arrow::ArrowWriter;

use super::Place;

/// Numbers of one method between two models.
pub(crate) fn results() -> Results {
    let at = |mean: f64| Interval { mean, low: mean - 0.02, high: mean + 0.02 };
    let score = |model: &str, accuracy| Score {
        model: model.into(),
        method: None,
        seed: 0,
        accuracy,
        balanced_accuracy: accuracy,
        probabilistic: None,
        moves: None,
    };
    let (weak, strong, method) = ("small".to_owned(), "large".to_owned(), "naive".to_owned());
    Results {
        per_question: None,
        schema: SCHEMA,
        test_rows: 20,
        left_out: 0,
        chance: 0.5,
        ladder: [("small", 1000), ("large", 9000)]
            .map(|(name, parameters)| Model { name: name.into(), parameters })
            .into(),
        supervisors: vec![score("small", 0.6)],
        ceilings: vec![score("large", 0.9)],
        students: vec![Student {
            method: method.clone(),
            weak: weak.clone(),
            strong: strong.clone(),
            seed: 0,
            accuracy: 0.75,
            balanced_accuracy: 0.75,
            probabilistic: None,
            contradiction: None,
            points: vec![],
            agreement: Agreement { overall: 0.7, supervisor_right: Some(0.9), supervisor_wrong: None },
            pgr: Some(0.5),
            moves: None,
        }],
        summary: vec![Summary {
            method,
            weak,
            strong,
            seeds: 1,
            weak_accuracy: at(0.6),
            student_accuracy: at(0.75),
            ceiling_accuracy: at(0.9),
            gap: at(0.3),
            pgr: Some(Interval { mean: 0.5, low: 0.25, high: 0.75 }),
            auroc: None,
            agreement: AgreementIntervals {
                overall: at(0.7),
                supervisor_right: Some(at(0.9)),
                supervisor_wrong: None,
            },
            legality: None,
            flags: vec![],
        }],
    }
}

/// The plan of an experiment file.
pub(crate) fn plan(place: &Place, file: &str) -> Plan {
    let stages = place.run(&["plan", file, "--json"]).out;
    serde_json::from_str(&format!("{{\"stages\": {stages}}}")).unwrap()
}

/// Puts the outcome of the tiny experiment into the store; its bytes.
pub(crate) fn finished(place: &Place) -> Vec<u8> {
    let plan = plan(place, "tiny.toml");
    let bytes = results().to_json();
    put(place, plan.stages().last().unwrap(), "results.json", &bytes);
    bytes
}

/// Puts every training of an experiment into the store, with `losses` as the losses of each.
pub(crate) fn trained(place: &Place, file: &str, losses: &str) {
    for stage in plan(place, file).stages().iter().filter(|stage| matches!(stage.spec.work, Work::Train(_))) {
        put(place, stage, "losses.jsonl", losses.as_bytes());
    }
}

/// Puts an artifact of one file into the store.
fn put(place: &Place, stage: &Stage, file: &str, bytes: &[u8]) {
    let (key, name, spec) = (stage.key, stage.name.clone(), stage.spec.clone());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(&place.at("fulcrum-store")).unwrap();
        let file = store.put(key, 1, file, bytes.to_vec().into()).await.unwrap();
        let manifest = Manifest { key, name, epoch: 1, files: vec![file], facts: Default::default(), spec };
        store.commit(&manifest).await.unwrap();
    });
}

/// Puts everything that the measurement of an experiment reads and finds into the store: 20 test rows of class 1, and
/// models of which each is right on the first so many.
pub(crate) fn predicted(place: &Place, file: &str, right: impl Fn(&str) -> usize) {
    let rows = || Arc::new(Int64Array::from_iter_values((0..20).map(|row| 3 * row)));
    for stage in plan(place, file).stages() {
        match &stage.spec.work {
            Work::Prepare(Prepare::Dataset { .. }) => {
                let table = parquet([("row", rows()), ("label", Arc::new(Int32Array::from(vec![1; 20])))]);
                put(place, stage, "test.parquet", &table);
            }
            Work::Infer(infer) if infer.part == Part::Test => {
                let (mut lists, right) = (ListBuilder::new(Float32Builder::new()), right(&stage.name));
                for row in 0..20 {
                    let high = if row < right { 0.75 } else { 0.25 };
                    lists.values().append_slice(&[1.0 - high, high]);
                    lists.append(true);
                }
                let part = parquet([("row", rows()), ("probabilities", Arc::new(lists.finish()))]);
                put(place, stage, "part-00000.parquet", &part);
            }
            Work::Measure(_) => put(place, stage, "results.json", &results().to_json()),
            _ => {}
        }
    }
}

fn parquet(columns: [(&str, ArrayRef); 2]) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}
