//! Checkpoints as transformers writes them: the same numbers come out, and broken ones are refused by name.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod adapters;
mod backbone;
mod cached;
mod configurations;
mod families;
mod heads;
mod parity;
mod probe;
mod rebuilding;
mod refusals;
mod round_trip;
mod sharded;
mod support;
