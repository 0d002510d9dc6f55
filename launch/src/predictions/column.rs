//! Columns of Parquet files, checked before they are used.

use std::{fs::File, path::Path};

use anyhow::{Context, Result, bail};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Float32Type, Int32Type, Int64Type},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows and labels of a table.
pub(super) fn labelled(path: &Path) -> Result<(Vec<i64>, Vec<i32>)> {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    each(path, |batch| {
        rows.extend_from_slice(named(batch, "row", &DataType::Int64)?.as_primitive::<Int64Type>().values());
        labels
            .extend_from_slice(named(batch, "label", &DataType::Int32)?.as_primitive::<Int32Type>().values());
        Ok(())
    })?;
    Ok((rows, labels))
}

/// Rows and their probabilities, over all parts.
pub(super) fn probabilities(parts: &[impl AsRef<Path>]) -> Result<Vec<(i64, Vec<f32>)>> {
    let mut found = Vec::new();
    for part in parts {
        each(part.as_ref(), |batch| {
            let rows = named(batch, "row", &DataType::Int64)?.as_primitive::<Int64Type>().values().to_vec();
            let column =
                batch.column_by_name("probabilities").context("there is no column `probabilities`")?;
            let Some(lists) = column.as_list_opt::<i32>().filter(|lists| lists.null_count() == 0) else {
                bail!("column `probabilities` is {}, not lists", column.data_type());
            };
            for (at, row) in rows.into_iter().enumerate() {
                let list = lists.value(at);
                let values =
                    list.as_primitive_opt::<Float32Type>().context("probabilities are no float32")?;
                found.push((row, values.values().to_vec()));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn each(path: &Path, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let wrong = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(wrong)?;
    for batch in
        ParquetRecordBatchReaderBuilder::try_new(file).with_context(wrong)?.build().with_context(wrong)?
    {
        take(&batch.with_context(wrong)?).with_context(wrong)?;
    }
    Ok(())
}

fn named<'a>(batch: &'a RecordBatch, name: &str, kind: &DataType) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name).with_context(|| format!("there is no column `{name}`"))?;
    if column.data_type() != kind || column.null_count() > 0 {
        bail!(
            "column `{name}` is {} with {} nulls, expected {kind}",
            column.data_type(),
            column.null_count()
        );
    }
    Ok(column)
}
