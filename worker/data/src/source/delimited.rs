//! Comma- and tab-separated values.
//!
//! CSV follows RFC 4180: a field in double quotes may hold commas, line ends and doubled quotes. TSV has no quoting at
//! all, as in the GLUE files: a tab separates, a line end ends the row, and a quote is a character like any other.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read},
    sync::Arc,
};

use serde_json::Value;

use super::{MAX_COLUMNS, MAX_LINE_BYTES, Place, Record, Records, lines::Lines};
use crate::error::Result;

pub(super) fn tsv(name: &str, input: Box<dyn BufRead>, columns: &[String]) -> Result<Records> {
    let mut lines = Lines::new(name, input);
    let columns = if columns.is_empty() {
        let header = lines.next()?.map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
        let header = header.ok_or_else(|| lines.place().fault("no header line"))?;
        check_columns(header, &lines.place())?
    } else {
        columns.to_vec()
    };
    Ok(lines.records(move |line, place| record(&columns, &line.split('\t').collect::<Vec<_>>(), place)))
}

pub(super) fn csv(name: &str, input: Box<dyn BufRead>, columns: &[String]) -> Result<Records> {
    let bounded = Bounded { input, left: MAX_LINE_BYTES };
    // Rows of another length than the header's are refused here, with a better message than the reader's. A line feed
    // alone ends a row, because only then does the reader count lines right; the carriage return is taken off here.
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(bounded);
    let mut rows = CsvRows { file: name.into(), reader };
    let columns = if columns.is_empty() {
        let first = rows.next()?.ok_or_else(|| Place::new(name.into(), 1).fault("no header line"))?;
        let names = fields(&first.1).into_iter().map(str::to_owned).collect();
        check_columns(names, &first.0)?
    } else {
        columns.to_vec()
    };
    Ok(Box::new(std::iter::from_fn(move || {
        let (place, row) = match rows.next() {
            Ok(row) => row?,
            Err(error) => return Some(Err(error)),
        };
        Some(record(&columns, &fields(&row), &place).map(|record| (place, record)))
    })))
}

struct CsvRows {
    file: Arc<str>,
    reader: csv::Reader<Bounded>,
}

impl CsvRows {
    /// The next row that is not blank, or none at the end.
    fn next(&mut self) -> Result<Option<(Place, csv::StringRecord)>> {
        let mut row = csv::StringRecord::new();
        loop {
            self.reader.get_mut().left = MAX_LINE_BYTES;
            let place = Place::new(self.file.clone(), self.reader.position().line());
            let more = self.reader.read_record(&mut row).map_err(|error| {
                place.fault(match error.kind() {
                    csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
                    csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
                    _ => error.to_string(),
                })
            })?;
            if !more {
                return Ok(None);
            }
            if fields(&row) != [""] {
                return Ok(Some((place, row)));
            }
        }
    }
}

/// The fields of a row, without the carriage return of its line end.
fn fields(row: &csv::StringRecord) -> Vec<&str> {
    let mut fields: Vec<_> = row.iter().collect();
    if let Some(last) = fields.last_mut() {
        *last = last.strip_suffix('\r').unwrap_or(last);
    }
    fields
}

/// A reader that fails where a row does not end, instead of filling the memory.
struct Bounded {
    input: Box<dyn BufRead>,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!("a row longer than {MAX_LINE_BYTES} bytes")));
        }
        let end = buffer.len().min(self.left);
        let read = self.input.read(&mut buffer[..end])?;
        self.left -= read;
        Ok(read)
    }
}

fn check_columns(columns: Vec<String>, place: &Place) -> Result<Vec<String>> {
    if columns.len() > MAX_COLUMNS {
        return Err(place.fault(format!("{} columns, the most is {MAX_COLUMNS}", columns.len())));
    }
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(*column)) {
        Some(twice) => Err(place.fault(format!("two columns are named `{twice}`"))),
        None => Ok(columns),
    }
}

fn record(columns: &[String], fields: &[&str], place: &Place) -> Result<Record> {
    if fields.len() != columns.len() {
        let (found, expected, names) = (fields.len(), columns.len(), columns.join(", "));
        return Err(place.fault(format!("{found} fields, but there are {expected} columns: {names}")));
    }
    Ok(columns.iter().cloned().zip(fields.iter().map(|&field| Value::from(field))).collect())
}

#[cfg(test)]
mod tests {
    use crate::source::tests::{read_bytes, show};

    #[test]
    fn a_quoted_csv_field_may_hold_commas_quotes_and_line_ends() {
        let text = "id,text\r\n1,\"a,\r\nb \"\"c\"\"\"\r\n2, d \r\n";
        let rows = read_bytes("a.csv", text.as_bytes(), &[]).unwrap();
        assert_eq!(show(&rows), [r#"{"id":"1","text":"a,\r\nb \"c\""}"#, r#"{"id":"2","text":" d "}"#]);
        assert_eq!(rows[1].place.fault("x").to_string(), "a.csv: line 4: x");
    }

    #[test]
    fn a_quote_in_a_tsv_field_is_a_character_like_any_other() {
        let rows = read_bytes("a.tsv", b"text\tn\n\" open\t\"1\n", &[]).unwrap();
        assert_eq!(show(&rows), [r#"{"n":"\"1","text":"\" open"}"#]);
    }

    #[test]
    fn a_file_without_header_takes_the_columns_it_is_told() {
        for (name, text) in [("a.csv", "1,a\n2,b\n"), ("a.tsv", "1\ta\n2\tb\n")] {
            let rows = read_bytes(name, text.as_bytes(), &["n", "text"]).unwrap();
            assert_eq!(show(&rows), [r#"{"n":"1","text":"a"}"#, r#"{"n":"2","text":"b"}"#], "{name}");
        }
        let message = read_bytes("a.jsonl", b"{}", &["n"]).unwrap_err().to_string();
        assert!(message.contains("only .csv and .tsv files may lack names"), "{message}");
    }
}
