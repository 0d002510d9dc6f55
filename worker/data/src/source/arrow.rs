//! Parquet and Arrow files as records: whatever the column types, a row becomes JSON values.

use std::{
    fmt::Display,
    io::{BufRead, Cursor, Read},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
    error::ArrowError,
    ipc::reader::StreamReader,
    record_batch::RecordBatch,
    util::display::array_value_to_string,
};
use serde_json::Value;

use super::{Place, Record, Records};
use crate::{
    columns::Reader,
    error::{DataError, Result},
};

/// Rows that are held as Arrow arrays at once: few, as a row may hold whole documents.
const BATCH_ROWS: usize = 128;

/// The first bytes of the file form, which is the stream form between two such marks and an index.
const FILE_MARK: &[u8; 8] = b"ARROW1\0\0";

/// Zeros that may follow the mark.
const MAX_FILLING: usize = 64;

/// The rows of a Parquet file.
pub(super) fn parquet(name: &str, path: &Path) -> Result<Records> {
    let mut reader = Reader::open_rows(path, BATCH_ROWS)?;
    Ok(records(name, std::iter::from_fn(move || reader.next_batch().transpose())))
}

/// The rows of an Arrow IPC stream or file: what the `datasets` library keeps on disk.
pub(super) fn stream(name: &str, mut input: Box<dyn BufRead>) -> Result<Records> {
    let fault = |what: String| DataError::File { path: name.into(), what };
    let unreadable = |e: &dyn Display| fault(format!("not readable as Arrow: {e}"));
    let mut read = || {
        let mut word = [0; FILE_MARK.len()];
        input.read_exact(&mut word).map(|()| word).map_err(|e| unreadable(&e))
    };
    let mut start = read()?;
    if start == *FILE_MARK {
        // Some writers fill up to more than the eight bytes that the mark takes.
        let mut filled = 0;
        while filled == 0 || (start == [0; FILE_MARK.len()] && filled < MAX_FILLING) {
            start = read()?;
            filled += start.len();
        }
    }
    let reader = StreamReader::try_new(Cursor::new(start).chain(input), None);
    let reader = reader.map_err(|e| unreadable(&e))?;
    let path: Arc<Path> = Path::new(name).into();
    let batches = reader
        .map(move |batch| batch.map_err(|e| DataError::file(&path, format!("not readable as Arrow: {e}"))));
    Ok(records(name, batches))
}

/// The rows of batches, numbered from 1.
fn records(name: &str, batches: impl Iterator<Item = Result<RecordBatch>> + 'static) -> Records {
    let file: Arc<str> = name.into();
    let mut place = (1..).map(move |row| Place::row(file.clone(), row));
    let rows = batches.flat_map(|batch| -> Box<dyn Iterator<Item = Result<_>>> {
        match batch {
            Ok(batch) => Box::new((0..batch.num_rows()).map(move |row| Ok((batch.clone(), row)))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    });
    Box::new(rows.map(move |row| {
        let (batch, row) = row?;
        let place = place.next().expect("the numbers do not end");
        let record = record(&batch, row, &place)?;
        Ok((place, record))
    }))
}

fn record(batch: &RecordBatch, row: usize, place: &Place) -> Result<Record> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let pairs = columns.map(|(field, column)| {
        let value = value(column, row);
        let value = value.map_err(|e| place.fault(format!("column `{}`: {e}", field.name())))?;
        Ok((field.name().clone(), value))
    });
    pairs.collect()
}

/// One value. Lists and structs keep their form; dates, decimals and the like become the text people write.
fn value(array: &dyn Array, i: usize) -> std::result::Result<Value, ArrowError> {
    if array.is_null(i) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(i).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(i).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(i).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(i).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(i).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(i).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(i).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(i).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(i).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(i).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(i).into(),
        DataType::List(_) => list(&array.as_list::<i32>().value(i))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(i))?,
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let pairs = columns.map(|(field, column)| Ok((field.name().clone(), value(column, i)?)));
            Value::Object(pairs.collect::<std::result::Result<_, ArrowError>>()?)
        }
        _ => array_value_to_string(array, i)?.into(),
    })
}

fn list(array: &dyn Array) -> std::result::Result<Value, ArrowError> {
    (0..array.len()).map(|i| value(array, i)).collect::<std::result::Result<_, _>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int32Builder,
            LargeStringArray, ListBuilder, StringArray, StructArray, UInt8Array,
        },
        ipc::writer::{FileWriter, StreamWriter},
        record_batch::RecordBatch,
    };

    use crate::{
        columns,
        source::tests::{read_bytes, show},
    };

    #[test]
    fn columns_of_every_kind_become_json_values() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(1), None]);
        lists.append_null();
        let text: ArrayRef = Arc::new(StringArray::from(vec!["left", "right"]));
        let arrays: Vec<(&str, ArrayRef)> = vec![
            ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("byte", Arc::new(UInt8Array::from(vec![0, 255]))),
            ("float", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("large", Arc::new(LargeStringArray::from(vec!["ça", ""]))),
            ("date", Arc::new(Date32Array::from(vec![0, 365]))),
            (
                "dictionary",
                Arc::new(
                    vec!["a", "a"].into_iter().collect::<DictionaryArray<arrow::datatypes::Int32Type>>(),
                ),
            ),
            ("list", Arc::new(lists.finish())),
            ("struct", Arc::new(StructArray::try_from(vec![("side", text)]).unwrap())),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|(n, a)| (n, a, true))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        columns::write(&path, &batch.schema(), [Ok(batch.clone())].into_iter()).unwrap();
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        stream.write(&batch).unwrap();
        let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        file.write(&batch).unwrap();
        let (stream, file) = (stream.into_inner().unwrap(), file.into_inner().unwrap());
        let packed = zstd::encode_all(&*stream, 3).unwrap();

        let first = r#"{"bool":true,"byte":0,"date":"1970-01-01","dictionary":"a","float":0.5,"large":"ça","list":[1,null],"struct":{"side":"left"}}"#;
        let second = r#"{"bool":null,"byte":255,"date":"1971-01-01","dictionary":"a","float":null,"large":"","list":null,"struct":{"side":"right"}}"#;
        let parquet = std::fs::read(&path).unwrap();
        let forms = [("a.parquet", parquet), ("a.arrow", stream), ("b.arrow", file), ("a.arrow.zst", packed)];
        for (name, bytes) in forms {
            let rows = read_bytes(name, &bytes, &[]).unwrap();
            assert_eq!(show(&rows), [first, second], "{name}");
            assert_eq!(rows[1].place.fault("x").to_string(), format!("{name}: row 2: x"));
            let cut = read_bytes(name, &bytes[..bytes.len() / 2], &[]);
            let message = cut.map(|rows| rows.len()).unwrap_err().to_string();
            assert!(message.contains("not readable as "), "{message}");
        }
    }
}
