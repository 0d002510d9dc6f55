//! Parquet in and out, column by column: fixed writer settings on one side, checked types on the other.
//!
//! Two writes of the same columns give the same bytes: no time stamps, no name of the writer, no Arrow schema in the
//! footer, and row groups that are cut by what the rows hold alone.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray},
    datatypes::{DataType, Float64Type, Int32Type, Int64Type, SchemaRef},
    record_batch::{RecordBatch, RecordBatchReader},
};
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
        arrow_writer::ArrowWriterOptions,
    },
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use crate::error::{DataError, Result};

/// Rows that are held as Arrow arrays at once. With [`crate::table::MAX_TEXT_BYTES`] per text, a batch stays below
/// the 2 GiB that Arrow's 32-bit offsets reach.
pub(crate) const BATCH_ROWS: usize = 1024;

/// Rows that one file may claim to have.
const MAX_ROWS: i64 = 1 << 31;

/// Writes batches of one schema to a new file.
pub(crate) fn write(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = arrow::error::Result<RecordBatch>>,
) -> Result<()> {
    let mut writer = Writer::create(path, schema)?;
    for batch in batches {
        writer.write(&batch.map_err(|e| DataError::file(path, format!("cannot be written: {e}")))?)?;
    }
    writer.finish()
}

/// A Parquet file being written. Dropped before [`Writer::finish`], it leaves no file.
pub(crate) struct Writer {
    path: PathBuf,
    inner: Option<ArrowWriter<File>>,
}

impl Writer {
    pub(crate) fn create(path: &Path, schema: &SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_created_by("fulcrum".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let file = File::create(path).map_err(DataError::io(path))?;
        let path = path.to_owned();
        match ArrowWriter::try_new_with_options(file, schema.clone(), options) {
            Ok(inner) => Ok(Self { path, inner: Some(inner) }),
            Err(error) => Err(DataError::file(&path, format!("cannot be written: {error}"))),
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.with(|inner| inner.write(batch))
    }

    /// Ends the row group, whose pages are in memory until then.
    pub(crate) fn end_group(&mut self) -> Result<()> {
        self.with(ArrowWriter::flush)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.with(|inner| inner.finish().map(drop))?;
        self.inner = None;
        Ok(())
    }

    fn with(
        &mut self,
        act: impl FnOnce(&mut ArrowWriter<File>) -> parquet::errors::Result<()>,
    ) -> Result<()> {
        let Some(inner) = &mut self.inner else { return Ok(()) };
        act(inner).map_err(|e| DataError::file(&self.path, format!("cannot be written: {e}")))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.inner.take().is_some() {
            // Whoever gave up has an error to tell already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Hands over the batches of the parts, in this order.
pub(crate) fn each<P: AsRef<Path>>(
    parts: &[P],
    mut take: impl FnMut(&Path, &Batch) -> Result<()>,
) -> Result<()> {
    for part in parts.iter().map(AsRef::as_ref) {
        let mut reader = Reader::open(part)?;
        while let Some(batch) = reader.next()? {
            take(part, &batch)?;
        }
    }
    Ok(())
}

/// A Parquet file being read.
pub(crate) struct Reader {
    path: Arc<Path>,
    schema: SchemaRef,
    batches: ParquetRecordBatchReader,
}

impl Reader {
    /// Opens a file and reads its schema.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, None, BATCH_ROWS)
    }

    /// Opens a file to be read so many rows at a time.
    pub(crate) fn open_rows(path: &Path, rows: usize) -> Result<Self> {
        Self::open_with(path, None, rows)
    }

    /// Opens a file for those of the named columns that it has; the others are never decoded.
    pub(crate) fn open_columns(path: &Path, columns: &[&str]) -> Result<Self> {
        Self::open_with(path, Some(columns), BATCH_ROWS)
    }

    fn open_with(path: &Path, columns: Option<&[&str]>, batch_rows: usize) -> Result<Self> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let unreadable = |e| DataError::file(path, format!("not readable as Parquet: {e}"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
        let rows = builder.metadata().file_metadata().num_rows();
        if !(0..=MAX_ROWS).contains(&rows) {
            return Err(DataError::file(
                path,
                format!("claims {rows} rows, more than {MAX_ROWS} are not read"),
            ));
        }
        let mask = match columns {
            Some(columns) => ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied()),
            None => ProjectionMask::all(),
        };
        let builder = builder.with_batch_size(batch_rows).with_projection(mask);
        let batches = builder.build().map_err(unreadable)?;
        Ok(Self { path: path.into(), schema: batches.schema(), batches })
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.schema.column_with_name(column).is_some()
    }

    /// The next rows, or none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Batch>> {
        Ok(self.next_batch()?.map(|batch| Batch { path: self.path.clone(), batch }))
    }

    /// The next rows as they are, or none at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let batch = self.batches.next().transpose();
        batch.map_err(|e| DataError::file(&self.path, format!("not readable as Parquet: {e}")))
    }
}

/// Some rows of a file, whose columns are checked when they are asked for.
pub(crate) struct Batch {
    path: Arc<Path>,
    batch: RecordBatch,
}

impl Batch {
    pub(crate) fn int64(&self, name: &str) -> Result<&Int64Array> {
        let column = self.column(name, "int64", |t| *t == DataType::Int64)?;
        Ok(column.as_primitive::<Int64Type>())
    }

    pub(crate) fn int32(&self, name: &str) -> Result<&Int32Array> {
        let column = self.column(name, "int32", |t| *t == DataType::Int32)?;
        Ok(column.as_primitive::<Int32Type>())
    }

    pub(crate) fn float64(&self, name: &str) -> Result<&Float64Array> {
        let column = self.column(name, "float64", |t| *t == DataType::Float64)?;
        Ok(column.as_primitive::<Float64Type>())
    }

    pub(crate) fn utf8(&self, name: &str) -> Result<&StringArray> {
        let column = self.column(name, "utf8", |t| *t == DataType::Utf8)?;
        Ok(column.as_string::<i32>())
    }

    /// A column of lists of f32, none of them null and no element null.
    pub(crate) fn float32_lists(&self, name: &str) -> Result<&ListArray> {
        let is_list =
            |t: &DataType| matches!(t, DataType::List(item) if *item.data_type() == DataType::Float32);
        let lists = self.column(name, "list of float32", is_list)?.as_list::<i32>();
        if lists.values().null_count() > 0 {
            return Err(self.fault(format!("column `{name}` holds lists with null elements")));
        }
        Ok(lists)
    }

    fn column(&self, name: &str, expected: &str, fits: impl Fn(&DataType) -> bool) -> Result<&dyn Array> {
        let Some(column) = self.batch.column_by_name(name) else {
            let schema = self.batch.schema();
            let there: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(self.fault(format!("no column `{name}`; columns are {}", there.join(", "))));
        };
        if !fits(column.data_type()) {
            let found = column.data_type();
            return Err(self.fault(format!("column `{name}` is {found}, expected {expected}")));
        }
        if column.null_count() > 0 {
            return Err(self.fault(format!("column `{name}` holds nulls")));
        }
        Ok(column)
    }

    fn fault(&self, what: String) -> DataError {
        DataError::file(&self.path, what)
    }
}
