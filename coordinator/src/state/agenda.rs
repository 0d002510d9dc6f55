//! Which stages may move, so that no decision looks at all of them: a sweep has a hundred thousand, and a run a
//! million shards. Everything here follows from the stages' states and changes with them. Stages are named by their
//! position.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::Key;

use super::{Entry, Shards, StageState};

/// Stages by what may happen to them next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agenda {
    places: BTreeMap<Key, usize>,
    /// By stage: the stages that read it, once for each role.
    readers: Vec<Vec<usize>>,
    /// By stage: roles whose artifacts do not stand in the store.
    missing: Vec<usize>,
    /// Stages whose inputs have come to stand in the store, and that nobody has looked at since.
    complete: BTreeSet<usize>,
    /// Ready stages by the number of workers that they take.
    ready: BTreeMap<usize, BTreeSet<usize>>,
    /// Stages with pending shards.
    open: BTreeSet<usize>,
    /// Stages whose shards are all leased or finished, and not all finished.
    ending: BTreeSet<usize>,
    /// Stages whose manifest the store did not take.
    held_up: BTreeSet<usize>,
    /// Epochs under way.
    epochs: BTreeMap<u64, Holder>,
    /// Gang epochs that ended last at their stage, through a membership fault. Their members may still tell the true
    /// cause.
    broken: BTreeMap<u64, usize>,
}

/// What an epoch belongs to: a stage, and of it a shard by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Gang(usize),
    Shard(usize, usize),
}

impl Agenda {
    /// The agenda of stages none of which is under way.
    pub(super) fn new(stages: &[Entry]) -> Self {
        let places: BTreeMap<Key, usize> =
            stages.iter().enumerate().map(|(place, entry)| (entry.stage.key, place)).collect();
        let mut agenda = Self { readers: vec![Vec::new(); stages.len()], ..Self::default() };
        for (reader, entry) in stages.iter().enumerate() {
            let mut missing = 0;
            for key in entry.stage.spec.inputs.values() {
                let input = places.get(key).copied();
                if !input.is_some_and(|input| stages[input].state.is_made()) {
                    missing += 1;
                    input.into_iter().for_each(|input| agenda.readers[input].push(reader));
                }
            }
            agenda.missing.push(missing);
            if missing == 0 {
                agenda.complete.insert(reader);
            }
        }
        agenda.places = places;
        agenda
    }

    /// The position of a stage.
    pub(crate) fn place(&self, key: Key) -> Option<usize> {
        self.places.get(&key).copied()
    }

    /// A stage that takes `world` workers has turned from one state to another.
    pub(super) fn turned(&mut self, stage: usize, world: usize, from: &StageState, to: &StageState) {
        match from {
            StageState::Ready => {
                self.ready.entry(world).or_default().remove(&stage);
            }
            StageState::Gang(gang) => {
                self.epochs.remove(&gang.epoch);
            }
            StageState::Shards(_) => {
                self.open.remove(&stage);
                self.ending.remove(&stage);
            }
            StageState::Committing(_) => {
                self.held_up.remove(&stage);
            }
            StageState::Waiting | StageState::Done | StageState::Cached | StageState::Failed => {}
        }
        match to {
            StageState::Waiting if self.missing[stage] == 0 => {
                self.complete.insert(stage);
            }
            StageState::Ready => {
                self.ready.entry(world).or_default().insert(stage);
            }
            StageState::Gang(gang) => {
                self.epochs.insert(gang.epoch, Holder::Gang(stage));
            }
            StageState::Shards(shards) => self.reopen(stage, shards),
            StageState::Done | StageState::Cached => self.completed(stage),
            StageState::Waiting | StageState::Committing(_) | StageState::Failed => {}
        }
    }

    /// The artifact of a stage has come to stand in the store.
    fn completed(&mut self, stage: usize) {
        for reader in std::mem::take(&mut self.readers[stage]) {
            self.missing[reader] -= 1;
            if self.missing[reader] == 0 {
                self.complete.insert(reader);
            }
        }
    }

    /// A shard was leased.
    pub(super) fn leased(&mut self, stage: usize, index: usize, epoch: u64, shards: &Shards) {
        self.epochs.insert(epoch, Holder::Shard(stage, index));
        self.reopen(stage, shards);
    }

    /// A shard's lease is over.
    pub(super) fn released(&mut self, stage: usize, epoch: u64, shards: &Shards) {
        self.epochs.remove(&epoch);
        self.reopen(stage, shards);
    }

    /// Shards of a stage may have become pending, or none is any more.
    pub(super) fn reopen(&mut self, stage: usize, shards: &Shards) {
        if shards.has_pending() {
            self.open.insert(stage);
        } else {
            self.open.remove(&stage);
        }
        if shards.is_ending() {
            self.ending.insert(stage);
        } else {
            self.ending.remove(&stage);
        }
    }

    /// Stages whose shards are all leased or finished, and not all finished.
    pub(crate) fn ending(&self) -> &BTreeSet<usize> {
        &self.ending
    }

    pub(super) fn holder(&self, epoch: u64) -> Option<Holder> {
        self.epochs.get(&epoch).copied()
    }

    /// The gang epoch of a stage ended, through a membership fault or not.
    pub(crate) fn gang_ended(&mut self, stage: usize, epoch: u64, membership: bool) {
        self.broken.retain(|_, broken| *broken != stage);
        if membership {
            self.broken.insert(epoch, stage);
        }
    }

    /// The stage whose last gang broke in this epoch, for the one member that tells why.
    pub(crate) fn take_broken(&mut self, epoch: u64) -> Option<usize> {
        self.broken.remove(&epoch)
    }

    /// A stage's manifest was not taken by the store.
    pub(crate) fn hold_up(&mut self, stage: usize) {
        self.held_up.insert(stage);
    }

    /// Stages whose manifest the store did not take.
    pub(crate) fn held_up(&self) -> &BTreeSet<usize> {
        &self.held_up
    }

    /// The first stage whose inputs have come to stand in the store; each is told once.
    pub(crate) fn take_complete(&mut self) -> Option<usize> {
        self.complete.pop_first()
    }

    /// The first stage from `from` on that free workers could be given to, those aside that take a `hopeless` number
    /// of them.
    pub(crate) fn next(&self, from: usize, hopeless: &BTreeSet<usize>) -> Option<usize> {
        let ready =
            self.ready.iter().filter(|(world, _)| !hopeless.contains(world)).map(|(_, stages)| stages);
        first(ready.chain([&self.open]), from)
    }

    /// The first stage from `from` on that waits for a gang.
    pub(crate) fn next_ready(&self, from: usize) -> Option<usize> {
        first(self.ready.values(), from)
    }
}

fn first<'a>(sets: impl Iterator<Item = &'a BTreeSet<usize>>, from: usize) -> Option<usize> {
    sets.filter_map(|stages| stages.range(from..).next().copied()).min()
}

#[cfg(test)]
impl Agenda {
    /// Checks that everything here is what a look at every stage gives.
    pub(crate) fn check(&self, stages: &[Entry], gang: usize) {
        let (mut ready, mut open) = (BTreeMap::<usize, BTreeSet<usize>>::new(), BTreeSet::new());
        let mut ending = BTreeSet::new();
        let mut epochs = BTreeMap::new();
        for (stage, entry) in stages.iter().enumerate() {
            let made = |key: &Key| self.place(*key).is_some_and(|place| stages[place].state.is_made());
            let missing = entry.stage.spec.inputs.values().filter(|key| !made(key)).count();
            assert_eq!(self.missing[stage], missing, "inputs of stage {stage}");
            match &entry.state {
                StageState::Ready => {
                    ready.entry(entry.world(gang)).or_default().insert(stage);
                }
                StageState::Gang(gang) => {
                    epochs.insert(gang.epoch, Holder::Gang(stage));
                }
                StageState::Shards(shards) => {
                    open.extend(shards.has_pending().then_some(stage));
                    ending.extend(shards.is_ending().then_some(stage));
                    epochs.extend(
                        shards.leases().map(|(index, lease)| (lease.epoch, Holder::Shard(stage, index))),
                    );
                }
                _ => {}
            }
            let held_up = matches!(entry.state, StageState::Committing(_)) && !entry.message.is_empty();
            assert_eq!(self.held_up.contains(&stage), held_up, "commit of stage {stage}");
        }
        let mut mine = self.ready.clone();
        mine.retain(|_, stages| !stages.is_empty());
        assert_eq!((&mine, &self.open, &self.epochs), (&ready, &open, &epochs));
        assert_eq!(self.ending, ending);
    }
}
