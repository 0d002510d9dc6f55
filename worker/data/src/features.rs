//! The vectors of a part's rows, as every training and inference of a model reads them.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use fulcrum_common::plan::{Source, View};

use crate::{
    embeddings::Vectors,
    error::{DataError, Result},
    mixture::Eye,
};

/// Name of the file with the vectors of a shard of rows: f32, one after the other.
pub fn file_name(shard: usize) -> String {
    format!("features-{shard:05}.f32")
}

/// Whether a file of an artifact is one of them.
pub fn is_features(name: &str) -> bool {
    name.starts_with("features-") && name.ends_with(".f32")
}

/// Writes what is seen of rows, in their order. `paths` are where the files of the view lie, in the plan's order.
///
/// # Errors
/// If a file is not as it should be, a row is not there, or a number is not finite.
pub fn write(view: &View, paths: &[PathBuf], rows: &[i64], to: &Path) -> Result<()> {
    match view {
        View::Projected { mixture, width, noise } => {
            let eye = Eye::new(mixture, *width, *noise)?;
            write_rows(rows, to, |row| eye.see(row))
        }
        View::Stored { source: Source::Files { files }, tensor } => {
            let named = paths.iter().zip(files).map(|(path, file)| (path, file.name.as_str()));
            let vectors = Vectors::open(named, tensor)?;
            write_rows(rows, to, |row| vectors.read(row))
        }
        View::Stored { source, .. } => {
            Err(DataError::value(format!("embeddings are stored in files, not in {source:?}")))
        }
    }
}

/// Writes a vector for each row.
///
/// # Errors
/// If one cannot be made, or the file not be written.
pub fn write_rows(rows: &[i64], to: &Path, mut vector: impl FnMut(i64) -> Result<Vec<f32>>) -> Result<()> {
    let mut file = BufWriter::new(File::create(to).map_err(DataError::io(to))?);
    for &row in rows {
        for number in vector(row)? {
            file.write_all(&number.to_le_bytes()).map_err(DataError::io(to))?;
        }
    }
    file.flush().map_err(DataError::io(to))
}
