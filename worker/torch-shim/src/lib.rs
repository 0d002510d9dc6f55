//! The parts of libtorch that tch lacks: gradient hooks, fused optimizers, Gloo, and opening the CUDA half at run time.
//!
//! One C++ file (`shim.cpp`) gives them a plain C face; the modules here check everything that C++ would
//! answer with undefined behaviour before they call it, and turn its messages into [`Error`].

pub mod check;

pub mod cuda;

mod fused;
mod gloo;
mod gradient;
mod store;
mod sys;

pub use fused::{AdamW, Moments, Sgd, fused_adamw, fused_sgd};
pub use gloo::{Group, Interface, Reduction, Work};
pub use gradient::{Hook, set_gradient};
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
