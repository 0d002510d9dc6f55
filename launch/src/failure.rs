//! Which exit code of the contract in `fulcrum_common::exit` an error stands for.

use std::{error::Error, io};

use fulcrum_common::{exit, recipe::RecipeError, store::StoreError};
use parquet::errors::ParquetError;

/// A failure whose exit code is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: i32,
    /// One line for people.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with this code and message.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A bug of ours.
    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(exit::INTERNAL, message)
    }

    /// The exit code that `error` stands for: that of the first of its causes, from the outermost, that has one.
    /// What nobody gave a code to is about what the user said.
    pub(crate) fn code_of(error: &anyhow::Error) -> i32 {
        let known = [of_failure, of_system, of_bug];
        known.iter().find_map(|code| error.chain().find_map(code)).unwrap_or(exit::USAGE)
    }
}

fn of_failure(cause: &(dyn Error + 'static)) -> Option<i32> {
    cause.downcast_ref().map(|failure: &Failure| failure.code)
}

/// Trouble with disks and networks. That a file is not there, or there already, is about what the user said.
fn of_system(cause: &(dyn Error + 'static)) -> Option<i32> {
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return match error {
            damage if damage.is_damage() => Some(exit::DIGEST),
            StoreError::Io { .. } | StoreError::Backend { .. } => Some(exit::NO_PROGRESS),
            _ => None,
        };
    }
    use io::ErrorKind::{AlreadyExists, InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    match cause.downcast_ref::<io::Error>()?.kind() {
        NotFound | AlreadyExists | IsADirectory | NotADirectory | InvalidData | UnexpectedEof => None,
        _ => Some(exit::NO_PROGRESS),
    }
}

/// Libraries that work only on what we made ourselves.
fn of_bug(cause: &(dyn Error + 'static)) -> Option<i32> {
    let unresolved = matches!(cause.downcast_ref(), Some(RecipeError::Unresolved { .. }));
    let ours = unresolved || cause.is::<minijinja::Error>() || cause.is::<ParquetError>();
    ours.then_some(exit::INTERNAL)
}

/// The error with all its causes; more than one line only where it speaks of several things.
pub(crate) fn lines(error: &anyhow::Error) -> Vec<String> {
    format!("{error:#}").lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_survives_added_context() {
        let error = Err::<(), _>(Failure::new(exit::NO_PROGRESS, "w0 died")).context("running").unwrap_err();
        assert_eq!(Failure::code_of(&error), exit::NO_PROGRESS);
        assert_eq!(lines(&error), ["running: w0 died"]);
    }

    #[test]
    fn damage_trouble_and_bugs_are_not_bad_usage() {
        let io = |kind: io::ErrorKind| io::Error::from(kind);
        let store = |kind| StoreError::Io { path: "store".into(), source: io(kind) };
        let cases: [(anyhow::Error, i32); 10] = [
            (StoreError::Missing { path: "artifacts/x".into() }.into(), exit::DIGEST),
            (StoreError::Name("../x".into()).into(), exit::USAGE),
            (StoreError::InUse("store".into()).into(), exit::USAGE),
            (store(io::ErrorKind::NotADirectory).into(), exit::NO_PROGRESS),
            (io(io::ErrorKind::PermissionDenied).into(), exit::NO_PROGRESS),
            (io(io::ErrorKind::StorageFull).into(), exit::NO_PROGRESS),
            (io(io::ErrorKind::NotFound).into(), exit::USAGE),
            (ParquetError::External(Box::new(io(io::ErrorKind::StorageFull))).into(), exit::NO_PROGRESS),
            (ParquetError::General("not ours".into()).into(), exit::INTERNAL),
            (Failure::bug("lost").into(), exit::INTERNAL),
        ];
        for (error, code) in cases {
            let error = error.context("trying");
            assert_eq!(Failure::code_of(&error), code, "{error:#}");
        }
    }

    #[test]
    fn other_errors_are_usage_errors_with_a_line_for_each_problem() {
        let error = anyhow::anyhow!("a.toml:3: no such key\n\na.toml:7: no such model\n");
        assert_eq!(Failure::code_of(&error), exit::USAGE);
        assert_eq!(lines(&error), ["a.toml:3: no such key", "a.toml:7: no such model"]);
    }
}
