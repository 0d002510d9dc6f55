//! Provisioning, quickstart and the test gate: `cargo xtask setup | quickstart | chaos | simulate | storage | test`.
//!
//! A new user waits for this program before anything else, so it keeps to few dependencies and
//! leaves the work to the tools that are there anyway: cargo, pip and the C++ compiler.

mod chaos;
mod quickstart;
mod repository;
mod setup;
mod simulate;
mod storage;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a checkout of Fulcrum needs around cargo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make ./libtorch, so that plain `cargo build`, `cargo test` and `cargo clippy` work
    Setup {
        /// Bring the CUDA libraries too (2.5 GB instead of 545 MB)
        #[arg(long)]
        cuda: bool,
        /// Provision this folder instead of ./libtorch, whatever LIBTORCH says
        #[arg(long, value_name = "DIR", hide = true)]
        into: Option<PathBuf>,
    },
    /// From a fresh clone to a weak-to-strong result on two worker processes
    Quickstart {
        /// Further arguments for `fulcrum run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs in which something goes wrong, at every fault point and in every way: all must leave the same bytes
    Chaos {
        /// Only cases that have all of these words in them, such as `kill` or `step.update`
        words: Vec<String>,
        #[command(flatten)]
        random: chaos::Random,
    },
    /// Histories of the coordinator and its workers on a simulated network, clock and storage, a seed each
    Simulate(simulate::Arguments),
    /// Checkpoints and artifacts on a disk that is at fault: what is read is what was saved, and the newest that is whole
    Storage {
        /// Faults that strike at each of the two
        #[arg(default_value_t = 10_000)]
        faults: u64,
    },
    /// Everything a change must pass
    Test {
        /// Only these sections, in their usual order
        sections: Vec<test::Section>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup { cuda, into } => setup::run(cuda, into),
        Task::Quickstart { arguments } => quickstart::run(&arguments),
        Task::Chaos { words, random } => chaos::run(&words, &random),
        Task::Simulate(arguments) => simulate::run(arguments),
        Task::Storage { faults } => storage::run(faults),
        Task::Test { sections } => test::run(&sections),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
