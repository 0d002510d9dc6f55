//! Whole runs through the real binaries: two worker processes, a coordinator, a store, a report.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod adapters;
mod bench;
mod bucket;
mod chaos;
mod corruption;
mod disk;
mod elsewhere;
mod generation;
mod ladder;
mod one_off;
mod poison;
mod probes;
mod refusals;
mod runs;
mod standstill;
mod strategies;
mod survival;
mod sweep;
mod tasks;
mod why;
mod workplace;
