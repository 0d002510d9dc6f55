//! The command line: plan, run, watch, report.
//!
//! Reading order: `commands` (one file per command: what the user said, checked, done), `job` (a plan brought
//! to its goal), `supervise` (the processes of a run), `progress`, `watch` and `top` (a run as it goes),
//! `report`.

mod client;
mod cluster;
mod commands;
mod compare;
mod devices;
mod doctor;
mod experiment;
mod failure;
mod fetch;
mod hub;
mod job;
mod losses;
mod outcome;
mod outputs;
mod parent;
mod predictions;
mod progress;
mod report;
mod rows_file;
mod run_folder;
mod splice;
mod supervise;
mod table;
mod tensorboard;
mod top;
mod usage;
mod warnings;
mod watch;
mod weak_labels;

use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser;
use fulcrum_common::exit;

use failure::Failure;

fn main() {
    let command = commands::Cli::try_parse().unwrap_or_else(|error| usage::end(&error));
    // A panic is a bug in Fulcrum, and the contract has a code for that.
    let code = catch_unwind(AssertUnwindSafe(|| run(command))).unwrap_or(exit::INTERNAL);
    // Leaves at once: a coordinator whose parent is gone must not wait for its own tasks.
    std::process::exit(code)
}

fn run(command: commands::Cli) -> i32 {
    let done = tokio::runtime::Runtime::new()
        .map_err(|error| anyhow::Error::new(error).context("cannot start the runtime"))
        .and_then(|runtime| {
            let done = runtime.block_on(command.run());
            runtime.shutdown_background();
            done
        });
    match done {
        Ok(()) => exit::DONE,
        Err(error) => {
            for line in failure::lines(&error) {
                eprintln!("error: {line}");
            }
            Failure::code_of(&error)
        }
    }
}
