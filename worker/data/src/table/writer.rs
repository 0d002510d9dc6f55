//! Tables written row by row, so that no more of them is in memory than a row group.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Int32Builder, Int64Builder, StringBuilder},
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};

use super::MAX_TEXT_BYTES;
use crate::{
    columns::{self, BATCH_ROWS},
    error::{DataError, Result},
};

/// Bytes of text after which a batch is handed on, however few its rows.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of text after which a row group ends, and rows after which it does.
const GROUP_BYTES: usize = 8 << 20;
const GROUP_ROWS: usize = 1 << 20;

/// The columns that a table has beside `row` and `text`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `label`
    pub labels: bool,
    /// `group`
    pub groups: bool,
    /// `prompt`
    pub prompts: bool,
    /// `other`
    pub others: bool,
}

/// One row of a table, with a value for each of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRow<'a> {
    /// Position in the source.
    pub row: i64,
    /// What a model reads.
    pub text: &'a str,
    /// The class, counted from 0.
    pub label: Option<i32>,
    /// Rows with the same number belong together.
    pub group: Option<i64>,
    /// What is given before the text.
    pub prompt: Option<&'a str>,
    /// The second text of a pair.
    pub other: Option<&'a str>,
}

/// Writes a table row by row; the same rows give the same bytes as [`super::Table::write`]. Dropped before
/// [`TableWriter::finish`], it leaves no file.
pub struct TableWriter {
    file: columns::Writer,
    schema: SchemaRef,
    columns: Columns,
    batch: Batch,
    /// Bytes and rows of the row group so far.
    group: (usize, usize),
    rows: usize,
    last: Option<i64>,
}

/// Rows that wait to be written.
#[derive(Default)]
struct Batch {
    rows: Int64Builder,
    texts: StringBuilder,
    labels: Int32Builder,
    groups: Int64Builder,
    prompts: StringBuilder,
    others: StringBuilder,
    count: usize,
    bytes: usize,
}

impl TableWriter {
    /// Opens a new file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, columns: Columns) -> Result<Self> {
        let optional = [
            (columns.labels, "label", DataType::Int32),
            (columns.groups, "group", DataType::Int64),
            (columns.prompts, "prompt", DataType::Utf8),
            (columns.others, "other", DataType::Utf8),
        ];
        let optional = optional.into_iter().filter(|(there, ..)| *there);
        let fields = [("row", DataType::Int64), ("text", DataType::Utf8)].into_iter();
        let fields = fields.chain(optional.map(|(_, name, kind)| (name, kind)));
        let schema = Arc::new(Schema::new(
            fields.map(|(name, kind)| Field::new(name, kind, false)).collect::<Vec<_>>(),
        ));
        let file = columns::Writer::create(path, &schema)?;
        let batch = Batch::default();
        Ok(Self { file, schema, columns, batch, group: (0, 0), rows: 0, last: None })
    }

    /// Takes the next row; rows come in the order of the source.
    ///
    /// # Errors
    /// When the row is not valid, does not have the table's columns or does not come after the one before it, or the
    /// file cannot be written.
    pub fn push(&mut self, row: TableRow<'_>) -> Result<()> {
        check(&row).map_err(DataError::Value)?;
        if self.last.is_some_and(|last| last >= row.row) {
            let (row, last) = (row.row, self.last.unwrap_or_default());
            return Err(DataError::value(format!("row {row} comes after row {last}: rows must ascend")));
        }
        self.last = Some(row.row);
        self.append(row)
    }

    /// How many rows it took.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it took none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Writes what waits and closes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.hand_on()?;
        self.file.finish()
    }

    pub(super) fn append(&mut self, row: TableRow<'_>) -> Result<()> {
        let there = Columns {
            labels: row.label.is_some(),
            groups: row.group.is_some(),
            prompts: row.prompt.is_some(),
            others: row.other.is_some(),
        };
        if there != self.columns {
            let (row, columns) = (row.row, self.columns);
            return Err(DataError::value(format!("row {row} has {there:?}, the table {columns:?}")));
        }
        self.batch.take(&row);
        self.rows += 1;
        if self.batch.count == BATCH_ROWS || self.batch.bytes >= BATCH_BYTES {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<()> {
        let (bytes, rows) = self.group;
        self.group = (bytes + self.batch.bytes, rows + self.batch.count);
        let arrays = self.batch.arrays(self.columns);
        let batch = RecordBatch::try_new(self.schema.clone(), arrays);
        self.file.write(&batch.map_err(|e| DataError::value(format!("rows cannot be written: {e}")))?)?;
        if self.group.0 >= GROUP_BYTES || self.group.1 >= GROUP_ROWS {
            self.group = (0, 0);
            self.file.end_group()?;
        }
        Ok(())
    }
}

impl Batch {
    fn take(&mut self, row: &TableRow<'_>) {
        self.rows.append_value(row.row);
        self.texts.append_value(row.text);
        row.label.into_iter().for_each(|label| self.labels.append_value(label));
        row.group.into_iter().for_each(|group| self.groups.append_value(group));
        row.prompt.into_iter().for_each(|prompt| self.prompts.append_value(prompt));
        row.other.into_iter().for_each(|other| self.others.append_value(other));
        self.count += 1;
        self.bytes +=
            row.text.len() + [row.prompt, row.other].into_iter().flatten().map(str::len).sum::<usize>();
    }

    /// The rows as columns; none wait afterwards.
    fn arrays(&mut self, columns: Columns) -> Vec<ArrayRef> {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.rows.finish()), Arc::new(self.texts.finish())];
        if columns.labels {
            arrays.push(Arc::new(self.labels.finish()));
        }
        if columns.groups {
            arrays.push(Arc::new(self.groups.finish()));
        }
        if columns.prompts {
            arrays.push(Arc::new(self.prompts.finish()));
        }
        if columns.others {
            arrays.push(Arc::new(self.others.finish()));
        }
        (self.count, self.bytes) = (0, 0);
        arrays
    }
}

fn check(row: &TableRow<'_>) -> std::result::Result<(), String> {
    let TableRow { row, text, label, group, prompt, other } = *row;
    if row < 0 {
        return Err(format!("row {row} is negative"));
    }
    for (column, number) in [("label", label.map(i64::from)), ("group", group)] {
        if let Some(number) = number.filter(|&number| number < 0) {
            return Err(format!("row {row} has the negative {column} {number}"));
        }
    }
    for (column, text) in [("text", Some(text)), ("prompt", prompt), ("other", other)] {
        if let Some(bytes) = text.map(str::len).filter(|&bytes| bytes > MAX_TEXT_BYTES) {
            return Err(format!("the {column} of row {row} has {bytes} bytes, the most is {MAX_TEXT_BYTES}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row: i64, text: &str) -> TableRow<'_> {
        TableRow { row, text, label: Some(1), group: None, prompt: None, other: None }
    }

    const LABELS: Columns = Columns { labels: true, groups: false, prompts: false, others: false };

    #[test]
    fn a_table_written_row_by_row_has_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a.parquet", "b.parquet"].map(|name| dir.path().join(name));
        let text = "a lever ".repeat(1 << 12);
        let mut table = super::super::Table { labels: Some(Vec::new()), ..Default::default() };
        let mut writer = TableWriter::create(&a, LABELS).unwrap();
        // Enough text for several batches and two row groups.
        for id in 0..1500 {
            writer.push(row(id * 2, &text)).unwrap();
            table.rows.push(id * 2);
            table.texts.push(text.clone());
            table.labels.iter_mut().for_each(|labels| labels.push(1));
        }
        assert_eq!((writer.len(), writer.is_empty()), (1500, false));
        writer.finish().unwrap();
        table.write(&b).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        assert_eq!(super::super::Table::read(&a).unwrap(), table);
    }

    #[test]
    fn a_writer_that_gives_up_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let mut writer = TableWriter::create(&path, LABELS).unwrap();
        writer.push(row(3, "a")).unwrap();
        let cases = [
            (row(3, "b"), "row 3 comes after row 3"),
            (row(-1, "b"), "row -1 is negative"),
            (TableRow { label: Some(-1), ..row(4, "b") }, "row 4 has the negative label -1"),
            (TableRow { label: None, ..row(4, "b") }, "row 4 has Columns { labels: false"),
        ];
        for (row, expected) in cases {
            let message = writer.push(row).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(path.exists());
        drop(writer);
        assert!(!path.exists());
    }
}
