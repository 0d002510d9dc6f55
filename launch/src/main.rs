//! The command line: plan, run, watch, report.

fn main() {}
