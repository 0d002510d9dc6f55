//! What the coordinator knows: stages in plan order, workers by seat, the next epoch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fulcrum_common::{
    Key,
    plan::{Plan, Stage, Work},
    store::Manifest,
};

use crate::{
    action::Product,
    input::{Class, Hello, Progress},
};

/// Everything that decisions rest on.
#[derive(Clone, Debug)]
pub struct State {
    /// The run's name.
    pub run: String,
    /// Workers in a gang.
    pub gang: usize,
    /// The stages that this run needs or has, in plan order.
    pub stages: Vec<Entry>,
    /// Workers by seat, the lost ones too.
    pub workers: BTreeMap<String, Worker>,
    /// Where the run is.
    pub phase: Phase,
    /// Why it is there, or what it waits for.
    pub reason: String,
    /// When the phase left [`Phase::Running`], in milliseconds since the coordinator's start.
    pub ended: Option<u64>,
    pub(crate) sessions: BTreeMap<u64, String>,
    pub(crate) next_epoch: u64,
    pub(crate) now: u64,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Stages are being run.
    Running,
    /// What runs is finished, nothing more is started.
    Stopping,
    /// The goal is in the store.
    Done,
    /// A stage failed for good; the process that asked for the run ends with this exit code.
    Failed(i32),
}

impl Phase {
    /// The word people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}

/// A stage and what became of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is to be done.
    pub stage: Stage,
    /// What became of it.
    pub state: StageState,
    /// Epochs begun.
    pub attempts: u32,
    /// The last failure, one line; none once its files are made.
    pub message: String,
    /// The artifact, once it stands in the store.
    pub manifest: Option<Manifest>,
    pub(crate) faults: Faults,
    /// When the present attempt began.
    pub(crate) since: u64,
    /// The gang epoch that ended last through a membership fault. Its members may still tell the true cause.
    pub(crate) broken: Option<u64>,
    /// When its manifest, which the store did not take, is committed again.
    pub(crate) recommit: Option<u64>,
    /// Since when other workers are free, but none of the class that made its finished shards is here.
    pub(crate) classless: Option<u64>,
    /// Shards that an earlier coordinator of this run saw finished.
    pub(crate) kept: BTreeMap<u64, Product>,
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
    Shards(Vec<Shard>),
    /// Its files are made; the manifest is on its way into the store.
    Committing(Box<Manifest>),
    /// It was made in this run.
    Done,
    /// It was in the store before.
    Cached,
    /// It cannot be made.
    Failed,
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

/// Workers in lockstep on one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gang {
    /// The fencing token.
    pub epoch: u64,
    /// Seats by rank.
    pub members: Vec<String>,
}

/// A range of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// First row.
    pub start: u64,
    /// Past the last.
    pub end: u64,
    /// Where it is.
    pub state: ShardState,
    pub(crate) faults: Faults,
}

/// Where a shard is.
#[derive(Clone, Debug, PartialEq)]
pub enum ShardState {
    /// Nobody works on it.
    Pending,
    /// A worker has it.
    Leased {
        /// The fencing token.
        epoch: u64,
        /// The worker.
        seat: String,
    },
    /// Its files are in the store.
    Done(Product),
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

/// A worker and what it does.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its stream.
    pub session: u64,
    /// Who it is.
    pub hello: Hello,
    /// What it does.
    pub state: WorkerState,
    /// When it was last heard of.
    pub heard: u64,
    /// What it last said about its work.
    pub progress: Progress,
    /// It has been told to finish and leave.
    pub draining: bool,
    /// Incarnations of this seat that were replaced, latest last. They may not come back.
    pub(crate) retired: VecDeque<String>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It has joined and not yet said whether it is free.
    Joining,
    /// It is free.
    Idle,
    /// It has an assignment.
    Working(u64),
    /// It has been told to give up this assignment and has not yet answered.
    Aborting(u64),
    /// Its stream ended or its lease ran out.
    Lost,
}

impl WorkerState {
    /// The word people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Idle => "idle",
            Self::Working(_) => "working",
            Self::Aborting(_) => "aborting",
            Self::Lost => "lost",
        }
    }
}

/// What an epoch belongs to: a stage by position, and the rank in its gang or the number of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Rank { stage: usize, rank: usize },
    Shard { stage: usize, index: usize },
}

/// What an earlier coordinator of the same run left behind.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Epochs below this one may have been given out.
    pub next_epoch: u64,
    /// Finished shards by stage and number.
    pub shards: BTreeMap<Key, BTreeMap<u64, Product>>,
    /// Manifests that were about to be committed.
    pub pending: BTreeMap<Key, Manifest>,
}

impl State {
    /// The state at the coordinator's start: the part of `plan` that is not hidden by artifacts of the store.
    pub fn new(run: &str, plan: &Plan, gang: usize, store: &BTreeMap<Key, Manifest>, past: Past) -> Self {
        let Past { next_epoch, mut shards, mut pending } = past;
        let goal = plan.goal();
        let needed: BTreeSet<Key> =
            goal.into_iter().flat_map(|goal| plan.needed(goal, |key| store.contains_key(&key))).collect();
        let entry = |stage: &Stage| {
            let manifest = store.get(&stage.key).cloned();
            let state = match (&manifest, pending.remove(&stage.key)) {
                (Some(_), _) => StageState::Cached,
                (None, Some(pending)) => StageState::Committing(Box::new(pending)),
                (None, None) => StageState::Waiting,
            };
            Entry {
                stage: stage.clone(),
                state,
                attempts: 0,
                message: String::new(),
                manifest,
                faults: Faults::default(),
                since: 0,
                broken: None,
                recommit: None,
                classless: None,
                kept: shards.remove(&stage.key).unwrap_or_default(),
            }
        };
        let shown = |stage: &&Stage| needed.contains(&stage.key) || store.contains_key(&stage.key);
        Self {
            run: run.to_owned(),
            gang,
            stages: plan.stages.iter().filter(shown).map(entry).collect(),
            workers: BTreeMap::new(),
            phase: Phase::Running,
            reason: String::new(),
            ended: None,
            sessions: BTreeMap::new(),
            next_epoch: next_epoch.max(1),
            now: 0,
        }
    }

    /// Whether nothing is left to do or to wait for, so that the coordinator may exit.
    /// Workers that were told to leave are waited for no longer than `patience` milliseconds.
    pub fn settled(&self, patience: u64) -> bool {
        let Some(ended) = self.ended else { return false };
        let live = self.workers.values().filter(|worker| worker.state != WorkerState::Lost);
        let busy = live.clone().any(|worker| matches!(worker.state, WorkerState::Working(_)));
        let committing = self.stages.iter().any(Entry::commits);
        let finishing = self.phase == Phase::Stopping && (busy || committing);
        !finishing && (live.count() == 0 || self.now.saturating_sub(ended) > patience)
    }

    /// The worker at the other end of a stream, unless another stream has taken its place.
    pub(crate) fn seat_of(&self, session: u64) -> Option<String> {
        self.sessions.get(&session).cloned()
    }

    /// What the epoch belongs to; none when it is over.
    pub(crate) fn owner(&self, epoch: u64, seat: &str) -> Option<Owner> {
        self.stages.iter().enumerate().find_map(|(stage, entry)| match &entry.state {
            StageState::Gang(gang) if gang.epoch == epoch => {
                let rank = gang.members.iter().position(|member| member == seat)?;
                Some(Owner::Rank { stage, rank })
            }
            StageState::Shards(shards) => {
                let held = |shard: &Shard| {
                    matches!(&shard.state, ShardState::Leased { epoch: e, seat: s } if *e == epoch && s == seat)
                };
                shards.iter().position(held).map(|index| Owner::Shard { stage, index })
            }
            _ => None,
        })
    }

    /// The manifest of a stage of this run, once it stands in the store.
    pub(crate) fn manifest(&self, key: Key) -> Option<&Manifest> {
        self.stages.iter().find(|entry| entry.stage.key == key)?.manifest.as_ref()
    }

    /// A number never used before in this run.
    pub(crate) fn take_epoch(&mut self) -> u64 {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        epoch
    }
}

impl Entry {
    /// Whether its manifest is on its way into the store, and not held up: then the journal keeps it.
    fn commits(&self) -> bool {
        matches!(self.state, StageState::Committing(_)) && self.recommit.is_none()
    }

    /// Workers that a gang of this stage takes.
    pub(crate) fn world(&self, gang: usize) -> usize {
        if matches!(self.stage.spec.work, Work::Train(_)) { gang } else { 1 }
    }
}

impl Worker {
    /// Whether it is here and of that class.
    pub(crate) fn is_of(&self, class: &Class) -> bool {
        self.state != WorkerState::Lost && self.hello.class() == *class
    }

    /// Whether it may be given work, now or after what it does.
    pub(crate) fn serves(&self) -> bool {
        self.state != WorkerState::Lost && !self.draining
    }
}
