//! What can go wrong in a stage, and what to do about it.

use std::path::{Path, PathBuf};

use fulcrum_common::{
    Key, exit,
    metrics::MetricsError,
    source::{CheckpointError, SourceError},
    store::way_out,
};
use fulcrum_data::DataError;
use fulcrum_models::ModelError;

/// A failed stage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The assignment lacks an input that the stage reads.
    #[error("the stage was given no input {0:?}")]
    Input(String),
    /// An input lacks a file or fact that the stage reads.
    #[error("input {role:?} has no {what} {name:?}: it was made by another kind of stage")]
    Lacks {
        /// The input.
        role: String,
        /// `file` or `fact`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The plan does not say where bytes from outside lie.
    #[error("the plan does not say where {0:?} lies: make it again with `fulcrum plan`")]
    Location(String),
    /// Bytes from outside are not those that the plan names.
    #[error("{path} has digest {found}, the plan names {expected}: it was changed since, run again")]
    Digest {
        /// Where they lie.
        path: String,
        /// Digest found, shortened.
        found: String,
        /// Digest named, shortened.
        expected: String,
    },
    /// A shard that does not fit the rows.
    #[error("shard {start}..{end} does not fit {rows} rows in shards of {shard}")]
    Shard {
        /// First row position.
        start: usize,
        /// Past the last.
        end: usize,
        /// Rows there are.
        rows: usize,
        /// Rows per shard.
        shard: usize,
    },
    /// Labels and rows, or objective and head, do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// A file could not be read or written.
    #[error("{path}: {source}{way_out}", path = path.display(), way_out = way_out(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A source is not as the plan says.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A dataset, table or tokenizer is at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model is at fault.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training or inference failed.
    #[error(transparent)]
    Train(#[from] fulcrum_train::Error),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// Predictions do not fit together.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl Error {
    /// Whether the fault lies with a peer or the network, not with the work.
    pub fn is_membership(&self) -> bool {
        use fulcrum_collective::Error as Gang;
        matches!(self, Self::Train(fulcrum_train::Error::Collective(error)) if !matches!(error, Gang::Refused { .. }))
    }

    /// Whether the monitor asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Train(fulcrum_train::Error::Cancelled { .. }))
    }

    /// Whether another attempt, perhaps elsewhere, may work: where the machine failed, and not what it was given.
    pub fn retry(&self) -> bool {
        use fulcrum_train::Error as Train;
        match self {
            Self::Io { .. }
            | Self::Torch(_)
            | Self::Source(
                SourceError::Unreadable { .. } | SourceError::Checkpoint(CheckpointError::Read { .. }),
            )
            | Self::Data(DataError::Io { .. }) => true,
            Self::Model(error) => {
                use ModelError::{Checkpoint, Read, Torch, Write};
                let unread = matches!(error, Checkpoint(CheckpointError::Read { .. }));
                unread || matches!(error, Read { .. } | Write { .. } | Torch(_))
            }
            Self::Train(error) => {
                let machine = matches!(
                    error,
                    Train::Torch(_) | Train::Shim(_) | Train::Write { .. } | Train::Injected(_)
                );
                machine || self.is_membership() || self.is_cancelled()
            }
            _ => false,
        }
    }

    /// The exit code of a run that ends with this error; 0 for the default.
    pub fn exit_code(&self) -> i32 {
        if matches!(self, Self::Digest { .. }) { exit::DIGEST } else { 0 }
    }

    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// Compares a digest found with the one named.
    pub(crate) fn check_digest(path: &Path, found: Key, expected: Key) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (found.short(), expected.short());
        Err(Self::Digest { path: path.display().to_string(), found, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_blamed_for_its_own_faults_only() {
        use fulcrum_collective::Error as Gang;
        use fulcrum_train::Error as Train;
        let broken = Gang::Broken { operation: "all_reduce", rank: 1, reason: "reset".into() };
        let refused = Gang::Refused { operation: "all_reduce", reason: "shape".into() };
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let table = [
            (Error::Train(Train::Collective(broken)), true, true),
            (Error::Train(Train::Collective(refused)), false, false),
            (Error::Train(Train::Cancelled { step: 3 }), true, false),
            (Error::Train(Train::NotFinite { step: 3, skipped: 10, loss: f64::NAN }), false, false),
            (Error::Io { path: "x".into(), source: full }, true, false),
            (Error::Mismatch("labels".into()), false, false),
        ];
        for (error, retry, membership) in table {
            assert_eq!((error.retry(), error.is_membership()), (retry, membership), "{error}");
        }
        let changed = Error::check_digest(Path::new("a"), Key::of(b"a"), Key::of(b"b")).unwrap_err();
        assert_eq!((changed.exit_code(), changed.retry()), (exit::DIGEST, false));
    }
}
