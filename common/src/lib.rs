//! What the control plane and the data plane speak: experiment, plan, protocol, store, metrics.
//!
//! Nothing here imports libtorch or runs a network server.

pub mod access;
pub mod bench;
pub mod codec;
pub mod duty;
pub mod equipment;
pub mod exit;
pub mod experiment;
pub mod fault;
pub mod flight;
pub mod invariant;
pub mod key;
pub mod metrics;
pub mod network;
pub mod order;
pub mod pattern;
pub mod plan;
pub mod program;
pub mod protocol;
pub mod recipe;
pub mod results;
pub mod rng;
pub mod source;
pub mod store;

pub use key::Key;
