//! The parts of libtorch that tch lacks: gradient hooks, fused optimizers, Gloo, and opening the CUDA half at run time.
//!
//! C++ files give them a plain C face (`nodes.cpp` to operations that add gradients where they are kept, `passes.cpp` and `loops.cpp` to those that
//! pass over their numbers once, `memory.cpp` to what
//! tensors hold, `reducer.cpp` to what tests compare with, `shim.cpp` to the rest); the modules here check everything that
//! C++ would answer with undefined behaviour before they call it, and turn its messages into [`Error`].

pub mod check;

pub mod cuda;

mod fused;
mod gloo;
mod gradient;
mod leave;
pub mod memory;
mod nodes;
mod passes;
mod reducer;
mod store;
mod sys;

pub use fused::{AdamW, Moments, Sgd, fused_adamw, fused_sgd};
pub use gloo::{Group, Interface, Reduction, Work};
pub use gradient::{Hook, clear_gradient, set_gradient};
pub use leave::leave;
pub use nodes::{cross_entropy, embedding, linear};
pub use passes::{gated, rms_norm, rotated};
pub use reducer::Reducer;
pub use store::Store;

/// A refusal of libtorch, or of a check before it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
