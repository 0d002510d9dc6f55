//! The training step and the inference pass.
//!
//! Reading order: [`trainer`] (the step as a story), [`batch`] (rows to slots of tensors), `layout` and
//! `gradients` (flat buffers, buckets, overlap), [`optimizer`], `schedule`,
//! [`inference`], [`generation`].

pub mod batch;
mod error;
pub mod generation;
mod gradients;
pub mod inference;
mod layout;
pub mod losses;
pub mod monitor;
pub mod objective;
pub mod optimizer;
mod schedule;
pub mod trainer;

pub use batch::{Examples, TokenFiles};
pub use error::Error;
pub use generation::{Completion, Finish, Listener, Prompt, generate};
pub use inference::{LogProbability, log_probabilities, probabilities};
pub use losses::{StepLoss, write_losses};
pub use monitor::{Monitor, Progress};
pub use objective::{GlobalBatch, Objective, Slot};
pub use optimizer::{Optimizer, Piece};
pub use trainer::{Training, train};
