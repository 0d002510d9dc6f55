//! Checkpoints as transformers writes them: the same numbers come out, and broken ones are refused by name.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod adapters;
mod heads;
mod parity;
mod rebuilding;
mod refusals;
mod sharded;
mod support;
