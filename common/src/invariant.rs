//! What must stay true, numbered: checked where it could break, in the programs as in their tests and in the simulator.
//!
//! Builds with debug assertions panic where an invariant does not hold. Others count it, say so once, and go on: a run
//! that may be wrong tells so (`fulcrum status`), and one that is not is not ended by a check.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// An invariant. Its number never changes and is never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Invariant {
    /// An epoch is larger than every epoch before it.
    EpochsGrow = 1,
    /// A worker hears of an epoch only in a decision that records its beginning, or after it.
    RecordedBeforeTold = 2,
    /// A worker has one assignment at a time.
    OneAssignment = 3,
    /// A shard has one leaseholder, and a second one only where it is worked on twice on purpose.
    OneLeaseholder = 4,
    /// What is made counts only in the epoch that its stage or shard waits for.
    CurrentEpochCounts = 5,
    /// Every shard of a stage that is finished has exactly one result.
    OneResultPerShard = 6,
    /// A stage that is made, or has failed for good, never runs again.
    FinishedStaysFinished = 7,
    /// A stage runs only once all its inputs stand in the store.
    InputsStand = 8,
    /// A checkpoint is committed once every rank of its gang has its share of it in safety.
    WholeCheckpoint = 9,
    /// One artifact is made by workers of one class.
    OneClass = 10,
    /// An epoch that has ended does not end again.
    EndsOnce = 11,
    /// A run that is over starts nothing.
    OverIsOver = 12,
    /// What stands in the store never changes.
    ArtifactsStay = 13,
    /// The bytes of an artifact follow from its description alone.
    BytesOfThePlan = 14,
    /// A run whose processes come back comes to its end.
    RunsEnd = 15,
    /// An inference lacks the rows that were found not to be computable, each by itself, and no others.
    OnlyPoisonLeftOut = 16,
}

/// Everything that is checked.
pub const ALL: [Invariant; 16] = {
    use Invariant::*;
    [
        EpochsGrow,
        RecordedBeforeTold,
        OneAssignment,
        OneLeaseholder,
        CurrentEpochCounts,
        OneResultPerShard,
        FinishedStaysFinished,
        InputsStand,
        WholeCheckpoint,
        OneClass,
        EndsOnce,
        OverIsOver,
        ArtifactsStay,
        BytesOfThePlan,
        RunsEnd,
        OnlyPoisonLeftOut,
    ]
};

/// How often each did not hold in this process.
static BROKEN: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

impl Invariant {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn count(self) -> &'static AtomicU64 {
        &BROKEN[usize::from(self.number()) - 1]
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} ({self:?})", self.number())
    }
}

/// Checks an invariant. `detail` says, in one line, what was found where it does not hold.
///
/// # Panics
/// If it does not hold, in builds with debug assertions.
pub fn uphold(invariant: Invariant, holds: bool, detail: impl FnOnce() -> String) {
    if !holds {
        broken(invariant, &detail());
    }
}

#[cold]
fn broken(invariant: Invariant, detail: &str) {
    if invariant.count().fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::error!("{invariant} does not hold, a bug in Fulcrum: {detail}");
    }
    if cfg!(debug_assertions) {
        panic!("{invariant} does not hold: {detail}");
    }
}

/// The invariants that did not hold in this process, and how often.
pub fn violations() -> impl Iterator<Item = (Invariant, u64)> {
    let counted = ALL.into_iter().map(|invariant| (invariant, invariant.count().load(Ordering::Relaxed)));
    counted.filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list() {
        for (place, invariant) in ALL.into_iter().enumerate() {
            assert_eq!(usize::from(invariant.number()), place + 1, "{invariant}");
        }
    }

    #[test]
    fn one_that_does_not_hold_is_counted_and_in_debug_builds_panics() {
        let count = || violations().find(|(invariant, _)| *invariant == Invariant::RunsEnd);
        uphold(Invariant::RunsEnd, true, || unreachable!("it holds"));
        assert_eq!(count(), None);
        let caught =
            std::panic::catch_unwind(|| uphold(Invariant::RunsEnd, false, || "still running".into()));
        assert_eq!(caught.is_err(), cfg!(debug_assertions));
        if let Err(panic) = caught {
            let message = panic.downcast_ref::<String>().expect("a message");
            assert_eq!(message, "invariant 15 (RunsEnd) does not hold: still running");
        }
        assert_eq!(count(), Some((Invariant::RunsEnd, 1)));
    }
}
