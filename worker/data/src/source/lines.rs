//! Lines of bounded length, and plain text as one row per line.

use std::{
    io::{BufRead, Read},
    sync::Arc,
};

use serde_json::Value;

use super::{MAX_LINE_BYTES, Place, Record, Records};
use crate::error::Result;

/// The lines of a text, without line ends and without a byte order mark; blank lines are passed over but counted.
pub(super) struct Lines {
    file: Arc<str>,
    input: Box<dyn BufRead>,
    number: u64,
    bytes: Vec<u8>,
}

impl Lines {
    pub(super) fn new(name: &str, input: Box<dyn BufRead>) -> Self {
        Self { file: name.into(), input, number: 0, bytes: Vec::new() }
    }

    /// Where the line stands that was read last.
    pub(super) fn place(&self) -> Place {
        Place::new(self.file.clone(), self.number)
    }

    /// The next line that is not blank, or none at the end.
    pub(super) fn next(&mut self) -> Result<Option<&str>> {
        loop {
            self.bytes.clear();
            self.number += 1;
            let mut bounded = (&mut self.input).take(MAX_LINE_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.bytes);
            let length = read.map_err(|e| self.place().fault(format!("cannot be read: {e}")))?;
            if length == 0 {
                return Ok(None);
            }
            if length > MAX_LINE_BYTES {
                return Err(self.place().fault(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            if !self.bytes.trim_ascii().is_empty() {
                break;
            }
        }
        let line = std::str::from_utf8(&self.bytes).map_err(|_| self.place().fault("not UTF-8"))?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Ok(Some(if self.number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line }))
    }

    /// Makes a record of every line.
    pub(super) fn records(
        mut self,
        mut parse: impl FnMut(&str, &Place) -> Result<Record> + 'static,
    ) -> Records {
        Box::new(std::iter::from_fn(move || {
            let line = match self.next() {
                Ok(line) => line?.to_owned(),
                Err(error) => return Some(Err(error)),
            };
            let place = self.place();
            Some(parse(&line, &place).map(|record| (place, record)))
        }))
    }
}

/// Plain text: every line that is not blank is a row with the one column `text`.
pub(super) fn text(name: &str, input: Box<dyn BufRead>) -> Records {
    let record = |line: &str| Record::from([("text".to_owned(), Value::from(line))]);
    Lines::new(name, input).records(move |line, _| Ok(record(line)))
}
