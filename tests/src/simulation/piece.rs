//! An assignment as a simulated worker reads it, and what its engine makes of it.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key,
    duty::Work,
    plan::{self, Part},
    protocol::{self, Assignment, Failed},
    store::{Checkpoint, File, Manifest},
};
use serde::Deserialize;

use super::{scene, store::Store};

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) epoch: u64,
    pub(super) key: Key,
    pub(super) rank: usize,
    pub(super) world: usize,
    pub(super) shard: Option<protocol::Shard>,
    /// Positions of the shard's rows that are left out.
    pub(super) skip: Vec<u64>,
    /// Where it is only asked whether rows can be computed: which.
    pub(super) trial: Option<protocol::Trial>,
    inputs: Vec<Manifest>,
    /// Checkpoints that it may go on from, the newest first; trainings alone have any to tell of.
    pub(super) past: Option<Vec<Checkpoint>>,
    pub(super) every: u64,
}

/// What is read of a stage's description here.
#[derive(Deserialize)]
struct Brief {
    key: Key,
}

/// The stage that an assignment is about.
pub(super) fn key(assignment: &Assignment) -> Key {
    let Brief { key } = serde_json::from_str(&assignment.stage).expect("the coordinator sends stages");
    key
}

impl Work for Piece {
    fn read(it: Assignment) -> Result<Self, Failed> {
        let key = key(&it);
        // In the order of roles, as those who compute what must come out.
        let inputs: BTreeMap<&String, &String> = it.inputs.iter().collect();
        let manifest = |json: &&String| serde_json::from_str(json).expect("the coordinator sends manifests");
        let checkpoint = |json: &String| {
            Checkpoint::from_json(key, json.as_bytes()).expect("the coordinator sends checkpoints")
        };
        Ok(Self {
            epoch: it.epoch,
            key,
            rank: it.rank as usize,
            world: it.world as usize,
            shard: it.shard,
            skip: it.skip.clone(),
            trial: it.trial,
            inputs: inputs.values().map(manifest).collect(),
            past: it.checkpoints.as_ref().map(|it| it.past.iter().map(checkpoint).collect()),
            every: it.checkpoints.map_or(0, |it| it.every_steps),
        })
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn keeps(&self) -> bool {
        self.past.is_some()
    }
}

impl Piece {
    /// What the stage begins with, from what the store has; none where an input is not what was written.
    pub(super) fn first(&self, store: &Store) -> Option<Key> {
        let mut files = self.inputs.iter().flat_map(|manifest| &manifest.files);
        files.try_fold(self.key, |value, file| Some(scene::mix(value, &store.read(file)?.to_string())))
    }

    /// The rows that are computed, by position; a row's number is its position here.
    pub(super) fn rows(&self) -> impl Iterator<Item = u64> {
        let (start, end) = match (self.shard, self.trial) {
            (_, Some(trial)) => (trial.start, trial.end),
            (Some(shard), None) => (shard.start, shard.end),
            (None, None) => (0, 0),
        };
        (start..end).filter(|row| !self.skip.contains(row))
    }

    /// The row that is computed alone.
    pub(super) fn alone(&self) -> Option<i64> {
        let mut rows = self.rows();
        rows.next().filter(|_| rows.next().is_none()).map(|row| row as i64)
    }

    /// Makes the files of a stage or shard durable whose outcome is `value`.
    pub(super) fn put(&self, store: &mut Store, value: Key) -> Vec<protocol::File> {
        let name = self.shard.map_or_else(|| "file".to_owned(), |shard| format!("part-{:05}", shard.index));
        let path = format!("artifacts/{}/{}/{name}", self.key, self.epoch);
        vec![told(store.put(name, path, value))]
    }

    /// The numbers that a stage leaves.
    pub(super) fn facts(&self, stage: &plan::Stage) -> std::collections::HashMap<String, u64> {
        let rows = |part: Part| (part.fact(), scene::rows(part));
        match (self.shard, &stage.spec.work) {
            (Some(_), _) => {
                let left_out = self.skip.iter().map(|row| (plan::left_out(*row as i64), 1));
                let count =
                    (!self.skip.is_empty()).then(|| (plan::LEFT_OUT.to_owned(), self.skip.len() as u64));
                let rows = ("rows".to_owned(), self.rows().count() as u64);
                left_out.chain(count).chain([rows]).collect()
            }
            (None, plan::Work::Prepare(_)) => {
                [Part::GroundTruth, Part::WeakLabels, Part::Validation, Part::Test, Part::Corpus, Part::Rows]
                    .map(rows)
                    .into()
            }
            (None, _) => [].into(),
        }
    }

    /// Makes this rank's share of a checkpoint durable.
    pub(super) fn keep(&self, store: &mut Store, step: u64, value: Key) -> Vec<protocol::File> {
        let name = format!("rank-{}.header", self.rank);
        let path = format!("training/{}/{}-{step}/{name}", self.key, self.epoch);
        vec![told(store.put(name, path, value))]
    }
}

fn told(file: File) -> protocol::File {
    let File { name, path, bytes, digest } = file;
    protocol::File { name, path, bytes, blake3: digest.to_string() }
}
