//! The coordinator and its workers on a simulated network, clock and storage: one seed is one history, in which processes
//! die, hang, stop and wake, streams break, disks refuse, and files are lost. It must keep every
//! [`Invariant`](fulcrum_common::invariant::Invariant), and once nothing goes wrong any more, end with the bytes of
//! its plan.
//!
//! Real: the state machine (`tick`), its journal (SQLite, in memory) and what a start takes up from it, the check of
//! what workers say, and what a worker does about what it hears (`duty`). Modelled: streams, the store, what engines
//! compute and how gangs keep step, and the driver's order of journal, messages and commits.

mod coordinator;
mod gang;
mod piece;
mod process;
mod scene;
mod store;
mod streams;
mod weather;
mod world;

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
};

use world::World;

/// What happened in a history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Simulated milliseconds.
    pub ms: u64,
    /// Things that happened.
    pub happenings: u64,
    /// Decisions of the coordinator.
    pub decisions: u64,
    /// Epochs that began.
    pub epochs: u64,
    /// Artifacts that were committed.
    pub artifacts: u64,
    /// Checkpoints that were committed, and trainings that went on from one.
    pub checkpoints: u64,
    /// See above.
    pub resumed: u64,
    /// Shards that were leased to a second worker.
    pub copies: u64,
    /// Rows that harmed whoever computed them, each time, and that were left out.
    pub harmed: u64,
    /// See above.
    pub left_out: u64,
    /// Runs that ended before their goal and were started again.
    pub runs: u64,
    /// How runs ended, by what was said of it.
    pub ends: BTreeMap<String, u64>,
    /// What went wrong, by kind.
    pub mishaps: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.ms += other.ms;
        self.happenings += other.happenings;
        self.decisions += other.decisions;
        self.epochs += other.epochs;
        self.artifacts += other.artifacts;
        self.checkpoints += other.checkpoints;
        self.resumed += other.resumed;
        self.copies += other.copies;
        self.harmed += other.harmed;
        self.left_out += other.left_out;
        self.runs += other.runs;
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        for (kind, count) in &other.mishaps {
            *self.mishaps.entry(kind).or_default() += count;
        }
    }
}

/// Goes through the history of a seed. `aloud`: tells it on standard output.
///
/// # Panics
/// If an invariant does not hold.
pub fn run(seed: u64, aloud: bool) -> Report {
    World::new(seed, aloud).run()
}

/// [`run`], with what does not hold as an error: one line that says how to see it again.
///
/// # Errors
/// If an invariant does not hold.
pub fn attempt(seed: u64) -> Result<Report, String> {
    panic::catch_unwind(AssertUnwindSafe(|| run(seed, false))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        format!("seed {seed}: {text}; replay: cargo xtask simulate --seed {seed}")
    })
}
