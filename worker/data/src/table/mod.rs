//! Tables of rows: the position in the source, the text, and where known the label.

mod writer;

use std::{collections::HashSet, path::Path};

use crate::{
    columns,
    error::{DataError, Result},
};

pub use writer::{Columns, TableRow, TableWriter};

/// The longest text a row may have.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Rows in a fixed order. On disk: columns `row` (i64), `text` (utf8) and, where known, `label` (i32), `group` (i64),
/// `prompt` (utf8) and `other` (utf8).
///
/// The fields are open for reading and building; what makes a table valid (columns of one length, no row twice, no
/// negative row, label or group, no text beyond [`MAX_TEXT_BYTES`]) is checked whenever one is written or read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Positions in the source, each once.
    pub rows: Vec<i64>,
    /// What a model reads.
    pub texts: Vec<String>,
    /// The class of each row, counted from 0.
    pub labels: Option<Vec<i32>>,
    /// Rows with the same number belong together: the answers of one question, the sides of one pair.
    pub groups: Option<Vec<i64>>,
    /// What is given before each text and is not the model's to say.
    pub prompts: Option<Vec<String>>,
    /// The second text of each row, where rows are pairs: the class is 1 if it is preferred to the first.
    pub others: Option<Vec<String>>,
}

/// A [`Table`] without its texts: what training, measuring and joining need beside tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Positions in the source, each once.
    pub rows: Vec<i64>,
    /// The class of each row, counted from 0.
    pub labels: Option<Vec<i32>>,
    /// Rows with the same number belong together.
    pub groups: Option<Vec<i64>>,
}

impl Labels {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn of(reader: &columns::Reader) -> Self {
        Self {
            rows: Vec::new(),
            labels: reader.has("label").then(Vec::new),
            groups: reader.has("group").then(Vec::new),
        }
    }

    fn extend(&mut self, batch: &columns::Batch) -> Result<()> {
        self.rows.extend_from_slice(batch.int64("row")?.values());
        if let Some(labels) = &mut self.labels {
            labels.extend_from_slice(batch.int32("label")?.values());
        }
        if let Some(groups) = &mut self.groups {
            groups.extend_from_slice(batch.int64("group")?.values());
        }
        Ok(())
    }

    fn check(&self) -> std::result::Result<(), String> {
        check_rows(&self.rows)?;
        check_numbers("label", &self.rows, self.labels.as_deref())?;
        check_numbers("group", &self.rows, self.groups.as_deref())
    }
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
            groups: self.groups.as_ref().map(|groups| places.iter().map(|&i| groups[i]).collect()),
            prompts: chosen(self.prompts.as_ref(), places),
            others: chosen(self.others.as_ref(), places),
        }
    }

    /// Reads a table that [`Table::write`] wrote, or one of the same columns from elsewhere.
    ///
    /// # Errors
    /// When the file is no Parquet, a column is missing or of another type, or the table is not valid.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = columns::Reader::open(path)?;
        let mut numbers = Labels::of(&reader);
        let mut columns = ["text", "prompt", "other"]
            .map(|name| (name, (name == "text" || reader.has(name)).then(Vec::new)));
        while let Some(batch) = reader.next()? {
            numbers.extend(&batch)?;
            for (name, texts) in &mut columns {
                if let Some(texts) = texts {
                    texts.extend(batch.utf8(name)?.iter().flatten().map(str::to_owned));
                }
            }
        }
        let [texts, prompts, others] = columns.map(|(_, texts)| texts);
        let Labels { rows, labels, groups } = numbers;
        let table = Self { rows, texts: texts.unwrap_or_default(), labels, groups, prompts, others };
        table.check().map_err(|what| DataError::file(path, what))?;
        Ok(table)
    }

    /// Reads rows, labels and groups of a table, and never its texts.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn read_labels(path: &Path) -> Result<Labels> {
        let mut reader = columns::Reader::open_columns(path, &["row", "label", "group"])?;
        let mut labels = Labels::of(&reader);
        while let Some(batch) = reader.next()? {
            labels.extend(&batch)?;
        }
        labels.check().map_err(|what| DataError::file(path, what))?;
        Ok(labels)
    }

    /// Writes the table; the same table gives the same bytes.
    ///
    /// # Errors
    /// When the table is not valid or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| DataError::file(path, format!("not written: {what}")))?;
        let columns = Columns {
            labels: self.labels.is_some(),
            groups: self.groups.is_some(),
            prompts: self.prompts.is_some(),
            others: self.others.is_some(),
        };
        let mut writer = TableWriter::create(path, columns)?;
        for place in 0..self.len() {
            writer.append(TableRow {
                row: self.rows[place],
                text: &self.texts[place],
                label: self.labels.as_ref().map(|labels| labels[place]),
                group: self.groups.as_ref().map(|groups| groups[place]),
                prompt: self.prompts.as_ref().map(|prompts| prompts[place].as_str()),
                other: self.others.as_ref().map(|others| others[place].as_str()),
            })?;
        }
        writer.finish()
    }

    fn check(&self) -> std::result::Result<(), String> {
        check_rows(&self.rows)?;
        check_texts("text", &self.rows, Some(&self.texts))?;
        check_texts("prompt", &self.rows, self.prompts.as_deref())?;
        check_texts("other", &self.rows, self.others.as_deref())?;
        check_numbers("label", &self.rows, self.labels.as_deref())?;
        check_numbers("group", &self.rows, self.groups.as_deref())
    }
}

fn chosen(texts: Option<&Vec<String>>, places: &[usize]) -> Option<Vec<String>> {
    texts.map(|texts| places.iter().map(|&i| texts[i].clone()).collect())
}

fn check_texts(column: &str, rows: &[i64], texts: Option<&[String]>) -> std::result::Result<(), String> {
    let Some(texts) = texts else { return Ok(()) };
    if texts.len() != rows.len() {
        return Err(format!("{} rows but {} {column}s", rows.len(), texts.len()));
    }
    match texts.iter().position(|text| text.len() > MAX_TEXT_BYTES) {
        Some(place) => {
            let (row, bytes) = (rows[place], texts[place].len());
            Err(format!("the {column} of row {row} has {bytes} bytes, the most is {MAX_TEXT_BYTES}"))
        }
        None => Ok(()),
    }
}

fn check_numbers<T: Copy + Into<i64>>(
    column: &str,
    rows: &[i64],
    numbers: Option<&[T]>,
) -> std::result::Result<(), String> {
    let Some(numbers) = numbers else { return Ok(()) };
    if numbers.len() != rows.len() {
        return Err(format!("{} rows but {} {column}s", rows.len(), numbers.len()));
    }
    match numbers.iter().position(|&number| number.into() < 0) {
        Some(place) => {
            Err(format!("row {} has the negative {column} {}", rows[place], numbers[place].into()))
        }
        None => Ok(()),
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
    use std::{fs, sync::Arc};

    use arrow::{
        array::{Int32Array, StringArray},
        datatypes::{DataType, Field, Schema},
        record_batch::RecordBatch,
    };

    use super::*;
    use crate::columns::BATCH_ROWS;

    fn sample(rows: usize) -> Table {
        Table {
            rows: (0..rows as i64).map(|i| i * 3).collect(),
            texts: (0..rows).map(|i| format!("the lever is {i} feet long, \"ça va\"\n")).collect(),
            labels: Some((0..rows).map(|i| (i % 3) as i32).collect()),
            groups: Some((0..rows).map(|i| (i / 2) as i64).collect()),
            prompts: Some((0..rows).map(|i| format!("how long is lever {i}?")).collect()),
            others: Some((0..rows).map(|i| format!("lever {i} has no length")).collect()),
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
                    table = Table { rows: table.rows, texts: table.texts, ..Table::default() };
                }
                table.write(&path).unwrap();
                assert_eq!(Table::read(&path).unwrap(), table, "{rows} rows, labels {labels}");
                let Table { rows, labels, groups, .. } = table;
                assert_eq!(Table::read_labels(&path).unwrap(), Labels { rows, labels, groups });
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
        let cases: [(String, &str); 10] = [
            (broken(|t| t.rows[3] = 0), "row 0 appears twice"),
            (broken(|t| t.rows[1] = -1), "row -1 is negative"),
            (broken(|t| drop(t.texts.pop())), "4 rows but 3 texts"),
            (broken(|t| t.labels = Some(vec![0])), "4 rows but 1 labels"),
            (broken(|t| t.labels = Some(vec![0, 1, -7, 0])), "row 6 has the negative label -7"),
            (broken(|t| t.groups = Some(vec![0, 1, 2, -1])), "row 9 has the negative group -1"),
            (broken(|t| t.groups = Some(vec![])), "4 rows but 0 groups"),
            (broken(|t| t.prompts = Some(vec![])), "4 rows but 0 prompts"),
            (broken(|t| t.others = Some(vec![String::new()])), "4 rows but 1 others"),
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
