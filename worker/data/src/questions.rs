//! Which rows of a table are the answers to one question.

use std::{path::Path, sync::Arc};

use arrow::{
    array::Int64Array,
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};

use crate::{
    columns::{self, BATCH_ROWS},
    error::{DataError, Result},
    format::Formatter,
    prepare::Dataset,
    table::check_rows,
};

/// Questions that can be answered right or wrong. On disk: `question` (i64, counted from 0) and `row` (i64), an answer a line,
/// those of a question one after the other.
///
/// Checked when written and when read: no row twice, and every question has two answers at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// The row ids of each question's answers.
    pub answers: Vec<Vec<i64>>,
}

impl Questions {
    /// Name of the file in a prepared dataset.
    pub const FILE: &str = "questions.parquet";

    /// Those rows of a source that gave several examples, of which all are among `rows`, sorted, and some are right and
    /// some are not.
    ///
    /// # Errors
    /// The first row that cannot be read or does not fit the format, with file, line and the way out.
    pub fn of(dataset: &Dataset<'_>, rows: &[i64]) -> Result<Self> {
        let formatter = Formatter::new(dataset.format)?;
        let (mut answers, mut next) = (Vec::new(), 0);
        for row in dataset.rows()? {
            let examples = formatter.format(&row?)?;
            let ids: Vec<i64> = (next..).take(examples.len()).collect();
            next += examples.len() as i64;
            let right = examples.iter().filter(|example| example.label == Some(1)).count();
            let told = (1..examples.len()).contains(&right);
            if told && ids.iter().all(|id| rows.binary_search(id).is_ok()) {
                answers.push(ids);
            }
        }
        Ok(Self { answers })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is no Parquet of this kind or the values are not valid.
    pub fn read(path: &Path) -> Result<Self> {
        let mut answers: Vec<Vec<i64>> = Vec::new();
        columns::each(&[path], |_, batch| {
            let (questions, rows) = (batch.int64("question")?.values(), batch.int64("row")?.values());
            for (&question, &row) in questions.iter().zip(rows) {
                match usize::try_from(question) {
                    Ok(new) if new == answers.len() => answers.push(vec![row]),
                    Ok(last) if last + 1 == answers.len() => answers[last].push(row),
                    _ => {
                        let what = format!("question {question} comes after {} others", answers.len());
                        return Err(DataError::file(path, what));
                    }
                }
            }
            Ok(())
        })?;
        let read = Self { answers };
        read.check().map_err(|what| DataError::file(path, what))?;
        Ok(read)
    }

    /// Writes a file; the same questions give the same bytes.
    ///
    /// # Errors
    /// When the values are not valid or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| DataError::file(path, format!("not written: {what}")))?;
        let column = |name: &str| Field::new(name, DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![column("question"), column("row")]));
        let lines: Vec<(i64, i64)> = (0..)
            .zip(&self.answers)
            .flat_map(|(question, rows)| rows.iter().map(move |&row| (question, row)))
            .collect();
        let batches = lines.chunks(BATCH_ROWS).map(|lines| {
            let (questions, rows): (Vec<i64>, Vec<i64>) = lines.iter().copied().unzip();
            let columns = [Int64Array::from(questions), Int64Array::from(rows)];
            RecordBatch::try_new(schema.clone(), columns.map(|column| Arc::new(column) as _).into())
        });
        columns::write(path, &schema, batches)
    }

    fn check(&self) -> std::result::Result<(), String> {
        check_rows(&self.answers.concat())?;
        match self.answers.iter().position(|rows| rows.len() < 2) {
            Some(question) => Err(format!("question {question} has less than two answers")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::plan::{Arithmetic, Format, Source};

    use super::*;

    #[test]
    fn a_question_is_known_by_its_rows_where_none_of_them_went_elsewhere() {
        let source = Source::ArithmeticQuestions(Arithmetic { rows: 5, seed: 1, below: 9, noise: 0.0 });
        let dataset = Dataset { source: &source, paths: &[], format: &Format::arithmetic_choices() };
        let of = |rows: &[i64]| Questions::of(&dataset, rows).unwrap().answers;
        let all: Vec<i64> = (0..20).collect();
        assert_eq!(of(&all), all.chunks(4).map(<[i64]>::to_vec).collect::<Vec<_>>());
        assert_eq!(of(&[0, 1, 2, 4, 5, 6, 7, 16, 17, 18, 19]), [[4, 5, 6, 7], [16, 17, 18, 19]]);
        // Of preferences each row gives one example.
        let format = &Format::arithmetic_comparisons();
        assert_eq!(Questions::of(&Dataset { format, ..dataset }, &all).unwrap(), Questions::default());
    }

    #[test]
    fn what_is_written_is_read_and_what_is_no_question_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Questions::FILE);
        let rows = |question: i64| (3 * question..3 * question + 2 + question % 2).collect();
        for count in [0, 3, 2_000] {
            let questions = Questions { answers: (0..count).map(rows).collect() };
            questions.write(&path).unwrap();
            assert_eq!(Questions::read(&path).unwrap(), questions);
        }
        for (answers, expected) in [
            (vec![vec![1, 2], vec![3]], "question 1 has less than two answers"),
            (vec![vec![1, 2], vec![3, 1]], "row 1 appears twice"),
        ] {
            let message = Questions { answers }.write(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let column = |name: &str| Field::new(name, DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![column("question"), column("row")]));
        for wrong in [[0, 0, 2, 2], [0, 0, -1, -1], [1, 1, 2, 2]] {
            let columns = [Int64Array::from(wrong.to_vec()), Int64Array::from(vec![1, 2, 3, 4])];
            let batch = RecordBatch::try_new(schema.clone(), columns.map(|c| Arc::new(c) as _).into());
            columns::write(&path, &schema, std::iter::once(batch)).unwrap();
            let message = Questions::read(&path).unwrap_err().to_string();
            assert!(message.contains("comes after"), "{message}");
        }
    }
}
