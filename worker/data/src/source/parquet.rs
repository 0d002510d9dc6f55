//! Parquet files as records: whatever the column types, a row becomes JSON values.

use std::path::Path;

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
    error::ArrowError,
    util::display::array_value_to_string,
};
use serde_json::Value;

use super::{Record, Records};
use crate::{
    columns::{Batch, Reader},
    error::{DataError, Result},
};

/// The rows of a Parquet file, numbered from 1 in place of lines.
pub(super) fn records(path: &Path) -> Result<Records> {
    let path = path.to_owned();
    let mut reader = Reader::open(&path)?;
    let batches = std::iter::from_fn(move || reader.next().transpose());
    let rows = batches.flat_map(move |batch| match batch.and_then(|batch| rows_of(&path, &batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    });
    Ok(Box::new((1..).zip(rows).map(|(line, row)| row.map(|record| (line, record)))))
}

fn rows_of(path: &Path, batch: &Batch) -> Result<Vec<Record>> {
    let batch = batch.record_batch();
    let mut rows = vec![Record::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        for (i, row) in rows.iter_mut().enumerate() {
            let value = value(column, i)
                .map_err(|e| DataError::file(path, format!("column `{}`: {e}", field.name())))?;
            row.insert(field.name().clone(), value);
        }
    }
    Ok(rows)
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
        record_batch::RecordBatch,
    };

    use crate::{
        columns,
        source::{SourceFile, read, tests::show},
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
        columns::write(&path, &batch.schema(), [Ok(batch)].into_iter()).unwrap();

        let rows: Vec<_> = read(vec![SourceFile { name: "rows.parquet".to_owned(), path }], &[])
            .map(|row| row.unwrap())
            .collect();
        let first = r#"{"bool":true,"byte":0,"date":"1970-01-01","dictionary":"a","float":0.5,"large":"ça","list":[1,null],"struct":{"side":"left"}}"#;
        let second = r#"{"bool":null,"byte":255,"date":"1971-01-01","dictionary":"a","float":null,"large":"","list":null,"struct":{"side":"right"}}"#;
        assert_eq!(show(&rows), [first, second]);
        assert_eq!(rows[1].place.fault("x").to_string(), "rows.parquet: line 2: x");
    }
}
