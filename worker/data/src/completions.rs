//! What generation writes: one line per prompt and sample.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};

use crate::{
    columns::{self, BATCH_ROWS},
    error::{DataError, Result},
    predictions::{LOG_TOLERANCE, name_of},
    table::MAX_TEXT_BYTES,
};

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its text, or a stop text came.
    Stop,
    /// There was no room for another token.
    Length,
}

impl Finish {
    /// The word on disk.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Stop, Self::Length].into_iter().find(|finish| finish.word() == word)
    }
}

/// One completion of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The prompt's position in the source.
    pub row: i64,
    /// Which of the prompt's completions, from 0.
    pub sample: i64,
    /// What followed the prompt, without special tokens, up to the first stop text.
    pub text: String,
    /// Tokens that were drawn, that of the end and those of a stop text included.
    pub tokens: i64,
    /// Natural logarithm of the probability with which these tokens were drawn.
    pub log_probability: f64,
    /// Why it ended.
    pub finish: Finish,
}

/// Completions in the order of (row in the source's order, sample). On disk: `row` (i64), `sample` (i64), `text`
/// (utf8), `tokens` (i64), `log_probability` (f64, in nats) and `finish` (utf8: `stop` or `length`).
///
/// Checked when written and when read: each row's samples stand together and count from 0, and as many for every row;
/// no row comes twice; counts are positive, log-probabilities finite and not above 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completions(pub Vec<Completion>);

impl Completions {
    /// Reads the parts of a generation, in this order, as one.
    ///
    /// # Errors
    /// When a file is no Parquet of this kind, or the parts together are not valid.
    pub fn read<P: AsRef<Path>>(parts: &[P]) -> Result<Self> {
        let mut whole = Self::default();
        columns::each(parts, |part, batch| {
            let (rows, samples) = (batch.int64("row")?, batch.int64("sample")?);
            let (texts, tokens) = (batch.utf8("text")?, batch.int64("tokens")?);
            let (values, words) = (batch.float64("log_probability")?, batch.utf8("finish")?);
            for at in 0..rows.len() {
                let word = words.value(at);
                let unknown = || format!("`finish` is {word:?}, neither stop nor length");
                let finish = Finish::of(word).ok_or_else(|| DataError::file(part, unknown()))?;
                whole.0.push(Completion {
                    row: rows.value(at),
                    sample: samples.value(at),
                    text: texts.value(at).to_owned(),
                    tokens: tokens.value(at),
                    log_probability: values.value(at),
                    finish,
                });
            }
            Ok(())
        })?;
        whole.check().map_err(|what| DataError::Value(format!("{}: {what}", name_of(parts))))?;
        Ok(whole)
    }

    /// Writes a part; the same completions give the same bytes.
    ///
    /// # Errors
    /// When they are not valid or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| DataError::file(path, format!("not written: {what}")))?;
        let column = |name, kind| Field::new(name, kind, false);
        let schema = Arc::new(Schema::new(vec![
            column("row", DataType::Int64),
            column("sample", DataType::Int64),
            column("text", DataType::Utf8),
            column("tokens", DataType::Int64),
            column("log_probability", DataType::Float64),
            column("finish", DataType::Utf8),
        ]));
        let batches = self.0.chunks(BATCH_ROWS).map(|lines| {
            let whole =
                |of: fn(&Completion) -> i64| Arc::new(Int64Array::from_iter_values(lines.iter().map(of)));
            let texts = StringArray::from_iter_values(lines.iter().map(|line| &line.text));
            let values = Float64Array::from_iter_values(lines.iter().map(|line| line.log_probability));
            let words = StringArray::from_iter_values(lines.iter().map(|line| line.finish.word()));
            RecordBatch::try_new(
                schema.clone(),
                vec![
                    whole(|line| line.row),
                    whole(|line| line.sample),
                    Arc::new(texts),
                    whole(|line| line.tokens),
                    Arc::new(values),
                    Arc::new(words),
                ],
            )
        });
        columns::write(path, &schema, batches)
    }

    fn check(&self) -> std::result::Result<(), String> {
        // A row's samples are as many as those of the first row.
        let samples =
            self.0.iter().take_while(|line| Some(line.row) == self.0.first().map(|first| first.row)).count();
        for lines in self.0.chunks(samples.max(1)) {
            let row = lines[0].row;
            if lines.len() != samples
                || lines.iter().zip(0..).any(|(line, at)| (line.row, line.sample) != (row, at))
            {
                return Err(format!("row {row} has not one each of the samples 0 to {}", samples - 1));
            }
        }
        let rows: Vec<i64> = self.0.iter().step_by(samples.max(1)).map(|line| line.row).collect();
        crate::table::check_rows(&rows)?;
        self.0.iter().try_for_each(Completion::check)
    }
}

impl Completion {
    fn check(&self) -> std::result::Result<(), String> {
        let Self { row, sample, text, tokens, log_probability, .. } = self;
        if *tokens < 1 {
            return Err(format!("sample {sample} of row {row} has {tokens} tokens"));
        }
        if !log_probability.is_finite() || *log_probability > LOG_TOLERANCE {
            let value = log_probability;
            return Err(format!(
                "sample {sample} of row {row} has the log-probability {value}, which is none"
            ));
        }
        if text.len() > MAX_TEXT_BYTES {
            let bytes = text.len();
            return Err(format!(
                "sample {sample} of row {row} has {bytes} bytes, the most is {MAX_TEXT_BYTES}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(row: i64, sample: i64) -> Completion {
        let text = format!("lift {row}é{sample}\n");
        Completion { row, sample, text, tokens: 3, log_probability: -0.25, finish: Finish::Stop }
    }

    /// Rows in the source's order, two samples each.
    fn two_each(rows: impl Iterator<Item = i64>) -> Completions {
        Completions(rows.flat_map(|row| [line(row, 0), line(row, 1)]).collect())
    }

    #[test]
    fn parts_are_read_as_they_were_written_and_equal_ones_have_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let parts = [folder.path().join("a"), folder.path().join("b"), folder.path().join("a2")];
        let (mut first, second) = (two_each((0..1500).rev()), two_each(1500..1501));
        first.0[1].finish = Finish::Length;
        first.write(&parts[0]).unwrap();
        second.write(&parts[1]).unwrap();
        first.write(&parts[2]).unwrap();
        assert_eq!(fs::read(&parts[0]).unwrap(), fs::read(&parts[2]).unwrap());
        let whole = Completions::read(&parts[..2]).unwrap();
        assert_eq!(whole.0, [first.0, second.0].concat());
    }

    #[test]
    fn completions_that_cannot_be_are_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let with = |change: fn(&mut Vec<Completion>)| {
            let mut lines = two_each(4..6).0;
            change(&mut lines);
            Completions(lines).write(&path).map_err(|error| error.to_string())
        };
        type Change = fn(&mut Vec<Completion>);
        let cases: [(Change, &str); 7] = [
            (|lines| drop(lines.pop()), "row 5 has not one each of the samples 0 to 1"),
            (|lines| lines[2].sample = 1, "row 5 has not one each"),
            (|lines| lines.swap(1, 2), "row 4 has not one each of the samples 0 to 0"),
            (|lines| lines.extend(two_each(4..5).0), "row 4 appears twice"),
            (|lines| lines[0].tokens = 0, "sample 0 of row 4 has 0 tokens"),
            (|lines| lines[3].log_probability = f64::NAN, "the log-probability NaN, which is none"),
            (|lines| lines[0].log_probability = 0.5, "the log-probability 0.5, which is none"),
        ];
        for (change, expected) in cases {
            let message = with(change).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(!path.exists());
        }
        with(|lines| lines.clear()).unwrap();
        assert_eq!(Completions::read(&[&path]).unwrap(), Completions::default());
    }
}
