//! `cargo xtask chaos`: the full matrix of faults, through the real programs.

use anyhow::Result;

use crate::repository;

/// The arguments of cargo that run it.
const RUN: &[&str] = &["run", "--quiet", "--package", "fulcrum-tests", "--example", "chaos", "--"];

/// Goes through the cases with all of these words in their names.
///
/// # Errors
/// If a run did not leave the bytes of the undisturbed one.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let mut cargo = repository::cargo(RUN);
    repository::run(cargo.args(words))
}
