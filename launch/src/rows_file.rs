//! A Parquet file that is written whole or not at all.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use tempfile::NamedTempFile;

/// Rows on their way to a file, gathered beside it. Until [`RowsFile::finish`] nothing stands at the target but what
/// stood there before.
pub(crate) struct RowsFile {
    target: PathBuf,
    writer: ArrowWriter<NamedTempFile>,
    rows: u64,
}

impl RowsFile {
    /// Begins a file for `target`; the same rows give the same bytes.
    ///
    /// # Errors
    /// If nothing can be written in its folder.
    pub(crate) fn create(target: &Path, schema: SchemaRef) -> Result<Self> {
        let folder = target.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let aside = NamedTempFile::new_in(folder).with_context(|| wrong(target))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("fulcrum".to_owned())
            .build();
        // As workers write: the file's own schema says all there is to say.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(aside, schema, options)?;
        Ok(Self { target: target.to_owned(), writer, rows: 0 })
    }

    /// Appends rows of the file's schema.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).with_context(|| wrong(&self.target))
    }

    /// Puts the file in its place; returns how many rows it has.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn finish(self) -> Result<u64> {
        let wrong = || wrong(&self.target);
        let aside = self.writer.into_inner().with_context(wrong)?;
        let plain = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        aside.as_file().set_permissions(plain).with_context(wrong)?;
        aside.persist(&self.target).with_context(wrong)?;
        Ok(self.rows)
    }
}

fn wrong(target: &Path) -> String {
    format!("cannot write {}", target.display())
}
