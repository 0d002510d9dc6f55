//! The training step and the inference pass.
//!
//! Reading order: [`trainer`] (the step as a story), [`batch`] (rows to slots of tensors), `layout` and
//! `gradients` (flat buffers, buckets, overlap), `optimizer`, `schedule`, [`inference`].

pub mod batch;
mod error;
mod gradients;
pub mod inference;
mod layout;
pub mod losses;
pub mod monitor;
pub mod objective;
mod optimizer;
mod schedule;
pub mod trainer;

pub use batch::{Examples, TokenFiles};
pub use error::Error;
pub use inference::{LogProbability, log_probabilities, probabilities};
pub use losses::{StepLoss, write_losses};
pub use monitor::{Monitor, Progress};
pub use objective::{GlobalBatch, Objective, Slot};
pub use trainer::{Training, train};
