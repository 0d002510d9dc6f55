//! Fault points: named places where a test makes something go wrong, in the process, rank and step of its choice.
//!
//! ```text
//! FULCRUM_FAULT="step.update rank=last step=7 kind=kill" FULCRUM_FAULT_ONCE=/tmp/marks fulcrum run ...
//! ```
//!
//! A fault strikes once: whoever comes to the place first makes a file in the folder of marks, and nobody strikes who
//! finds it there, so the process that takes a dead one's place gets through. One that names a row (`row=17`) strikes
//! whenever that row comes by. Builds without debug assertions have no
//! fault points: there [`point`] is nothing.

#[cfg(debug_assertions)]
mod armed;

use std::fmt;

/// Every fault point, in the order in which a run comes to them. `docs/fault-tolerance.md` lists them too.
pub const POINTS: &[&str] = &[
    // The coordinator.
    "coordinator.recovered",
    "coordinator.bound",
    "coordinator.hello",
    "coordinator.journal.before",
    "coordinator.journal.after",
    "coordinator.assignment.before",
    "coordinator.assignment.after",
    "coordinator.rendezvous",
    "coordinator.share",
    "coordinator.checkpoint.before",
    "coordinator.checkpoint.after",
    "coordinator.retain",
    "coordinator.done",
    "coordinator.commit.before",
    "coordinator.commit.after",
    "coordinator.forget",
    // A worker that joins and takes work.
    "worker.connect",
    "worker.welcome",
    "worker.assigned",
    "worker.inputs",
    "worker.gather.before",
    "worker.gather.after",
    "worker.load",
    // A training.
    "train.restore.before",
    "train.restore.after",
    "step.begin",
    "step.data",
    "step.look_ahead",
    "step.forward",
    "step.backward",
    "step.reduce",
    "step.agree",
    "step.clip",
    "step.update",
    "step.publish",
    "step.end",
    // Bits that flip in memory after an update.
    "memory.weights",
    "memory.moments",
    "snapshot.take",
    "snapshot.copied",
    "snapshot.header",
    "snapshot.tensors",
    "snapshot.told",
    "train.finish",
    "train.save",
    // Inference.
    "infer.begin",
    "infer.row",
    "infer.batch",
    "infer.end",
    // What a stage leaves.
    "worker.put",
    "worker.made",
    "worker.done",
    // The store, below all of them.
    "store.put.before",
    "store.put.after",
    "store.read",
];

/// The error of a fault of kind `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("injected at {0}")]
pub struct Injected(pub &'static str);

/// Which process a fault is meant for, beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The coordinator.
    Coordinator,
    /// A worker in a gang of so many; 0 of 1 where it works alone.
    Rank(usize, usize),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("coordinator"),
            Self::Rank(rank, world) => write!(f, "rank {rank} of {world}"),
        }
    }
}

/// Says which process this is from here on.
pub fn i_am(who: Who) {
    #[cfg(debug_assertions)]
    armed::i_am(who);
    #[cfg(not(debug_assertions))]
    let _ = who;
}

/// Says which step of a training this process is in; 0 outside of one.
pub fn at_step(step: usize) {
    #[cfg(debug_assertions)]
    armed::at_step(step);
    #[cfg(not(debug_assertions))]
    let _ = step;
}

/// A place where something may go wrong. Nothing does, unless a test has armed it.
///
/// # Errors
/// If a fault of kind `error` is armed for this place, process and step.
pub fn point(name: &'static str) -> Result<(), Injected> {
    #[cfg(debug_assertions)]
    return armed::point(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        Ok(())
    }
}

/// [`point`] at a row, by its number in its source. A fault that names the row strikes each time that it comes by.
///
/// # Errors
/// As [`point`].
pub fn at_row(name: &'static str, row: i64) -> Result<(), Injected> {
    #[cfg(debug_assertions)]
    return armed::at_row(name, row);
    #[cfg(not(debug_assertions))]
    {
        let _ = (name, row);
        Ok(())
    }
}

/// Whether a bit is to flip here: a fault of kind `flip`, which [`point`] knows nothing of.
pub fn flips(name: &'static str) -> bool {
    #[cfg(debug_assertions)]
    return armed::flips(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

/// [`point`] where no error can be given back: one that is armed panics.
pub fn strike(name: &'static str) {
    if let Err(error) = point(name) {
        panic!("{error}");
    }
}
