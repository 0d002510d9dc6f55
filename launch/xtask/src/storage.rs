//! `cargo xtask storage`: the store on a disk that fills up, fails, forgets, tears and flips.

use anyhow::Result;

use crate::repository;

/// The arguments of cargo that run it.
const RUN: &[&str] = &[
    "test",
    "--quiet",
    "--package",
    "fulcrum-worker",
    "checkpoints::faults",
    "--",
    "--nocapture",
    "--test-threads=1",
];

/// Lets so many faults strike at checkpoints, and as many at artifacts.
///
/// # Errors
/// If something was read that nobody saved, or not read that was whole.
pub(crate) fn run(faults: u64) -> Result<()> {
    let mut cargo = repository::cargo(RUN);
    repository::run(cargo.env("FULCRUM_STORE_FAULTS", faults.to_string()))
}
