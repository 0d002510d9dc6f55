//! What can go wrong between the members of a gang.

/// A failed collective operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call was wrong; nothing was sent.
    #[error("{operation} refused: {reason}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// This machine has not what the back-end works with.
    #[error("no NCCL: {0}")]
    NoNccl(String),
    /// Not all members came.
    #[error("rank {rank} could not meet the other {others} members: {reason}")]
    Meet {
        /// This member.
        rank: usize,
        /// How many it waited for.
        others: usize,
        /// What libtorch says.
        reason: String,
    },
    /// The gang is broken: a member is gone or silent.
    #[error("{operation} failed on rank {rank}: {reason}")]
    Broken {
        /// The operation.
        operation: &'static str,
        /// This member.
        rank: usize,
        /// What libtorch says.
        reason: String,
    },
    /// This member was told to abort.
    #[error("rank {rank} aborted: {reason}")]
    Aborted {
        /// This member.
        rank: usize,
        /// The reason given.
        reason: String,
    },
    /// A fault that a test asked for.
    #[error("injected fault in operation {operation} on rank {rank}")]
    Injected {
        /// The operation, counted from 0.
        operation: usize,
        /// This member.
        rank: usize,
    },
}
