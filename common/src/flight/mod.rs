//! Flight recorders: what each rank did last, so that one can say who waits for whom, where, and since when.
//!
//! A worker writes into the [`Recorder`] of its assignment: a lock and a few words for each entry, nothing allocated.
//! Every heartbeat carries a compact view of it, and where something goes wrong all of it is left in a [`dump`]. From the
//! views of all workers, which may be a minute old or lack a rank, [`verdict`] is drawn: a pure function.

pub mod dump;
mod gang;
mod recorder;
pub mod verdict;
mod words;

pub use recorder::{Call, Entry, Moment, RING, Recorder, What};
pub use words::duration;

use std::fmt;

/// What a rank does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It takes its inputs out of the store.
    #[default]
    Inputs,
    /// It waits until all members of its gang have come.
    Meeting,
    /// It reads a model, and where a training goes on.
    Load,
    /// It does work that is no training: rows through a model, files into files.
    Work,
    /// Rows of a step to tensors.
    Data,
    /// Forward passes.
    Forward,
    /// Backward passes.
    Backward,
    /// It has computed its share of the step and waits for the others.
    Communication,
    /// Clipping and update.
    Optimizer,
    /// It waits until a snapshot of its weights has been copied.
    Snapshot,
    /// It leaves, and waits until its last checkpoint is committed.
    Leave,
    /// It has trained, and gathers and writes what came of it.
    Save,
    /// It makes its files durable in the store.
    Put,
}

/// All of them.
const ACTIVITIES: [Activity; 13] = [
    Activity::Inputs,
    Activity::Meeting,
    Activity::Load,
    Activity::Work,
    Activity::Data,
    Activity::Forward,
    Activity::Backward,
    Activity::Communication,
    Activity::Optimizer,
    Activity::Snapshot,
    Activity::Leave,
    Activity::Save,
    Activity::Put,
];

impl Activity {
    /// The word for it, in messages and tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Meeting => "meeting",
            Self::Load => "load",
            Self::Work => "work",
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Communication => "communication",
            Self::Optimizer => "optimizer",
            Self::Snapshot => "snapshot",
            Self::Leave => "leave",
            Self::Save => "save",
            Self::Put => "put",
        }
    }

    /// The activity of that name.
    pub fn named(word: &str) -> Option<Self> {
        ACTIVITIES.into_iter().find(|activity| activity.word() == word)
    }

    /// Whether it belongs to a step of a training.
    pub(crate) fn is_of_a_step(self) -> bool {
        use Activity::{Backward, Communication, Data, Forward, Leave, Optimizer, Snapshot};
        matches!(self, Data | Forward | Backward | Communication | Optimizer | Snapshot | Leave)
    }

    /// What a rank that does it "has been" doing.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Inputs => "reading its inputs",
            Self::Meeting => "waiting for its gang to meet",
            Self::Load => "loading",
            Self::Work => "at work",
            Self::Data => "preparing rows",
            Self::Forward => "in forward",
            Self::Backward => "in backward",
            Self::Communication => "waiting for others",
            Self::Optimizer => "in the optimizer's update",
            Self::Snapshot => "waiting for a snapshot to be copied",
            Self::Leave => "waiting for its last checkpoint to be committed",
            Self::Save => "saving what it trained",
            Self::Put => "making files durable in the store",
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activity_is_found_by_its_word() {
        for activity in ACTIVITIES {
            assert_eq!(Activity::named(activity.word()), Some(activity));
            assert_eq!(serde_json::to_value(activity).unwrap(), activity.word());
        }
        assert_eq!(Activity::named("lunch"), None);
    }
}
