//! Save, commit, retain, load.

use std::{collections::BTreeMap, net::Ipv4Addr, ops::Range};

use fulcrum_common::protocol::{self, worker_event::Event};
use fulcrum_train::{Part, StepLoss};
use tch::Tensor;
use tokio::sync::mpsc;

use super::{super::*, *};

/// Parameters and how many numbers they have.
const PARAMETERS: [(&str, usize); 3] = [("embedding.weight", 37), ("layer.0.weight", 64), ("head.bias", 3)];
const KINDS: [&str; 2] = ["weights", "means"];

/// Checkpoints that a coordinator keeps.
const KEPT: usize = 2;

/// A training that is stopped and goes on, on this many ranks and that.
struct Trained {
    scene: Scene,
    key: Key,
    epoch: u64,
    step: u64,
    /// All that were ever to be committed, by step and epoch.
    sent: BTreeMap<(u64, u64), Checkpoint>,
    /// Those that the coordinator believes in, the newest first.
    kept: Vec<Checkpoint>,
}

#[test]
fn whatever_the_disk_does_the_newest_whole_checkpoint_loads_and_nothing_else() {
    let mut it = Trained::new(7);
    let mut cycles = 0;
    while struck(&it.scene.faults.counts()) < wanted() {
        it.scene.some_faults();
        for _ in 0..=it.scene.rng.index(3) {
            it.save();
        }
        let files: Vec<String> = it.kept.iter().flat_map(Checkpoint::paths).collect();
        it.scene.rot(&files);
        it.load_at_fault();
        it.scene.no_faults();
        it.load();
        cycles += 1;
    }
    print(&it.scene.faults.counts(), cycles);
    assert!(it.sent.len() as u64 > cycles / 4, "{} of {cycles} came to be", it.sent.len());
}

impl Trained {
    fn new(seed: u64) -> Self {
        let (sent, kept) = (BTreeMap::new(), Vec::new());
        Self { scene: Scene::new(seed), key: Key::of(b"a stage"), epoch: 1, step: 0, sent, kept }
    }

    /// A gang keeps a checkpoint, and the coordinator commits it as its driver does.
    fn save(&mut self) {
        self.step += 1 + self.scene.rng.below(3);
        let world = 1 + self.scene.rng.index(4);
        let store = self.scene.store();
        let mut files = Vec::new();
        for rank in 0..world {
            let (place, mut said) = self.place(&store, rank);
            let snapshot = snapshot(self.epoch, self.step, rank, world);
            place.keep(self.step, Files::of(&snapshot), None);
            match said.try_recv().unwrap() {
                Event::Kept(kept) => files.extend(kept.files.into_iter().map(heard)),
                Event::NotKept(not) => return is_helpful(&not.message),
                other => panic!("{other:?}"),
            }
        }
        let (key, epoch, step) = (self.key, self.epoch, self.step);
        let checkpoint = Checkpoint { key, epoch, step, world: world as u64, files };
        self.sent.insert(checkpoint.age(), checkpoint.clone());
        match self.scene.runtime.block_on(store.commit_checkpoint(&checkpoint)) {
            Ok(()) => {
                self.kept.insert(0, checkpoint);
                self.kept.truncate(KEPT);
                if let Err(error) = self.scene.runtime.block_on(store.retain_checkpoints(key, &self.kept)) {
                    is_helpful(&error.to_string());
                }
            }
            Err(error) => is_helpful(&error.to_string()),
        }
    }

    /// Whatever is read while the disk is at fault was saved; what was not read is told.
    fn load_at_fault(&mut self) {
        let store = self.scene.store();
        match self.scene.runtime.block_on(store.checkpoints()) {
            Ok(mut found) => {
                let past = found.remove(&self.key).unwrap_or_default();
                self.resume(&store, past);
            }
            Err(error) => is_helpful(&error.to_string()),
        }
    }

    /// A coordinator that starts anew on a good disk, and a gang that goes on.
    fn load(&mut self) {
        let store = self.scene.store();
        let mut found = self.scene.runtime.block_on(store.checkpoints()).unwrap();
        let past = found.remove(&self.key).unwrap_or_default();
        let taken = self.resume(&store, past.clone());
        assert_eq!(taken, self.newest(), "the newest whole one is taken");
        self.kept = past;
        self.kept.truncate(KEPT);
        self.epoch += 1;
        self.step = taken.map_or(0, |(step, _)| step);
    }

    /// The newest one that lies whole on the disk, whoever has put it there.
    fn newest(&self) -> Option<(u64, u64)> {
        let root = self.scene.folder.path();
        let whole = |it: &&Checkpoint| {
            let mark = format!("training/{}/{}-{}/checkpoint.json", it.key, it.epoch, it.step);
            let marked = fs::read_to_string(root.join(mark)).is_ok_and(|text| text == it.to_json());
            marked && it.files.iter().all(|file| is_intact(root, file))
        };
        self.sent.values().rev().find(whole).map(Checkpoint::age)
    }

    /// What the trainer does: all ranks take the first place that every one of them could read.
    fn resume(&mut self, store: &Store, past: Vec<Checkpoint>) -> Option<(u64, u64)> {
        let world = 1 + self.scene.rng.index(4);
        for checkpoint in past {
            let json = checkpoint.to_json();
            let checkpoint = Checkpoint::from_json(self.key, json.as_bytes()).unwrap();
            assert_eq!(self.sent.get(&checkpoint.age()), Some(&checkpoint), "nobody has sent this");
            let past = vec![checkpoint.clone()];
            let what = engine::Checkpoints { steps: None, time: None, past, compare: None, compare_at: None };
            let mut read = 0;
            for rank in 0..world {
                let (place, _said) = self.place(store, rank);
                let reader = Checkpoints::start(what.clone(), place).unwrap();
                let wanted = |name: &str, numbers: &Range<usize>| {
                    let mine = share(length(name), rank, world);
                    mine.start < numbers.end && numbers.start < mine.end
                };
                match reader.read(0, &wanted) {
                    Ok(snapshots) => {
                        same(&checkpoint, (rank, world), &snapshots);
                        read += 1;
                    }
                    Err(error) => is_helpful(&error.to_string()),
                }
            }
            if read == world {
                return Some(checkpoint.age());
            }
        }
        None
    }

    fn place(&self, store: &Store, rank: usize) -> (Place, mpsc::UnboundedReceiver<Event>) {
        let (events, said) = mpsc::unbounded_channel();
        let attempt = Attempt::new(self.epoch, Ipv4Addr::LOCALHOST.into(), events);
        let runtime = self.scene.runtime.handle().clone();
        (Place { store: store.clone(), runtime, attempt, key: self.key, rank }, said)
    }
}

/// A file as the coordinator hears of it.
fn heard(protocol::File { name, path, bytes, blake3 }: protocol::File) -> File {
    File { name, path, bytes, digest: blake3.parse().unwrap() }
}

fn length(name: &str) -> usize {
    PARAMETERS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// What falls to a rank.
fn share(length: usize, rank: usize, world: usize) -> Range<usize> {
    rank * length / world..(rank + 1) * length / world
}

/// The numbers of a parameter at a step of an epoch, which no other step has.
fn numbers(epoch: u64, step: u64, kind: &str, name: &str) -> Vec<f32> {
    let mut rng = Rng::new(epoch << 32 | step, &format!("{kind} of {name}"), 0);
    (0..length(name)).map(|_| rng.uniform() as f32).collect()
}

fn losses(step: u64) -> Vec<StepLoss> {
    let loss = |step| StepLoss {
        step,
        loss: step as f64 * 0.1,
        learning_rate: 0.01,
        rows: step as u64,
        skipped: false,
    };
    (0..step as usize).map(loss).collect()
}

fn snapshot(epoch: u64, step: u64, rank: usize, world: usize) -> Snapshot {
    let part = |(name, length): (&str, usize)| {
        let mine = share(length, rank, world);
        let tensor = |kind: &str| Tensor::from_slice(&numbers(epoch, step, kind, name)[mine.clone()]);
        let tensors = KINDS.iter().map(|kind| ((*kind).to_owned(), tensor(kind))).collect();
        Part { name: name.to_owned(), numbers: mine, tensors }
    };
    Snapshot {
        step: step as usize,
        updates: step,
        skipped: 0,
        micro_batch: 4,
        resized: false,
        parts: PARAMETERS.into_iter().map(part).filter(|part| !part.numbers.is_empty()).collect(),
        memory: BTreeMap::new(),
        losses: if rank == 0 { losses(step) } else { Vec::new() },
    }
}

/// What a rank has read holds every number that falls to it, each as it was saved.
fn same(checkpoint: &Checkpoint, (rank, world): (usize, usize), snapshots: &[Snapshot]) {
    for (name, length) in PARAMETERS {
        for kind in KINDS {
            let expected = numbers(checkpoint.epoch, checkpoint.step, kind, name);
            let mut found = vec![None; length];
            for part in snapshots.iter().flat_map(|it| &it.parts).filter(|part| part.name == name) {
                let values = Vec::<f32>::try_from(&part.tensors[kind]).unwrap();
                for (at, value) in part.numbers.clone().zip(values) {
                    assert!(found[at].replace(value).is_none(), "{name}: number {at} is there twice");
                }
            }
            for at in share(length, rank, world) {
                assert_eq!(
                    found[at].map(f32::to_bits),
                    Some(expected[at].to_bits()),
                    "{kind} of {name}, {at}"
                );
            }
        }
    }
    let kept: Vec<StepLoss> = snapshots.iter().flat_map(|it| it.losses.clone()).collect();
    assert_eq!(kept, losses(checkpoint.step));
    assert!(snapshots.iter().all(|it| it.step as u64 == checkpoint.step));
}
