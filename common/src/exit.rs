//! Exit codes: a contract with schedulers and supervisors.

/// Everything asked for is done.
pub const DONE: i32 = 0;
/// Bad command line or experiment file.
pub const USAGE: i32 = 2;
/// Preempted after a durable checkpoint: requeue.
pub const PREEMPTED: i32 = 10;
/// The membership of the gang changed under this worker, or the machine failed it at its start: respawn it.
pub const MEMBERSHIP: i32 = 11;
/// Sent home from a run that was stopped, and not from one that is over. What a worker says to its supervisor.
pub const STOPPED: i32 = 12;
/// Configuration or handshake mismatch: do not retry.
pub const MISMATCH: i32 = 20;
/// The bytes of an input are not the ones the plan names.
pub const DIGEST: i32 = 21;
/// Repeated attempts made no progress, or a disk refuses: do not requeue.
pub const NO_PROGRESS: i32 = 30;
/// A training came no farther in several epochs, one after the other: do not requeue.
pub const STANDSTILL: i32 = 31;
/// A bug in Fulcrum.
pub const INTERNAL: i32 = 40;
