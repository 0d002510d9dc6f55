//! Errors that carry the exit code of the contract in `fulcrum_common::exit`.

use fulcrum_common::exit;

/// A failure whose exit code is known. Any other error of a command counts as bad usage.
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

    /// The exit code that `error` stands for.
    pub(crate) fn code_of(error: &anyhow::Error) -> i32 {
        error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Self>())
            .map_or(exit::USAGE, |failure| failure.code)
    }
}

/// The error with all its causes in one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_survives_added_context() {
        let error = Err::<(), _>(Failure::new(exit::NO_PROGRESS, "w0 died")).context("running").unwrap_err();
        assert_eq!(Failure::code_of(&error), exit::NO_PROGRESS);
        assert_eq!(one_line(&error), "running: w0 died");
    }

    #[test]
    fn other_errors_are_usage_errors_in_one_line() {
        let error = anyhow::anyhow!("no such key\n  in line 3\n");
        assert_eq!(Failure::code_of(&error), exit::USAGE);
        assert_eq!(one_line(&error), "no such key; in line 3");
    }
}
