//! Errors that carry the exit code of the contract in `fulcrum_common::exit`.

use fulcrum_common::{exit, store::StoreError};

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

/// The error with all its causes; more than one line only where it speaks of several things.
pub(crate) fn lines(error: &anyhow::Error) -> Vec<String> {
    format!("{error:#}").lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A failure of the store: damaged bytes have a code of their own.
pub(crate) fn of_store(error: StoreError) -> anyhow::Error {
    if error.is_damage() { Failure::new(exit::DIGEST, error.to_string()).into() } else { error.into() }
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
    fn damaged_bytes_have_a_code_of_their_own() {
        let damaged = of_store(StoreError::Missing { path: "artifacts/x".into() });
        assert_eq!(Failure::code_of(&damaged), exit::DIGEST);
        let refused = of_store(StoreError::Name("../x".into()));
        assert_eq!(Failure::code_of(&refused), exit::USAGE);
    }

    #[test]
    fn other_errors_are_usage_errors_with_a_line_for_each_problem() {
        let error = anyhow::anyhow!("a.toml:3: no such key\n\na.toml:7: no such model\n");
        assert_eq!(Failure::code_of(&error), exit::USAGE);
        assert_eq!(lines(&error), ["a.toml:3: no such key", "a.toml:7: no such model"]);
    }
}
