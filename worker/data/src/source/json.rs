//! JSON: one object per line, or one array of objects per file.

use std::io::{BufRead, Read};

use super::{Record, Records, lines::Lines};
use crate::error::{DataError, Result};

/// Bytes that a file with a JSON array may have: unlike the other formats it is held in memory at once.
const MAX_ARRAY_BYTES: u64 = 256 << 20;

pub(super) fn lines(name: &str, input: Box<dyn BufRead>) -> Records {
    Lines::new(name, input).records(|line, place| {
        serde_json::from_str(line).map_err(|e| place.fault(format!("no JSON object: {e}")))
    })
}

/// The rows of an array are numbered from 1 in place of lines.
pub(super) fn array(name: &str, input: Box<dyn BufRead>) -> Result<Records> {
    let fault = |what: String| DataError::File { path: name.into(), what };
    let mut text = Vec::new();
    let read = input.take(MAX_ARRAY_BYTES + 1).read_to_end(&mut text);
    let length = read.map_err(|e| fault(format!("cannot be read: {e}")))? as u64;
    if length > MAX_ARRAY_BYTES {
        return Err(fault(format!("longer than {MAX_ARRAY_BYTES} bytes: use one object per line (.jsonl)")));
    }
    let records: Vec<Record> =
        serde_json::from_slice(&text).map_err(|e| fault(format!("no array of JSON objects: {e}")))?;
    Ok(Box::new((1..).zip(records).map(Ok)))
}
