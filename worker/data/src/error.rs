//! The one error type of this crate: what was wrong, in which file, and where in it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A file or value that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and the way out.
        what: String,
    },
    /// One line of a file is not what it should be.
    #[error("{file}: line {line}: {what}")]
    Line {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        /// What is wrong and the way out.
        what: String,
    },
    /// One row of a file without lines is not what it should be.
    #[error("{file}: row {row}: {what}")]
    Row {
        /// The file's name.
        file: String,
        /// Counted from 1.
        row: u64,
        /// What is wrong and the way out.
        what: String,
    },
    /// A value handed to this crate is not what it should be.
    #[error("{0}")]
    Value(String),
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, DataError>;

impl DataError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, what: impl ToString) -> Self {
        Self::File { path: path.to_owned(), what: what.to_string() }
    }

    /// What another part says, which names its file.
    pub(crate) fn value_of(what: impl ToString) -> Self {
        Self::Value(what.to_string())
    }

    pub(crate) fn value(what: impl Into<String>) -> Self {
        Self::Value(what.into())
    }
}
