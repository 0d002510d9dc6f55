//! Tables of rows: the position in the source, the text, and where known the label.

use std::{collections::HashSet, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Int32Array, Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};

use crate::{
    columns::{self, BATCH_ROWS},
    error::{DataError, Result},
};

/// The longest text a row may have.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Rows in a fixed order. On disk: columns `row` (i64), `text` (utf8) and, where known, `label` (i32).
///
/// The fields are open for reading and building; what makes a table valid (columns of one length, no row twice, no
/// negative row or label, no text beyond [`MAX_TEXT_BYTES`]) is checked whenever one is written or read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Positions in the source, each once.
    pub rows: Vec<i64>,
    /// What a model reads.
    pub texts: Vec<String>,
    /// The class of each row, counted from 0.
    pub labels: Option<Vec<i32>>,
}

impl Table {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows at these places, in this order.
    ///
    /// # Panics
    /// When a place is not below [`Table::len`].
    pub fn select(&self, places: &[usize]) -> Self {
        Self {
            rows: places.iter().map(|&i| self.rows[i]).collect(),
            texts: places.iter().map(|&i| self.texts[i].clone()).collect(),
            labels: self.labels.as_ref().map(|labels| places.iter().map(|&i| labels[i]).collect()),
        }
    }

    /// Reads a table that [`Table::write`] wrote, or one of the same columns from elsewhere.
    ///
    /// # Errors
    /// When the file is no Parquet, a column is missing or of another type, or the table is not valid.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = columns::Reader::open(path)?;
        let mut table = Self { labels: reader.has("label").then(Vec::new), ..Self::default() };
        while let Some(batch) = reader.next()? {
            table.rows.extend_from_slice(batch.int64("row")?.values());
            table.texts.extend(batch.utf8("text")?.iter().flatten().map(str::to_owned));
            if let Some(labels) = &mut table.labels {
                labels.extend_from_slice(batch.int32("label")?.values());
            }
        }
        table.check().map_err(|what| DataError::file(path, what))?;
        Ok(table)
    }

    /// Writes the table; the same table gives the same bytes.
    ///
    /// # Errors
    /// When the table is not valid or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| DataError::file(path, format!("not written: {what}")))?;
        let mut fields =
            vec![Field::new("row", DataType::Int64, false), Field::new("text", DataType::Utf8, false)];
        if self.labels.is_some() {
            fields.push(Field::new("label", DataType::Int32, false));
        }
        let schema = Arc::new(Schema::new(fields));
        let batches = (0..self.len()).step_by(BATCH_ROWS).map(|start| {
            let range = start..self.len().min(start + BATCH_ROWS);
            let mut arrays: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from(self.rows[range.clone()].to_vec())),
                Arc::new(StringArray::from_iter_values(&self.texts[range.clone()])),
            ];
            if let Some(labels) = &self.labels {
                arrays.push(Arc::new(Int32Array::from(labels[range].to_vec())));
            }
            RecordBatch::try_new(schema.clone(), arrays)
        });
        columns::write(path, &schema, batches)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let (rows, texts) = (self.rows.len(), self.texts.len());
        if texts != rows {
            return Err(format!("{rows} rows but {texts} texts"));
        }
        check_rows(&self.rows)?;
        if let Some(place) = self.texts.iter().position(|text| text.len() > MAX_TEXT_BYTES) {
            let (row, bytes) = (self.rows[place], self.texts[place].len());
            return Err(format!("the text of row {row} has {bytes} bytes, the most is {MAX_TEXT_BYTES}"));
        }
        let Some(labels) = &self.labels else { return Ok(()) };
        if labels.len() != rows {
            return Err(format!("{rows} rows but {} labels", labels.len()));
        }
        match labels.iter().position(|&label| label < 0) {
            Some(place) => Err(format!("row {} has the negative label {}", self.rows[place], labels[place])),
            None => Ok(()),
        }
    }
}

/// Row ids are positions in a source: not negative, and each once.
pub(crate) fn check_rows(rows: &[i64]) -> std::result::Result<(), String> {
    let mut seen = HashSet::with_capacity(rows.len());
    for &row in rows {
        if row < 0 {
            return Err(format!("row {row} is negative"));
        }
        if !seen.insert(row) {
            return Err(format!("row {row} appears twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sample(rows: usize) -> Table {
        Table {
            rows: (0..rows as i64).map(|i| i * 3).collect(),
            texts: (0..rows).map(|i| format!("the lever is {i} feet long, \"ça va\"\n")).collect(),
            labels: Some((0..rows).map(|i| (i % 3) as i32).collect()),
        }
    }

    #[test]
    fn a_table_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        for rows in [0, 1, BATCH_ROWS, 2 * BATCH_ROWS + 1] {
            for labels in [true, false] {
                let mut table = sample(rows);
                if !labels {
                    table.labels = None;
                }
                table.write(&path).unwrap();
                assert_eq!(Table::read(&path).unwrap(), table, "{rows} rows, labels {labels}");
            }
        }
    }

    #[test]
    fn two_writes_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a.parquet", "b.parquet"].map(|name| dir.path().join(name));
        sample(3000).write(&a).unwrap();
        sample(3000).write(&b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    }

    #[test]
    fn an_invalid_table_is_neither_written_nor_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        let broken = |change: fn(&mut Table)| {
            let mut table = sample(4);
            change(&mut table);
            table.write(&path).unwrap_err().to_string()
        };
        let cases: [(String, &str); 6] = [
            (broken(|t| t.rows[3] = 0), "row 0 appears twice"),
            (broken(|t| t.rows[1] = -1), "row -1 is negative"),
            (broken(|t| drop(t.texts.pop())), "4 rows but 3 texts"),
            (broken(|t| t.labels = Some(vec![0])), "4 rows but 1 labels"),
            (broken(|t| t.labels = Some(vec![0, 1, -7, 0])), "row 6 has the negative label -7"),
            (broken(|t| t.texts[2] = "x".repeat(MAX_TEXT_BYTES + 1)), "the text of row 6 has 1048577 bytes"),
        ];
        for (message, expected) in cases {
            assert!(message.contains(expected), "{message}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_foreign_file_is_refused_with_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        let schema = Arc::new(Schema::new(vec![
            Field::new("row", DataType::Int32, true),
            Field::new("text", DataType::Utf8, true),
        ]));
        let write = |rows: Int32Array, texts: StringArray| {
            let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(rows), Arc::new(texts)]);
            columns::write(&path, &schema, [batch].into_iter()).unwrap();
            Table::read(&path).unwrap_err().to_string()
        };
        let message = write(vec![1].into(), vec!["a"].into());
        assert!(message.ends_with("column `row` is Int32, expected int64"), "{message}");

        fs::write(&path, b"PAR1 and then nothing of the kind PAR1").unwrap();
        let message = Table::read(&path).unwrap_err().to_string();
        assert!(message.contains("not readable as Parquet"), "{message}");
        assert!(Table::read(&dir.path().join("absent")).is_err());
    }
}
