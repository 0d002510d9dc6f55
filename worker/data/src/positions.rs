//! The chess positions that the answers of a table's rows are moves in.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};

use crate::{
    chess::Position,
    columns::{self, BATCH_ROWS},
    error::{DataError, Result},
    prepare::Dataset,
};

/// Positions by row id. On disk: `row` (i64) and `position` (utf8, in FEN), in the order of the rows.
///
/// Checked when read: every position can arise, and no row comes twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub BTreeMap<i64, Position>);

impl Positions {
    /// Name of the file in a prepared dataset.
    pub const FILE: &str = "positions.parquet";

    /// Those of some examples of a source, whose row ids are sorted.
    ///
    /// # Errors
    /// The first row that cannot be read or does not fit the format, with file, line and the way out.
    pub fn of(dataset: &Dataset<'_>, rows: &[i64]) -> Result<Self> {
        let mut positions = BTreeMap::new();
        for (row, example) in (0..).zip(dataset.examples()?) {
            let position = example?.position.filter(|_| rows.binary_search(&row).is_ok());
            positions.extend(position.map(|position| (row, position)));
        }
        Ok(Self(positions))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is no Parquet of this kind or the values are not valid.
    pub fn read(path: &Path) -> Result<Self> {
        let mut positions = BTreeMap::new();
        columns::each(&[path], |_, batch| {
            let (rows, texts) = (batch.int64("row")?, batch.utf8("position")?);
            for (&row, text) in rows.values().iter().zip(texts.iter().flatten()) {
                let position = Position::read(text);
                let position =
                    position.map_err(|what| DataError::file(path, format!("row {row}: {what}")))?;
                if positions.insert(row, position).is_some() {
                    return Err(DataError::file(path, format!("row {row} appears twice")));
                }
            }
            Ok(())
        })?;
        Ok(Self(positions))
    }

    /// Writes a file; the same positions give the same bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let column = |name: &str, kind| Field::new(name, kind, false);
        let schema =
            Arc::new(Schema::new(vec![column("row", DataType::Int64), column("position", DataType::Utf8)]));
        let lines: Vec<_> = self.0.iter().collect();
        let batches = lines.chunks(BATCH_ROWS).map(|lines| {
            let rows: Int64Array = lines.iter().map(|(row, _)| **row).collect::<Vec<_>>().into();
            let texts: StringArray =
                lines.iter().map(|(_, position)| position.to_string()).collect::<Vec<_>>().into();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(rows), Arc::new(texts)])
        });
        columns::write(path, &schema, batches)
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::{
        Key,
        plan::{FileDigest, Form, Format, Source},
    };

    use super::*;

    fn form(position: &str) -> Format {
        Format::of(Form::Completion {
            prompt: "{{ fen }}".into(),
            completion: "{{ best }}".into(),
            position: Some(position.into()),
        })
    }

    fn of(folder: &Path, lines: &str, format: &Format, rows: &[i64]) -> Result<Positions> {
        let path = folder.join("puzzles.csv");
        std::fs::write(&path, format!("fen,first,best\n{lines}")).unwrap();
        let files = vec![FileDigest { name: "puzzles.csv".into(), digest: Key::of(b"") }];
        let source = Source::Files { files };
        Positions::of(&Dataset { source: &source, paths: &[path], format }, rows)
    }

    const PUZZLES: &str = "rnbqkbnr/pppp1ppp/8/4p3/8/5P2/PPPPP1PP/RNBQKBNR w KQkq - 0 2,g2g4,d8h4\n\
                           6k1/5ppp/8/8/8/8/8/K2R4 b - - 0 1,h7h6,Rd8#\n";

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let format = form("{{ fen }} moves {{ first }}");
        let all = of(folder.path(), PUZZLES, &format, &[0, 1]).unwrap();
        let fens: Vec<_> = all.0.values().map(ToString::to_string).collect();
        assert_eq!(fens[1], "6k1/5pp1/7p/8/8/8/8/K2R4 w - - 0 2");
        let one = of(folder.path(), PUZZLES, &format, &[1]).unwrap();
        assert_eq!(one.0.keys().collect::<Vec<_>>(), [&1]);
        let path = folder.path().join(Positions::FILE);
        for positions in [all, one, Positions::default()] {
            positions.write(&path).unwrap();
            assert_eq!(Positions::read(&path).unwrap(), positions);
        }
    }

    #[test]
    fn a_row_without_a_position_or_with_an_answer_that_is_no_move_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (position, line, expected) in [
            ("fen", "xyz,a1a2,a1a2\n", "puzzles.csv: line 4: \"xyz\" is no position in FEN: the"),
            (
                "{{ fen }} moves {{ first }}",
                "6k1/5ppp/8/8/8/8/8/K2R4 b - - 0 1,h6h7,Rd8#\n",
                "puzzles.csv: line 4: \"h6h7\" is no legal move in 6k1/5ppp/8/8/8/8/8/K2R4 b - - 0 1",
            ),
            (
                "{{ fen }} moves {{ first }}",
                "6k1/5ppp/8/8/8/8/8/K2R4 b - - 0 1,h7h6,Rh8\n",
                "puzzles.csv: line 4: completion: \"Rh8\" is no legal move in 6k1/5pp1/7p",
            ),
        ] {
            // The puzzles before it fit only the second form.
            let before = if position == "fen" {
                PUZZLES.replace("d8h4", "g2g4").replace("Rd8#", "h7h6")
            } else {
                PUZZLES.into()
            };
            let message =
                of(folder.path(), &format!("{before}{line}"), &form(position), &[]).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_file_with_a_row_twice_or_a_position_that_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Positions::FILE);
        let start = Position::start().to_string();
        for (rows, texts, expected) in [
            ([1, 1], [&*start, &*start], "row 1 appears twice"),
            (
                [1, 2],
                [&*start, "8/8/8/8/8/8/8/8 w - - 0 1"],
                "row 2: \"8/8/8/8/8/8/8/8 w - - 0 1\" is no position",
            ),
        ] {
            let schema = Arc::new(Schema::new(vec![
                Field::new("row", DataType::Int64, false),
                Field::new("position", DataType::Utf8, false),
            ]));
            let columns: Vec<Arc<dyn arrow::array::Array>> =
                vec![Arc::new(Int64Array::from(rows.to_vec())), Arc::new(StringArray::from(texts.to_vec()))];
            columns::write(&path, &schema, std::iter::once(RecordBatch::try_new(schema.clone(), columns)))
                .unwrap();
            let message = Positions::read(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
