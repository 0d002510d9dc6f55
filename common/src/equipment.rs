//! What the libraries of a worker find on its machine.

use serde::{Deserialize, Serialize};

/// The first word of the worker's command line that has it print this as JSON, for `fulcrum doctor`.
pub const WORD: &str = "equipment";

/// What a worker can compute on beside the processor, or why it cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equipment {
    /// GPUs that libtorch sees.
    pub gpus: Result<usize, String>,
    /// What all of them are called; none where they differ or the driver does not tell.
    pub model: Option<String>,
    /// The release of NCCL that gangs of several GPUs would use.
    pub nccl: Result<String, String>,
}
