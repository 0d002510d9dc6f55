//! Training over a gang against training alone, and what happens when it goes wrong.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod copies;
mod device;
mod digests;
mod failures;
mod inference;
mod job;
mod keeping;
mod parity;
mod rewards;
mod spans;
mod strategies;
mod subset;
mod support;
mod wire;
