//! What the coordinator knows: stages in plan order, workers by seat, the next epoch.

mod agenda;
mod entry;
mod search;
mod shards;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use fulcrum_common::{
    Key,
    experiment::Cadence,
    invariant::{Invariant, uphold},
    plan::{Plan, Stage},
    store::{Checkpoint, Manifest},
};

pub use entry::{Doubt, Entry, Gang, StageState};
pub(crate) use entry::{Faults, Made, Vain};
pub use search::{Poison, Search};
pub(crate) use search::{Strike, Verdict};
pub use shards::{Lease, Shard, ShardState, Shards};
pub(crate) use workers::Roster;
pub use workers::{Worker, WorkerState, Workers};

use crate::{
    action::{Named, Product},
    tick::MOST_NAMED,
};
use agenda::{Agenda, Holder};

/// Everything that decisions rest on.
#[derive(Clone, Debug)]
pub struct State {
    /// The run's name.
    pub run: String,
    /// Workers in a gang.
    pub gang: usize,
    /// Fewest workers that a training goes on with, once others have stayed away for long.
    pub fewest: usize,
    /// When trainings keep checkpoints.
    pub cadence: Cadence,
    /// Milliseconds without any progress after which a worker's work is taken back; 0 for never.
    pub stall: u64,
    /// The program that workers must be; none where any will do.
    pub build: Option<Key>,
    /// The store that workers must have, by its identity; none where any will do.
    pub store: Option<Key>,
    /// The stages that this run needs or has, in plan order.
    pub stages: Vec<Entry>,
    /// Workers by seat, the lost ones too.
    pub workers: Workers,
    /// Where the run is.
    pub phase: Phase,
    /// Why it is there, or what it waits for.
    pub reason: String,
    /// When the phase left [`Phase::Running`], in milliseconds since the coordinator's start.
    pub ended: Option<u64>,
    pub(crate) agenda: Agenda,
    /// Since when other workers are free, but none of the class that made its finished shards is here, by stage.
    pub(crate) classless: BTreeMap<usize, u64>,
    /// Since when too few workers are here for a training that could go on with fewer, by stage.
    pub(crate) short: BTreeMap<usize, u64>,
    /// The latest epochs in which trainings came no farther, by stage.
    pub(crate) vain: BTreeMap<usize, Vec<Vain>>,
    /// Stages whose gangs an earlier coordinator formed, until all members have come back.
    expecting: BTreeSet<usize>,
    /// Shards that workers were lost with, by seat, until the next process there says where in them it was.
    pub(crate) lost: BTreeMap<String, Lost>,
    /// How often a worker was found to hold corrupted weights.
    pub(crate) named: BTreeMap<String, u64>,
    /// When workers that do not get on are looked for again.
    pub(crate) next_stall: u64,
    pub(crate) next_epoch: u64,
    /// The last epoch that was recorded, and all that are under way.
    pub(crate) last_epoch: u64,
    pub(crate) open: BTreeSet<u64>,
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

/// What an epoch belongs to: a stage by position, and the rank in its gang or the number of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Rank { stage: usize, rank: usize },
    Shard { stage: usize, index: usize },
}

/// A shard that a worker was lost with.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) epoch: u64,
    pub(crate) stage: usize,
    pub(crate) index: usize,
    /// What a search asked of it.
    pub(crate) asked: Option<Range<u64>>,
}

/// What an earlier coordinator of the same run left behind.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Epochs below this one may have been given out.
    pub next_epoch: u64,
    /// Finished shards by stage and number.
    pub shards: BTreeMap<Key, BTreeMap<u64, Product>>,
    /// Searches for rows that cannot be computed, by stage and number of the shard.
    pub searches: BTreeMap<Key, BTreeMap<u64, Search>>,
    /// Manifests that were about to be committed.
    pub pending: BTreeMap<Key, Manifest>,
    /// Checkpoints of trainings that the store has, the newest first.
    pub checkpoints: BTreeMap<Key, Vec<Checkpoint>>,
    /// Gangs that were under way.
    pub gangs: Vec<PastGang>,
    /// Corrupted weights that were found.
    pub named: Vec<Named>,
    /// What ranks held where it was not yet known who was wrong.
    pub doubts: BTreeMap<Key, Doubt>,
}

/// A gang that an earlier coordinator formed and did not see the end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastGang {
    /// Its epoch.
    pub epoch: u64,
    /// The stage.
    pub key: Key,
    /// Seats by rank, each with the process that had it.
    pub members: Vec<(String, String)>,
}

impl State {
    /// The state at the coordinator's start: the part of `plan` that is not hidden by artifacts of the store.
    pub fn new(run: &str, plan: &Plan, gang: usize, store: &BTreeMap<Key, Manifest>, past: Past) -> Self {
        let Past { next_epoch, mut shards, mut searches, mut pending, mut checkpoints, .. } = past;
        let Past { gangs, named, doubts, .. } = past;
        let goal = plan.goal();
        let needed: BTreeSet<Key> =
            goal.into_iter().flat_map(|goal| plan.needed(goal, |key| store.contains_key(&key))).collect();
        let entry = |stage: &Stage| {
            let made = store.get(&stage.key).map(Made::from);
            let state = match (&made, pending.remove(&stage.key)) {
                (Some(_), _) => StageState::Cached,
                (None, Some(pending)) => StageState::Committing(Box::new(pending)),
                (None, None) => StageState::Waiting,
            };
            let mut checkpoints = checkpoints.remove(&stage.key).unwrap_or_default();
            // All that there are: the newest may prove unreadable.
            if made.is_some() {
                checkpoints.clear();
            }
            let kept = shards.remove(&stage.key).unwrap_or_default();
            let searches = searches.remove(&stage.key).unwrap_or_default();
            Entry { kept, searches, checkpoints, ..Entry::new(stage, state, made) }
        };
        let shown = |stage: &&Stage| needed.contains(&stage.key) || store.contains_key(&stage.key);
        let stages: Vec<Entry> = plan.stages().iter().filter(shown).map(entry).collect();
        let mut state = Self {
            run: run.to_owned(),
            gang,
            fewest: gang,
            cadence: Cadence::default(),
            stall: 0,
            build: None,
            store: None,
            lost: BTreeMap::new(),
            named: BTreeMap::new(),
            next_stall: 0,
            agenda: Agenda::new(&stages),
            stages,
            workers: Workers::default(),
            phase: Phase::Running,
            reason: String::new(),
            ended: None,
            classless: BTreeMap::new(),
            short: BTreeMap::new(),
            vain: BTreeMap::new(),
            expecting: BTreeSet::new(),
            next_epoch: next_epoch.max(1),
            last_epoch: next_epoch.saturating_sub(1),
            open: BTreeSet::new(),
            now: 0,
        };
        gangs.into_iter().for_each(|gang| state.expect(gang));
        named.into_iter().for_each(|named| state.recall(named));
        for (key, doubt) in doubts {
            if let Some(stage) = state.agenda.place(key) {
                state.stages[stage].doubt = Some(doubt);
            }
        }
        state
    }

    /// Takes up what was found before. Whoever was wrong too often gets no work from this coordinator either.
    fn recall(&mut self, Named { key, who, known, .. }: Named) {
        if known && self.count(&who) == MOST_NAMED {
            self.workers.bench(&who);
        }
        if let Some(stage) = self.agenda.place(key) {
            let entry = &mut self.stages[stage];
            *entry.named.entry(who).or_default() += 1;
            entry.message = entry.note();
        }
    }

    /// A worker held corrupted weights once more; returns how often it has.
    pub(crate) fn count(&mut self, seat: &str) -> u64 {
        let count = self.named.entry(seat.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Expects the members of a gang back, unless its stage is made or nobody wants it any more.
    fn expect(&mut self, past: PastGang) {
        let Some(stage) = self.agenda.place(past.key) else { return };
        let inputs = self.stages[stage].stage.spec.inputs.values();
        let stands = inputs.into_iter().all(|key| self.made(*key).is_some());
        if self.stages[stage].state != StageState::Waiting || !stands {
            return;
        }
        self.stages[stage].attempts = 1;
        let members = past.members.iter().map(|(seat, _)| seat.clone()).collect();
        let absent = past.members.into_iter().collect();
        self.turn(stage, StageState::Gang(Gang { absent, ..Gang::new(past.epoch, members) }));
        self.expecting.insert(stage);
        self.open.insert(past.epoch);
    }

    /// The gang that expects somebody back in that seat.
    pub(crate) fn gang_of_absent(&self, seat: &str) -> Option<(usize, &Gang)> {
        let gang = |stage: &usize| match &self.stages[*stage].state {
            StageState::Gang(gang) if gang.absent.contains_key(seat) => Some((*stage, gang)),
            _ => None,
        };
        self.expecting.iter().find_map(gang)
    }

    /// A seat that somebody is expected back in, and the epoch. Gangs that expect nobody more are as any other.
    pub(crate) fn next_absent(&mut self) -> Option<(String, u64)> {
        while let Some(stage) = self.expecting.first().copied() {
            if let StageState::Gang(gang) = &self.stages[stage].state
                && let Some(seat) = gang.absent.keys().next()
            {
                return Some((seat.clone(), gang.epoch));
            }
            self.expecting.remove(&stage);
        }
        None
    }

    /// Whether nothing is left to do or to wait for, so that the coordinator may exit.
    /// Workers that were told to leave are waited for no longer than `patience` milliseconds.
    pub fn settled(&self, patience: u64) -> bool {
        let Some(ended) = self.ended else { return false };
        let busy = self.workers.live().any(|worker| matches!(worker.state(), WorkerState::Working(_)));
        let committing = self.stages.iter().any(Entry::commits);
        let finishing = self.phase == Phase::Stopping && (busy || committing);
        !finishing && (self.workers.live().next().is_none() || self.now.saturating_sub(ended) > patience)
    }

    /// Changes a stage's state; returns the one before.
    pub(crate) fn turn(&mut self, stage: usize, state: StageState) -> StageState {
        let entry = &mut self.stages[stage];
        let over = entry.state.is_made() || entry.state == StageState::Failed;
        uphold(Invariant::FinishedStaysFinished, !over || state == StageState::Failed, || {
            format!("{:?} turns from {} to {}", entry.stage.name, entry.state.word(), state.word())
        });
        let before = std::mem::replace(&mut entry.state, state);
        self.agenda.turned(stage, entry.world(self.gang), &before, &entry.state);
        before
    }

    /// The artifact of a stage has come to stand in the store.
    pub(crate) fn complete(&mut self, stage: usize, manifest: &Manifest) {
        self.stages[stage].made = Some(manifest.into());
        self.turn(stage, StageState::Done);
    }

    /// Leases a stage's first pending shard to a worker, under a new epoch; returns both. None where no shard is
    /// pending.
    pub(crate) fn lease_shard(&mut self, stage: usize, seat: &str) -> Option<(usize, u64)> {
        let class = self.workers.get(seat)?.class();
        let StageState::Shards(shards) = &mut self.stages[stage].state else { return None };
        let epoch = self.next_epoch;
        let index = shards.lease(Lease { epoch, seat: seat.to_owned(), since: self.now }, class)?;
        self.next_epoch += 1;
        self.agenda.leased(stage, index, epoch, shards);
        Some((index, epoch))
    }

    /// Leases a stage's straggler a second time, under a new epoch; returns both. None where nothing is out for long.
    pub(crate) fn copy_shard(&mut self, stage: usize, seat: &str) -> Option<(usize, u64)> {
        let StageState::Shards(shards) = &mut self.stages[stage].state else { return None };
        let (index, epoch) = (shards.straggler(self.now)?, self.next_epoch);
        shards.copy(index, Lease { epoch, seat: seat.to_owned(), since: self.now });
        self.next_epoch += 1;
        self.agenda.leased(stage, index, epoch, shards);
        Some((index, epoch))
    }

    /// A leased shard of a stage is finished; returns the leases that came too late, and whether all are finished now.
    pub(crate) fn finish_shard(
        &mut self,
        stage: usize,
        index: usize,
        product: Product,
    ) -> (Vec<Lease>, bool) {
        let StageState::Shards(shards) = &mut self.stages[stage].state else { return (Vec::new(), false) };
        let epoch = product.epoch;
        let late = shards.finish(index, product, self.now);
        for over in late.iter().map(|lease| lease.epoch).chain([epoch]) {
            self.agenda.released(stage, over, shards);
        }
        (late, shards.finished() == shards.count())
    }

    /// A shard that failed waits before it is leased again: the longer the more often it failed, or for so many
    /// milliseconds.
    pub(crate) fn pause_shard(&mut self, stage: usize, index: usize, ms: Option<u64>) {
        let now = self.now;
        let Some(shards) = self.shards_mut(stage) else { return };
        match ms {
            Some(ms) => shards.hold_back(index, now.saturating_add(ms)),
            None => shards.pause(index, now),
        }
    }

    /// A lease is over and nothing came of it; returns the shard, to count that.
    pub(crate) fn return_shard(&mut self, stage: usize, index: usize, epoch: u64) -> Option<&mut Shard> {
        let StageState::Shards(shards) = &mut self.stages[stage].state else { return None };
        shards.give_back(index, epoch);
        self.agenda.released(stage, epoch, shards);
        Some(shards.shard_mut(index))
    }

    /// The shards of a stage that is made of them.
    pub(crate) fn shards_mut(&mut self, stage: usize) -> Option<&mut Shards> {
        match &mut self.stages[stage].state {
            StageState::Shards(shards) => Some(shards),
            _ => None,
        }
    }

    /// The same, to look at.
    pub(crate) fn shards(&self, stage: usize) -> Option<&Shards> {
        match &self.stages[stage].state {
            StageState::Shards(shards) => Some(shards),
            _ => None,
        }
    }

    /// Gives the finished shards of a stage up.
    pub(crate) fn forget_shards(&mut self, stage: usize) {
        if let StageState::Shards(shards) = &mut self.stages[stage].state {
            shards.forget();
            self.agenda.reopen(stage, shards);
        }
    }

    /// What the epoch belongs to; none when it is over.
    pub(crate) fn owner(&self, epoch: u64, seat: &str) -> Option<Owner> {
        match self.agenda.holder(epoch)? {
            Holder::Gang(stage) => {
                let StageState::Gang(gang) = self.stages[stage].state() else { return None };
                let rank = gang.members.iter().position(|member| member == seat)?;
                Some(Owner::Rank { stage, rank })
            }
            Holder::Shard(stage, index) => {
                let StageState::Shards(shards) = self.stages[stage].state() else { return None };
                shards.is_with(index, epoch, seat).then_some(Owner::Shard { stage, index })
            }
        }
    }

    /// The shard that is leased in an epoch, and its stage.
    pub(crate) fn shard_of(&self, epoch: u64) -> Option<(usize, usize)> {
        match self.agenda.holder(epoch)? {
            Holder::Gang(_) => None,
            Holder::Shard(stage, index) => Some((stage, index)),
        }
    }

    /// The gang of an epoch; none when it is over.
    pub(crate) fn gang(&self, epoch: u64) -> Option<&Gang> {
        let Holder::Gang(stage) = self.agenda.holder(epoch)? else { return None };
        match self.stages[stage].state() {
            StageState::Gang(gang) => Some(gang),
            _ => None,
        }
    }

    /// The same, to note what its members left.
    pub(crate) fn gang_mut(&mut self, epoch: u64) -> Option<(usize, &mut Gang)> {
        let Holder::Gang(stage) = self.agenda.holder(epoch)? else { return None };
        match &mut self.stages[stage].state {
            StageState::Gang(gang) => Some((stage, gang)),
            _ => None,
        }
    }

    /// The artifact of a stage of this run, once it stands in the store.
    pub(crate) fn made(&self, key: Key) -> Option<&Made> {
        self.stages[self.agenda.place(key)?].made.as_ref()
    }

    /// A number never used before in this run.
    pub(crate) fn take_epoch(&mut self) -> u64 {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        epoch
    }
}
