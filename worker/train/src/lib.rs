//! The training step and the inference pass.
//!
//! Reading order: [`trainer`] (the step as a story), [`batch`] (rows to slots of tensors), `parallel` (who holds
//! what, and how gradients are summed), `agreement`, [`optimizer`], `schedule`, [`snapshot`]; [`inference`],
//! [`generation`].

mod agreement;
pub mod batch;
pub mod checkpoint;
mod clock;
mod copies;
mod digest;
mod error;
mod features;
mod frozen;
pub mod generation;
mod handover;
pub mod inference;
mod look_ahead;
pub mod losses;
mod memory;
pub mod monitor;
pub mod objective;
pub mod optimizer;
mod pairs;
mod parallel;
mod schedule;
pub mod snapshot;
mod trained;
pub mod trainer;

pub use batch::{Examples, TokenFiles};
pub use clock::StepTime;
pub use copies::Copies;
pub use error::Error;
pub use generation::{Completion, Finish, Listener, Prompt, generate};
pub use inference::{LogProbability, log_probabilities, probabilities};
pub use losses::{StepLoss, write_losses};
pub use monitor::{Monitor, Progress};
pub use objective::{GlobalBatch, Objective, Output, Slot, Speech};
pub use optimizer::{Optimizer, Piece};
pub use parallel::Gang;
pub use snapshot::{Keeper, Part, Past, Snapshot, Wanted};
pub use trained::Trained;
pub use trainer::{Training, train};
