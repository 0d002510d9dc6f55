//! `cargo xtask chaos`: the full matrix of faults, or kills at random, through the real programs.

use std::time::SystemTime;

use anyhow::Result;

use crate::repository;

/// The arguments of cargo that run it.
const RUN: &[&str] = &["run", "--quiet", "--package", "fulcrum-tests", "--example", "chaos", "--"];

/// Kills at random times.
#[derive(clap::Args)]
pub(crate) struct Random {
    /// Runs again and again, whose processes are killed, stopped and asked to end at random times
    #[arg(long, conflicts_with = "words")]
    random: bool,
    /// Minutes after which no run begins
    #[arg(long, requires = "random", default_value_t = 10.0)]
    minutes: f64,
    /// Mean seconds between two blows
    #[arg(long, requires = "random", value_name = "SECONDS", default_value_t = 5.0)]
    mtbf: f64,
    /// What victims and times follow from [default: the time]
    #[arg(long, requires = "random")]
    seed: Option<u64>,
}

/// Goes through the cases with all of these words in their names, or kills at random.
///
/// # Errors
/// If a run did not leave the bytes of the undisturbed one.
pub(crate) fn run(words: &[String], random: &Random) -> Result<()> {
    let mut cargo = repository::cargo(RUN);
    if random.random {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let seed = random.seed.unwrap_or_else(now);
        cargo.args(["--random", &random.minutes.to_string(), &random.mtbf.to_string(), &seed.to_string()]);
    }
    repository::run(cargo.args(words))
}
