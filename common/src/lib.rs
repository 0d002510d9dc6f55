//! What the control plane and the data plane speak: experiment, plan, protocol, store, metrics.
//!
//! Nothing here imports libtorch or runs a network server.

pub mod exit;
pub mod key;
pub mod plan;
pub mod protocol;

pub use key::Key;
