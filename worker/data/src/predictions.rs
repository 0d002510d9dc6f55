//! What inference writes per row, and reading it back from the shards' part files.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array, AsArray, Float32Builder, Float64Array, Int64Array, ListBuilder},
    datatypes::{DataType, Field, Float32Type, Schema},
    record_batch::RecordBatch,
};

use crate::{
    columns::{self, BATCH_ROWS},
    error::{DataError, Result},
    table::check_rows,
};

/// How far the probabilities of a row may add up to something other than 1: the softmax is taken in f32.
const SUM_TOLERANCE: f32 = 1e-3;

/// How far above 0 a log-probability may be by rounding.
pub(crate) const LOG_TOLERANCE: f64 = 1e-3;

/// Class probabilities of rows. On disk: `row` (i64) and `probabilities` (list of f32, one per class).
///
/// Checked when written and when read: columns of one length, no row twice, every row with the same number of classes,
/// finite values in 0..=1 that add up to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probabilities {
    /// Positions in the source, each once.
    pub rows: Vec<i64>,
    /// For each row, one probability per class.
    pub probabilities: Vec<Vec<f32>>,
}

impl Probabilities {
    /// Reads the parts of a prediction, in this order, as one.
    ///
    /// # Errors
    /// When a file is no Parquet of this kind, or the parts together are not valid.
    pub fn read<P: AsRef<Path>>(parts: &[P]) -> Result<Self> {
        let mut whole = Self::default();
        columns::each(parts, |_, batch| {
            whole.rows.extend_from_slice(batch.int64("row")?.values());
            let lists = batch.float32_lists("probabilities")?;
            let list = |i| lists.value(i).as_primitive::<Float32Type>().values().to_vec();
            whole.probabilities.extend((0..lists.len()).map(list));
            Ok(())
        })?;
        whole.check().map_err(|what| DataError::Value(format!("{}: {what}", name_of(parts))))?;
        Ok(whole)
    }

    /// Writes a part; the same rows give the same bytes.
    ///
    /// # Errors
    /// When the values are not valid or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| DataError::file(path, format!("not written: {what}")))?;
        let item = Arc::new(Field::new("element", DataType::Float32, false));
        let schema = Arc::new(Schema::new(vec![
            Field::new("row", DataType::Int64, false),
            Field::new("probabilities", DataType::List(item.clone()), false),
        ]));
        let batches = (0..self.rows.len()).step_by(BATCH_ROWS).map(|start| {
            let range = start..self.rows.len().min(start + BATCH_ROWS);
            let mut lists = ListBuilder::new(Float32Builder::new()).with_field(item.clone());
            for values in &self.probabilities[range.clone()] {
                lists.values().append_slice(values);
                lists.append(true);
            }
            let rows = Int64Array::from(self.rows[range].to_vec());
            RecordBatch::try_new(schema.clone(), vec![Arc::new(rows), Arc::new(lists.finish())])
        });
        columns::write(path, &schema, batches)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let (rows, lists) = (self.rows.len(), self.probabilities.len());
        if lists != rows {
            return Err(format!("{rows} rows but {lists} lists of probabilities"));
        }
        check_rows(&self.rows)?;
        let classes = self.probabilities.first().map_or(0, Vec::len);
        for (row, values) in self.rows.iter().zip(&self.probabilities) {
            if values.is_empty() || values.len() != classes {
                return Err(format!("row {row} has {} classes, the first row has {classes}", values.len()));
            }
            if let Some(value) = values.iter().find(|p| !(0.0..=1.0 + SUM_TOLERANCE).contains(*p)) {
                return Err(format!("row {row} has the probability {value}, which is none"));
            }
            let sum: f32 = values.iter().sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(format!("the probabilities of row {row} add up to {sum}, not to 1"));
            }
        }
        Ok(())
    }
}

/// Sequence log-probabilities of rows. On disk: `row` (i64), `tokens` (i64) and `log_probability` (f64, in nats).
///
/// Checked when written and when read: columns of one length, no row twice, finite values not above 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogProbabilities {
    /// Positions in the source, each once.
    pub rows: Vec<i64>,
    /// How many tokens the text has, the first included.
    pub tokens: Vec<i64>,
    /// Natural logarithm of the text's probability, summed over all tokens but the first.
    pub log_probability: Vec<f64>,
}

impl LogProbabilities {
    /// Reads the parts of a prediction, in this order, as one.
    ///
    /// # Errors
    /// When a file is no Parquet of this kind, or the parts together are not valid.
    pub fn read<P: AsRef<Path>>(parts: &[P]) -> Result<Self> {
        let mut whole = Self::default();
        columns::each(parts, |_, batch| {
            whole.rows.extend_from_slice(batch.int64("row")?.values());
            whole.tokens.extend_from_slice(batch.int64("tokens")?.values());
            whole.log_probability.extend_from_slice(batch.float64("log_probability")?.values());
            Ok(())
        })?;
        whole.check().map_err(|what| DataError::Value(format!("{}: {what}", name_of(parts))))?;
        Ok(whole)
    }

    /// Writes a part; the same rows give the same bytes.
    ///
    /// # Errors
    /// When the values are not valid or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| DataError::file(path, format!("not written: {what}")))?;
        let schema = Arc::new(Schema::new(vec![
            Field::new("row", DataType::Int64, false),
            Field::new("tokens", DataType::Int64, false),
            Field::new("log_probability", DataType::Float64, false),
        ]));
        let batches = (0..self.rows.len()).step_by(BATCH_ROWS).map(|start| {
            let range = start..self.rows.len().min(start + BATCH_ROWS);
            let rows = Int64Array::from(self.rows[range.clone()].to_vec());
            let tokens = Int64Array::from(self.tokens[range.clone()].to_vec());
            let values = Float64Array::from(self.log_probability[range].to_vec());
            RecordBatch::try_new(schema.clone(), vec![Arc::new(rows), Arc::new(tokens), Arc::new(values)])
        });
        columns::write(path, &schema, batches)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let (rows, tokens, values) = (self.rows.len(), self.tokens.len(), self.log_probability.len());
        if tokens != rows || values != rows {
            return Err(format!("{rows} rows but {tokens} token counts and {values} log-probabilities"));
        }
        check_rows(&self.rows)?;
        for ((row, tokens), value) in self.rows.iter().zip(&self.tokens).zip(&self.log_probability) {
            if *tokens < 0 {
                return Err(format!("row {row} has {tokens} tokens"));
            }
            if !value.is_finite() || *value > LOG_TOLERANCE {
                return Err(format!("row {row} has the log-probability {value}, which is none"));
            }
        }
        Ok(())
    }
}

/// What an error calls a prediction: its first part, and how many there are.
pub(crate) fn name_of<P: AsRef<Path>>(parts: &[P]) -> String {
    match parts {
        [] => "a prediction without parts".to_owned(),
        [one] => one.as_ref().display().to_string(),
        [first, rest @ ..] => format!("{} and {} more parts", first.as_ref().display(), rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn probabilities(rows: std::ops::Range<i64>) -> Probabilities {
        let of = |row: i64| {
            let p = (row % 97) as f32 / 96.0;
            vec![p, 1.0 - p]
        };
        Probabilities { rows: rows.clone().collect(), probabilities: rows.map(of).collect() }
    }

    #[test]
    fn parts_are_read_in_order_as_one_prediction() {
        let dir = tempfile::tempdir().unwrap();
        let ranges = [0..1500, 1500..1501, 1501..4000];
        let parts: Vec<_> =
            (0..ranges.len()).map(|i| dir.path().join(format!("part-{i:05}.parquet"))).collect();
        for (range, part) in ranges.into_iter().zip(&parts) {
            probabilities(range).write(part).unwrap();
        }
        assert_eq!(Probabilities::read(&parts).unwrap(), probabilities(0..4000));

        let twice = Probabilities::read(&[&parts[0], &parts[0]]).unwrap_err().to_string();
        assert!(twice.ends_with("and 1 more parts: row 0 appears twice"), "{twice}");
    }

    #[test]
    fn log_probabilities_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let parts = [dir.path().join("a"), dir.path().join("b")];
        let part = |rows: std::ops::Range<i64>| LogProbabilities {
            rows: rows.clone().collect(),
            tokens: rows.clone().map(|row| row % 7).collect(),
            log_probability: rows.map(|row| -0.1 * row as f64).collect(),
        };
        part(0..10).write(&parts[0]).unwrap();
        part(10..25).write(&parts[1]).unwrap();
        assert_eq!(LogProbabilities::read(&parts).unwrap(), part(0..25));
    }

    #[test]
    fn two_writes_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        probabilities(0..3000).write(&a).unwrap();
        probabilities(0..3000).write(&b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    }

    #[test]
    fn values_that_are_no_probabilities_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part.parquet");
        let cases: [(&[&[f32]], &str); 6] = [
            (&[&[f32::NAN, 1.0]], "row 0 has the probability NaN"),
            (&[&[-0.1, 1.1]], "row 0 has the probability -0.1"),
            (&[&[0.5, 0.4]], "add up to 0.9, not to 1"),
            (&[&[0.5, 0.5], &[1.0]], "row 1 has 1 classes, the first row has 2"),
            (&[&[]], "row 0 has 0 classes"),
            (&[&[f32::INFINITY, 0.0]], "row 0 has the probability inf"),
        ];
        for (values, expected) in cases {
            let rows = (0..values.len() as i64).collect();
            let part = Probabilities { rows, probabilities: values.iter().map(|v| v.to_vec()).collect() };
            let message = part.write(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        for value in [f64::NAN, f64::NEG_INFINITY, 0.5] {
            let part = LogProbabilities { rows: vec![0], tokens: vec![3], log_probability: vec![value] };
            let message = part.write(&path).unwrap_err().to_string();
            assert!(message.contains("row 0 has the log-probability"), "{message}");
        }
    }

    #[test]
    fn one_kind_of_prediction_is_not_read_as_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part.parquet");
        probabilities(0..3).write(&path).unwrap();
        let message = LogProbabilities::read(&[&path]).unwrap_err().to_string();
        assert!(message.ends_with("no column `tokens`; columns are row, probabilities"), "{message}");
    }
}
