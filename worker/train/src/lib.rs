//! The training step and the inference pass.
//!
//! Reading order: [`trainer`] (the step as a story), [`batch`] (rows to slots of tensors), [`gradients`]
//! (flat buffers, buckets, overlap), [`optimizer`], [`schedule`], [`inference`].

pub mod batch;
mod error;
pub mod monitor;
pub mod objective;

pub use batch::Examples;
pub use error::Error;
pub use monitor::{Monitor, Progress};
pub use objective::{GlobalBatch, Objective, Slot};
