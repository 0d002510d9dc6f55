//! What the state machine decides.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key,
    protocol::command::Command,
    store::{Checkpoint, File, Manifest},
};

use crate::{
    input::{Class, Hello},
    state::{Doubt, Search},
};

/// The outcome of one [`tick`](crate::tick).
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// What is to be done. All records are written before any other action is taken.
    pub actions: Vec<Action>,
    /// Why, one line each, for the log.
    pub reasons: Vec<String>,
}

impl Decisions {
    pub(crate) fn send(&mut self, session: u64, command: Command) {
        self.actions.push(Action::Send { session, command });
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.actions.push(Action::Record(record));
    }

    /// In the order in which it is done: the records, all of them before anything else; the rest; the reasons.
    pub fn in_order(self) -> (Vec<Record>, Vec<Action>, Vec<String>) {
        let (mut records, mut rest) = (Vec::new(), Vec::new());
        for action in self.actions {
            match action {
                Action::Record(record) => records.push(record),
                other => rest.push(other),
            }
        }
        (records, rest, self.reasons)
    }

    pub(crate) fn because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }
}

/// One thing the driver does for the state machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write to the journal.
    Record(Record),
    /// Tell a worker.
    Send {
        /// The worker's stream.
        session: u64,
        /// What.
        command: Command,
    },
    /// End a worker's stream, after what was sent before.
    Close {
        /// The stream.
        session: u64,
    },
    /// Commit to the store and feed back [`Input::Committed`](crate::Input::Committed) or
    /// [`Input::CommitFailed`](crate::Input::CommitFailed).
    Commit(Box<Manifest>),
    /// Commit a checkpoint, then remove those of its stage that are older than `kept`; feed back
    /// [`Input::Kept`](crate::Input::Kept) or [`Input::KeepFailed`](crate::Input::KeepFailed).
    Keep {
        /// The new one.
        checkpoint: Box<Checkpoint>,
        /// Those that stay beside it.
        kept: Vec<Checkpoint>,
    },
    /// Remove a stage's checkpoints.
    Forget(Key),
    /// Remove what ranks have left of a checkpoint that does not come about.
    Discard {
        /// The stage.
        key: Key,
        /// The gang's epoch.
        epoch: u64,
        /// Steps done.
        step: u64,
    },
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A worker joined.
    Joined(Hello),
    /// A worker left or was lost.
    Left {
        /// Its seat.
        seat: String,
        /// Its incarnation.
        incarnation: String,
        /// Why.
        reason: String,
    },
    /// An assignment begins.
    EpochBegan {
        /// Its number.
        epoch: u64,
        /// The stage.
        key: Key,
        /// Which shard of it.
        shard: Option<u64>,
        /// Seats by rank.
        members: Vec<String>,
    },
    /// An assignment ended.
    EpochEnded {
        /// Its number.
        epoch: u64,
        /// `done`, `failed`, `aborted`.
        outcome: &'static str,
        /// Why.
        reason: String,
    },
    /// A shard is finished.
    Shard {
        /// The stage.
        key: Key,
        /// The shard's number.
        index: u64,
        /// What was made.
        product: Product,
    },
    /// A search for rows of a shard that cannot be computed has come so far; none where it is forgotten.
    Search {
        /// The stage.
        key: Key,
        /// The shard's number.
        index: u64,
        /// How far.
        search: Option<Box<Search>>,
    },
    /// A stage's finished shards are of no use any more, nor are searches in them.
    ShardsDropped {
        /// The stage.
        key: Key,
    },
    /// A stage changed its state.
    Stage {
        /// The stage.
        key: Key,
        /// Its state, as [`StageState::word`](crate::StageState::word) says it.
        state: &'static str,
        /// Epochs begun.
        attempts: u32,
        /// The last failure.
        message: String,
        /// What is about to be committed, so that a restart does not lose it.
        pending: Option<Box<Manifest>>,
    },
    /// Corrupted weights were found.
    Named(Named),
    /// Ranks of a training held different weights, and a replay will tell who was wrong; none once it has told.
    Doubt {
        /// The stage.
        key: Key,
        /// What they held.
        doubt: Option<Doubt>,
    },
    /// The run changed its phase.
    Phase {
        /// The phase, as [`Phase::word`](crate::Phase::word) says it.
        phase: &'static str,
        /// Why.
        reason: String,
    },
}

/// Corrupted weights of a training, and who held them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The stage.
    pub key: Key,
    /// Steps done.
    pub step: u64,
    /// A seat; several in words where it is not known which of them was wrong.
    pub who: String,
    /// Whether it is known.
    pub known: bool,
}

/// What an assignment left in the store.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Product {
    /// The epoch that made it.
    pub epoch: u64,
    /// The workers that made it. No worker's in journals that do not say it.
    #[serde(default)]
    pub class: Class,
    /// Its files.
    pub files: Vec<File>,
    /// Its numbers.
    pub facts: BTreeMap<String, u64>,
}
