//! A stage of the run and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    plan::{Stage, Strategy, Work},
    store::{Checkpoint, File, Manifest},
};

use super::{Search, Shards};
use crate::{action::Product, input::Copied};

/// A stage and what became of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is to be done.
    pub stage: Stage,
    /// Epochs begun.
    pub attempts: u32,
    /// The last failure, one line; none once its files are made.
    pub message: String,
    /// Changed by [`State::turn`](super::State::turn) alone, which keeps the agenda.
    pub(super) state: StageState,
    /// The artifact, once it stands in the store.
    pub(super) made: Option<Made>,
    pub(crate) faults: Faults,
    /// When the present attempt began.
    pub(crate) since: u64,
    /// When its manifest, which the store did not take, is committed again.
    pub(crate) recommit: Option<u64>,
    /// Shards that an earlier coordinator of this run saw finished.
    pub(crate) kept: BTreeMap<u64, Product>,
    /// Searches of its shards for rows that cannot be computed, as an earlier coordinator left them.
    pub(crate) searches: BTreeMap<u64, Search>,
    /// Steps that its training has come to at most, as far as its members have said or kept.
    pub(crate) farthest: u64,
    /// Where its training can go on from, the newest first.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// What ranks held when they last disagreed, until it is known who was wrong.
    pub(crate) doubt: Option<Doubt>,
    /// How often a worker was found to hold corrupted weights of it.
    pub(crate) named: BTreeMap<String, u64>,
}

/// A step after which ranks held different weights.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Doubt {
    /// Steps done.
    pub step: u64,
    /// By seat, in the order of ranks.
    pub said: Vec<(String, Copied)>,
}

/// What became of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum StageState {
    /// Its inputs are not in the store yet.
    Waiting,
    /// It can run as soon as workers are free.
    Ready,
    /// A gang works on it.
    Gang(Gang),
    /// Its shards are leased one by one.
    Shards(Shards),
    /// Its files are made; the manifest is on its way into the store.
    Committing(Box<Manifest>),
    /// It was made in this run.
    Done,
    /// It was in the store before.
    Cached,
    /// It cannot be made.
    Failed,
}

/// What a rank has kept, and what it held.
pub(crate) type Share = (Vec<File>, Option<Copied>);

/// Workers in lockstep on one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Gang {
    /// The fencing token.
    pub epoch: u64,
    /// Seats by rank.
    pub members: Vec<String>,
    /// Shares of checkpoints that are durable, by step and rank.
    pub(crate) shares: BTreeMap<u64, BTreeMap<usize, Share>>,
    /// Ranks that could not write their share, by step.
    pub(crate) lacking: BTreeMap<u64, BTreeSet<usize>>,
    /// What its ranks hold, by step.
    pub(crate) held: BTreeMap<u64, BTreeMap<usize, Copied>>,
    /// Ranks that have come to the end.
    pub(crate) back: BTreeSet<usize>,
    /// What rank 0 has made, while what the others hold in the end is not known.
    pub(crate) made: Option<Box<Product>>,
    /// Where its members meet, once rank 0 has said so.
    pub(crate) meeting: Option<String>,
    /// Whether its training has come farther than ever before.
    pub(crate) advanced: bool,
    /// Members that an earlier coordinator gave the epoch to and that have not come to this one yet: the process of each
    /// seat.
    pub(crate) absent: BTreeMap<String, String>,
}

impl Gang {
    /// A gang that begins.
    pub(crate) fn new(epoch: u64, members: Vec<String>) -> Self {
        let (shares, lacking) = (BTreeMap::new(), BTreeMap::new());
        let (held, back, absent) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let (made, meeting, advanced) = (None, None, false);
        Self { epoch, members, shares, lacking, held, back, made, meeting, advanced, absent }
    }
}

/// An epoch in which a training came no farther.
#[derive(Clone, Debug)]
pub(crate) struct Vain {
    pub(crate) epoch: u64,
    pub(crate) members: Vec<String>,
    /// Why it ended.
    pub(crate) reason: String,
}

/// An artifact in the store, as those that read it are told: written once, however many they are.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The manifest, as JSON.
    pub(crate) manifest: String,
    /// Its numbers.
    pub(crate) facts: BTreeMap<String, u64>,
}

/// Failures in this start of the coordinator. An attempt leaves nothing to the next, so there is no progress in
/// between that would clear them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Of the work itself.
    pub(crate) work: u32,
    /// Of workers and the network between them.
    pub(crate) membership: u32,
}

impl Faults {
    /// All of them.
    pub(crate) fn total(self) -> u32 {
        self.work + self.membership
    }
}

impl Entry {
    pub(super) fn new(stage: &Stage, state: StageState, made: Option<Made>) -> Self {
        Self {
            stage: stage.clone(),
            attempts: 0,
            message: String::new(),
            state,
            made,
            faults: Faults::default(),
            since: 0,
            recommit: None,
            kept: BTreeMap::new(),
            searches: BTreeMap::new(),
            farthest: 0,
            checkpoints: Vec::new(),
            doubt: None,
            named: BTreeMap::new(),
        }
    }

    /// What people should know of it although it goes well; empty where there is nothing.
    pub(crate) fn note(&self) -> String {
        let times = |(seat, count): (&String, &u64)| match count {
            1 => seat.clone(),
            _ => format!("{seat} ({count} times)"),
        };
        match self.named.iter().map(times).collect::<Vec<_>>() {
            named if named.is_empty() => String::new(),
            named => format!("healed by replay: corrupted weights were found on {}", named.join(", ")),
        }
    }

    /// What became of it.
    pub fn state(&self) -> &StageState {
        &self.state
    }

    /// Whether its manifest is on its way into the store, and not held up: then the journal keeps it.
    pub(super) fn commits(&self) -> bool {
        matches!(self.state, StageState::Committing(_)) && self.recommit.is_none()
    }

    /// The largest number of workers below `most` and not below `fewest` that a gang of this stage can be.
    pub(crate) fn fewer(&self, most: usize, fewest: usize) -> Option<usize> {
        let Work::Train(train) = &self.stage.spec.work else { return None };
        let fits = |world: &usize| match train.strategy {
            Strategy::Hybrid { shards } => world.is_multiple_of(shards),
            Strategy::Data | Strategy::Zero1 | Strategy::Sharded => true,
        };
        (fewest.max(1)..=most).rev().find(fits)
    }

    /// Workers that a gang of this stage takes.
    pub(crate) fn world(&self, gang: usize) -> usize {
        match self.stage.spec.work {
            Work::Train(_) => self.stage.workers.map_or(gang, |most| most.clamp(1, gang)),
            _ => 1,
        }
    }
}

impl StageState {
    /// The word people read.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Gang(_) | Self::Shards(_) | Self::Committing(_) => "running",
            Self::Done => "done",
            Self::Cached => "cached",
            Self::Failed => "failed",
        }
    }

    /// Whether the artifact stands in the store.
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Done | Self::Cached)
    }
}

impl From<&Manifest> for Made {
    fn from(manifest: &Manifest) -> Self {
        let json = serde_json::to_string(manifest).expect("a manifest is plain data");
        Self { manifest: json, facts: manifest.facts.clone() }
    }
}
