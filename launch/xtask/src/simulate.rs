//! `cargo xtask simulate`: many histories of the coordinator and its workers, without processes.

use anyhow::Result;

use crate::repository;

/// The arguments of cargo that run it.
const RUN: &[&str] = &["run", "--quiet", "--package", "fulcrum-tests", "--example", "simulate", "--"];

/// Which histories.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many, one for each seed
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Only this one, told as it happens
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// Goes through histories.
///
/// # Errors
/// If one of them breaks an invariant; its seed was told.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { seeds, from, seed } = arguments;
    let words = match seed {
        Some(seed) => vec!["--seed".to_owned(), seed.to_string()],
        None => vec!["--seeds".to_owned(), seeds.to_string(), "--from".to_owned(), from.to_string()],
    };
    repository::run(repository::cargo(RUN).args(words))
}
