//! The command line: plan, run, watch, report.

mod failure;
mod progress;
mod report;
mod run_folder;
mod supervise;

fn main() {}
