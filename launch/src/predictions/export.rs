//! `predictions.parquet`: one row per model and test row, for people's own notebooks.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use arrow::{
    array::{
        ArrayRef, Float32Builder, Float64Array, Int32Array, Int64Array, ListBuilder, StringArray, UInt64Array,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use fulcrum_common::metrics::argmax;

use super::{Predictions, Said, words};
use crate::rows_file::RowsFile;

fn schema() -> SchemaRef {
    let column = |name: &str, kind, nullable| Field::new(name, kind, nullable);
    let item = Arc::new(Field::new("element", DataType::Float32, false));
    Arc::new(Schema::new(vec![
        column("task", DataType::Utf8, false),
        column("role", DataType::Utf8, false),
        column("method", DataType::Utf8, true),
        column("weak", DataType::Utf8, true),
        column("model", DataType::Utf8, false),
        column("seed", DataType::UInt64, false),
        column("progress", DataType::Float64, false),
        column("row", DataType::Int64, false),
        column("label", DataType::Int32, false),
        column("predicted", DataType::Int32, false),
        column("probabilities", DataType::List(item), false),
    ]))
}

/// Writes the file, whole or not at all; the same predictions give the same bytes. Returns how many rows it has.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write(runs: &[Predictions], target: &Path) -> Result<u64> {
    let mut file = RowsFile::create(target, schema())?;
    for run in runs {
        for said in &run.models {
            file.write(&batch(run, said)?)?;
        }
    }
    file.finish()
}

fn batch(run: &Predictions, said: &Said) -> Result<RecordBatch> {
    let rows = run.rows.len();
    let [role, method, weak, model] = words(&said.role);
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
    let optional = |text: &str| -> ArrayRef {
        let text = (!text.is_empty()).then_some(text);
        Arc::new(StringArray::from(vec![text; rows]))
    };
    let item = Arc::new(Field::new("element", DataType::Float32, false));
    let mut lists = ListBuilder::new(Float32Builder::new()).with_field(item);
    for values in &said.probabilities {
        lists.values().append_slice(values);
        lists.append(true);
    }
    let named: Int32Array = said.probabilities.iter().map(|row| argmax(row) as i32).collect();
    let columns: Vec<ArrayRef> = vec![
        text(&run.task),
        text(role),
        optional(method),
        optional(weak),
        text(model),
        Arc::new(UInt64Array::from(vec![said.seed; rows])),
        Arc::new(Float64Array::from(vec![said.progress.unwrap_or(1.0); rows])),
        Arc::new(Int64Array::from(run.rows.clone())),
        Arc::new(Int32Array::from(run.labels.clone())),
        Arc::new(named),
        Arc::new(lists.finish()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fulcrum_common::plan::Role;

    use super::*;
    use crate::predictions::column;

    #[test]
    fn predictions_become_one_file_that_reads_back() {
        let probabilities = vec![vec![0.25, 0.75], vec![0.5, 0.5], vec![1.0, 0.0]];
        let said = |role, progress| Said { role, seed: 7, progress, probabilities: probabilities.clone() };
        let student = Role::Student { method: "naive".into(), weak: "s".into(), strong: "l".into() };
        let models = vec![said(Role::Weak { model: "s".into() }, Some(0.5)), said(student, None)];
        let run = Predictions { task: "t".into(), rows: vec![4, 9, 2], labels: vec![1, 0, 1], models };
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["a", "b"].map(|name| folder.path().join(name));
        let runs = [run];
        assert_eq!(write(&runs, &one).unwrap(), 6);
        write(&runs, &two).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
        let (rows, labels) = column::labelled(&one).unwrap();
        assert_eq!((rows, labels), (vec![4, 9, 2, 4, 9, 2], vec![1, 0, 1, 1, 0, 1]));
        let found: Vec<Vec<f32>> =
            column::probabilities(&[&one]).unwrap().into_iter().map(|(_, values)| values).collect();
        assert_eq!(found, [probabilities.clone(), probabilities].concat());
        let wrong = format!("{:#}", column::probabilities(&[folder.path().join("none")]).unwrap_err());
        assert!(wrong.starts_with("cannot read "), "{wrong}");
    }
}
