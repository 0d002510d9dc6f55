//! Weak labels that other programs left, as one Parquet table: folders that the `datasets` library wrote with
//! `save_to_disk`, as openai/weak-to-strong and EleutherAI's works leave them. `docs/coming-from-openai-weak-to-strong.md`
//! says which columns are read.
//!
//! Everything in such a folder is from outside: names, counts and numbers are checked before they are trusted.

mod folder;
mod frames;
mod rows;

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use arrow::{
    array::{ArrayRef, Float32Builder, Int32Array, Int64Array, ListBuilder, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};

use crate::rows_file::RowsFile;
use rows::Rows;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Imported {
    /// Rows.
    pub(crate) rows: u64,
    /// Classes of the labels.
    pub(crate) classes: usize,
    /// Rows with a ground truth, and on how many of them the weak label names it.
    pub(crate) known: u64,
    /// See there.
    pub(crate) right: u64,
}

/// The columns of the table; those that a folder lacks are null throughout.
fn schema() -> SchemaRef {
    let item = Arc::new(Field::new("element", DataType::Float32, false));
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::Int64, false),
        Field::new("id", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("soft_label", DataType::List(item), false),
        Field::new("hard_label", DataType::Int32, false),
        Field::new("gt_label", DataType::Int32, true),
    ]))
}

/// Reads the folder and writes the table to `target`, whole or not at all.
///
/// # Errors
/// If the folder is none that `save_to_disk` wrote, a file in it is damaged, or a label is no probability.
pub(crate) fn import(folder: &Path, target: &Path) -> Result<Imported> {
    let files = folder::files(folder)?;
    let mut out = RowsFile::create(target, schema())?;
    let mut seen = Imported { rows: 0, classes: 0, known: 0, right: 0 };
    for file in files {
        folder::batches(&file, |batch| {
            let rows = Rows::of(batch, seen.rows)?;
            count(&mut seen, &rows)?;
            out.write(&table(seen.rows - rows.hard.len() as u64, &rows)?)
        })
        .with_context(|| format!("cannot use {}", file.display()))?;
    }
    if seen.rows == 0 {
        bail!("{} holds no row", folder.display());
    }
    out.finish()?;
    Ok(seen)
}

fn count(seen: &mut Imported, rows: &Rows) -> Result<()> {
    for (at, (soft, hard)) in rows.soft.iter().zip(&rows.hard).enumerate() {
        if seen.classes == 0 {
            seen.classes = soft.len();
        }
        if soft.len() != seen.classes {
            let row = seen.rows + at as u64;
            bail!("row {row} has {} classes, the first row has {}", soft.len(), seen.classes);
        }
        if let Some(truth) = rows.truth[at] {
            seen.known += 1;
            seen.right += u64::from(truth == *hard);
        }
    }
    seen.rows += rows.hard.len() as u64;
    Ok(())
}

fn table(first: u64, rows: &Rows) -> Result<RecordBatch> {
    let item = Arc::new(Field::new("element", DataType::Float32, false));
    let mut lists = ListBuilder::new(Float32Builder::new()).with_field(item);
    for values in &rows.soft {
        lists.values().append_slice(values);
        lists.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..rows.hard.len()).map(|at| first as i64 + at as i64))),
        Arc::new(StringArray::from_iter(&rows.id)),
        Arc::new(StringArray::from_iter(&rows.text)),
        Arc::new(lists.finish()),
        Arc::new(Int32Array::from(rows.hard.clone())),
        Arc::new(Int32Array::from(rows.truth.clone())),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[cfg(test)]
mod tests;
