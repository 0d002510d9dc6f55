//! The parts that workers wrote, as one Parquet file.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use fulcrum_common::store::{Manifest, Store};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::rows_file::RowsFile;

/// The part files of an artifact on this machine, in order.
///
/// # Errors
/// If one of them cannot be read, or is not what was made.
pub(crate) async fn parts(store: &Store, made: &Manifest) -> Result<Vec<PathBuf>> {
    let mut names: Vec<&str> = made.files.iter().map(|file| file.name.as_str()).collect();
    names.retain(|name| name.ends_with(".parquet"));
    names.sort_unstable();
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        parts.push(store.local(made, name).await?);
    }
    Ok(parts)
}

/// Writes the rows of `parts`, in this order, to `target`; returns how many there are. Memory holds one batch
/// and what the writer gathers for a row group.
///
/// # Errors
/// If a part is no Parquet file, has other columns than the first, or the disk refuses. Nothing stands at
/// `target` then but what stood there before.
pub(crate) fn splice(parts: &[PathBuf], target: &Path) -> Result<u64> {
    let first = open(parts.first().context("there are no parts to put together")?)?;
    let schema = first.schema().clone();
    let mut file = RowsFile::create(target, schema.clone())?;
    for part in parts {
        let part_reader = open(part)?;
        ensure!(part_reader.schema() == &schema, "{} has other columns than the first part", part.display());
        for batch in part_reader.build()? {
            file.write(&batch.with_context(|| format!("cannot read {}", part.display()))?)?;
        }
    }
    file.finish()
}

fn open(part: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(part).with_context(|| format!("cannot read {}", part.display()))?;
    ParquetRecordBatchReaderBuilder::try_new(file)
        .with_context(|| format!("{} is no Parquet file", part.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Float64Array, Int64Array, RecordBatch},
        compute::concat_batches,
    };
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn part(folder: &Path, name: &str, column: &str, rows: std::ops::Range<i64>) -> PathBuf {
        let values = Float64Array::from_iter_values(rows.clone().map(|row| -(row as f64)));
        let columns: [(&str, ArrayRef); 2] =
            [("row", Arc::new(Int64Array::from_iter_values(rows))), (column, Arc::new(values))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let path = folder.join(name);
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    }

    fn read(path: &Path) -> RecordBatch {
        let reader = open(path).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    #[test]
    fn parts_become_one_file_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let parts = [
            part(folder.path(), "b", "log_probability", 0..3000),
            part(folder.path(), "a", "log_probability", 3000..3001),
        ];
        let target = folder.path().join("all.parquet");
        assert_eq!(splice(&parts, &target).unwrap(), 3001);
        part(folder.path(), "whole", "log_probability", 0..3001);
        assert_eq!(read(&target), read(&folder.path().join("whole")));
    }

    #[test]
    fn parts_that_do_not_fit_leave_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("all.parquet");
        std::fs::write(&target, "before").unwrap();
        let good = part(folder.path(), "a", "x", 0..3);
        let other = part(folder.path(), "b", "y", 3..6);
        let broken = folder.path().join("c");
        std::fs::write(&broken, "PAR1 not").unwrap();
        for (parts, expected) in [
            (vec![good.clone(), other], "has other columns than the first part"),
            (vec![good, broken], "is no Parquet file"),
            (vec![], "no parts"),
        ] {
            let error = format!("{:#}", splice(&parts, &target).unwrap_err());
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read(&target).unwrap(), b"before");
        }
    }
}
