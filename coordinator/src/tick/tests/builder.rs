//! Test scenes: a plan, a state, workers that can be told what to do. Every step checks the invariants.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    Key,
    plan::{CODE_VERSION, Part, Plan, Stage, Work},
    protocol::{Assignment, PROTOCOL_VERSION, command::Command},
    store::{Checkpoint, File, Manifest},
};

pub(crate) use super::sketch::{ROWS, SHARD, Sketch, manifest};
use crate::{
    Action, Class, Event, Failure, Hello, Input, Lease, Past, PastGang, Phase, Progress, Record, ShardState,
    StageState, State, WorkerState, input::Copied, tick,
};

/// A state, its clock, and what it decided.
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    pub(crate) state: State,
    pub(crate) now: u64,
    /// Streams by seat, the closed ones too.
    pub(crate) streams: BTreeMap<String, u64>,
    /// Assignments by seat that the worker has not answered.
    pub(crate) work: BTreeMap<String, Assignment>,
    /// The process in each seat.
    processes: BTreeMap<String, String>,
    /// What workers were at when the coordinator was killed.
    carried: BTreeMap<String, Assignment>,
    /// Everything sent, by seat, in order.
    pub(crate) sent: Vec<(String, Command)>,
    pub(crate) records: Vec<Record>,
    pub(crate) reasons: Vec<String>,
    /// Commits under way.
    pub(crate) commits: Vec<Manifest>,
    pub(crate) store: BTreeMap<Key, Manifest>,
    /// Checkpoints on their way into the store, each with those that stay beside it.
    pub(crate) keeps: Vec<(Checkpoint, Vec<Checkpoint>)>,
    /// Checkpoints that do not come about, by epoch and step.
    pub(crate) discarded: Vec<(u64, u64)>,
    /// Checkpoints in the store.
    pub(crate) checkpoints: BTreeMap<Key, Vec<Checkpoint>>,
    next_session: u64,
    over: BTreeSet<u64>,
    /// Who was given each epoch.
    classes: BTreeMap<u64, Class>,
    last_epoch: u64,
}

impl Scene {
    pub(crate) fn new(plan: Plan, gang: usize) -> Self {
        let state = State::new("run", &plan, gang, &BTreeMap::new(), Past::default());
        Self {
            plan,
            state,
            now: 0,
            streams: BTreeMap::new(),
            work: BTreeMap::new(),
            processes: BTreeMap::new(),
            carried: BTreeMap::new(),
            sent: vec![],
            records: vec![],
            reasons: vec![],
            commits: vec![],
            store: BTreeMap::new(),
            keeps: vec![],
            discarded: vec![],
            checkpoints: BTreeMap::new(),
            next_session: 1,
            over: BTreeSet::new(),
            classes: BTreeMap::new(),
            last_epoch: 0,
        }
    }

    /// A scene with these workers, ready for work.
    pub(crate) fn with(plan: Plan, gang: usize, seats: &[&str]) -> Self {
        let mut scene = Self::new(plan, gang);
        for seat in seats {
            scene.join(seat);
        }
        for seat in seats {
            scene.beat(seat);
        }
        scene
    }

    pub(crate) fn hello(seat: &str, incarnation: u64) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            code: CODE_VERSION,
            seat: seat.into(),
            incarnation: format!("{seat}-{incarnation}"),
            host: "host".into(),
            pid: 1,
            device: "cpu".into(),
            threads: 1,
            fell: None,
            build: None,
            store: None,
        }
    }

    /// A new process takes the seat.
    pub(crate) fn join(&mut self, seat: &str) {
        self.join_with(seat, 1);
    }

    /// [`Scene::join`] by a process with so many threads.
    pub(crate) fn join_with(&mut self, seat: &str, threads: u32) {
        let hello = Hello { threads, ..Self::hello(seat, self.next_session) };
        self.carried.remove(seat);
        self.greet(hello);
    }

    pub(crate) fn greet(&mut self, hello: Hello) {
        let session = self.next_session;
        self.next_session += 1;
        self.streams.insert(hello.seat.clone(), session);
        self.work.remove(&hello.seat);
        self.processes.insert(hello.seat.clone(), hello.incarnation.clone());
        self.step([Input::Worker { session, event: Event::Hello(hello) }]);
    }

    /// The hello of the process that was in the seat.
    pub(crate) fn hello_again(&self, seat: &str) -> Hello {
        Hello { incarnation: self.processes[seat].clone(), ..Self::hello(seat, 0) }
    }

    /// Whether a worker goes on without a coordinator.
    pub(crate) fn is_orphan(&self, seat: &str) -> bool {
        self.carried.contains_key(seat) && !self.streams.contains_key(seat)
    }

    /// What a worker was at when the coordinator was killed.
    pub(crate) fn carried(&self, seat: &str) -> Assignment {
        self.carried[seat].clone()
    }

    /// A worker that went on without a coordinator comes back to the new one.
    pub(crate) fn come_back(&mut self, seat: &str) {
        self.greet(self.hello_again(seat));
        if let Some(work) = self.carried.remove(seat) {
            self.work.insert(seat.to_owned(), work);
        }
        self.beat(seat);
    }

    pub(crate) fn say(&mut self, seat: &str, event: Event) {
        let session = self.streams[seat];
        self.step([Input::Worker { session, event }]);
    }

    /// A heartbeat that tells the truth about the worker's work.
    pub(crate) fn beat(&mut self, seat: &str) {
        let epoch = self.work.get(seat).map_or(0, |work| work.epoch);
        self.say(seat, Event::Heartbeat(Progress { epoch, examples: 1, ..Progress::default() }));
    }

    /// The worker finishes what it was told.
    pub(crate) fn done(&mut self, seat: &str) {
        let Some(work) = self.work.remove(seat) else { panic!("{seat} has no work") };
        let event = Self::product(&work);
        self.say(seat, event);
    }

    /// What a worker says that finished this assignment.
    pub(crate) fn product(work: &Assignment) -> Event {
        let stage: Stage = serde_json::from_str(&work.stage).unwrap();
        let name = work.shard.map_or("file".to_owned(), |shard| format!("part-{}", shard.index));
        let path = format!("artifacts/{}/{}/{name}", stage.key, work.epoch);
        let file = File { name, path, bytes: 1, digest: Key::of(&work.epoch.to_le_bytes()) };
        let rows = work.shard.map_or(ROWS, |shard| shard.end - shard.start);
        let speaks = work.rank == 0;
        Event::Done {
            epoch: work.epoch,
            files: if speaks { vec![file] } else { vec![] },
            facts: if speaks { BTreeMap::from([(Part::Corpus.fact(), rows)]) } else { BTreeMap::new() },
        }
    }

    /// The worker fails.
    pub(crate) fn fail(&mut self, seat: &str, failure: Failure) {
        let epoch = self.work.remove(seat).expect("it has work").epoch;
        self.say(seat, Event::Failed { epoch, failure });
    }

    /// The worker's stream ends.
    pub(crate) fn close(&mut self, seat: &str) {
        let session = self.streams[seat];
        self.work.remove(seat);
        self.step([Input::Closed { session, reason: "reset".into() }]);
    }

    /// The store commits what is under way.
    pub(crate) fn commit(&mut self) {
        for manifest in std::mem::take(&mut self.commits) {
            let standing = self.store.entry(manifest.key).or_insert(manifest).clone();
            self.step([Input::Committed(Box::new(standing))]);
        }
    }

    /// A worker's share of a checkpoint of its work is durable.
    pub(crate) fn keep(&mut self, seat: &str, step: u64) {
        self.keep_copy(seat, step, None);
    }

    /// The same, with what it holds.
    pub(crate) fn keep_copy(&mut self, seat: &str, step: u64, copy: Option<Copied>) {
        let work = &self.work[seat];
        let stage: Stage = serde_json::from_str(&work.stage).unwrap();
        let name = format!("rank-{}.header", work.rank);
        let path = format!("training/{}/{}-{step}/{name}", stage.key, work.epoch);
        let file = File { name, path, bytes: 1, digest: Key::of(b"state") };
        let epoch = work.epoch;
        self.say(seat, Event::Kept { epoch, step, files: vec![file], copy });
    }

    /// A worker says what it holds.
    pub(crate) fn hold(&mut self, seat: &str, step: u64, copy: Copied) {
        let epoch = self.work[seat].epoch;
        self.say(seat, Event::Held { epoch, step, copy });
    }

    /// The store takes the checkpoints that are under way.
    pub(crate) fn take_checkpoints(&mut self) {
        for (checkpoint, mut kept) in std::mem::take(&mut self.keeps) {
            kept.insert(0, checkpoint.clone());
            self.checkpoints.insert(checkpoint.key, kept);
            self.step([Input::Kept(Box::new(checkpoint))]);
        }
    }

    /// Steps that a worker's assignment says that it can go on from.
    pub(crate) fn past(&self, seat: &str) -> Vec<u64> {
        let told = self.work[seat].checkpoints.as_ref().expect("trainings are told");
        let step = |json: &String| serde_json::from_str::<serde_json::Value>(json).unwrap()["step"].as_u64();
        told.past.iter().map(|json| step(json).unwrap()).collect()
    }

    /// The store does not take what is under way.
    pub(crate) fn commit_fails(&mut self, message: &str, damaged: bool) {
        let key = self.commits.remove(0).key;
        self.step([Input::CommitFailed { key, message: message.into(), damaged }]);
    }

    /// Time passes, and these workers live.
    pub(crate) fn live(&mut self, ms: u64, seats: &[&str]) {
        for _ in 0..ms.div_ceil(500) {
            self.now += 500;
            for seat in seats {
                self.beat(seat);
            }
            self.step([]);
        }
    }

    /// Time passes, nothing happens.
    pub(crate) fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now += 100;
            self.step([]);
        }
    }

    /// The coordinator is killed and started again: what it knew is what it recorded.
    pub(crate) fn restart(&mut self) {
        let checkpoints = self.checkpoints.clone();
        let mut past = Past { next_epoch: self.last_epoch + 1, checkpoints, ..Past::default() };
        for record in &self.records {
            match record {
                Record::Shard { key, index, product } => {
                    past.shards.entry(*key).or_default().insert(*index, product.clone());
                }
                Record::Search { key, index, search: Some(search) } => {
                    past.searches.entry(*key).or_default().insert(*index, (**search).clone());
                }
                Record::Search { key, index, search: None } => {
                    past.searches.entry(*key).or_default().remove(index);
                }
                Record::ShardsDropped { key } => {
                    past.shards.remove(key);
                    past.searches.remove(key);
                }
                Record::Stage { key, pending: Some(pending), .. } => {
                    past.pending.insert(*key, (**pending).clone());
                }
                Record::Stage { key, pending: None, .. } => {
                    past.pending.remove(key);
                }
                Record::EpochBegan { epoch, key, shard: None, members } => {
                    let process = |seat: &String| (seat.clone(), self.processes[seat].clone());
                    let members = members.iter().map(process).collect();
                    past.gangs.push(PastGang { epoch: *epoch, key: *key, members });
                }
                Record::Named(named) => past.named.push(named.clone()),
                Record::Doubt { key, doubt: Some(doubt) } => {
                    past.doubts.insert(*key, doubt.clone());
                }
                Record::Doubt { key, doubt: None } => {
                    past.doubts.remove(key);
                }
                Record::EpochEnded { epoch, .. } => past.gangs.retain(|gang| gang.epoch != *epoch),
                _ => {}
            }
        }
        self.commits = past.pending.values().cloned().collect();
        self.state = State::new("run", &self.plan, self.state.gang, &self.store, past);
        self.streams.clear();
        self.carried = std::mem::take(&mut self.work);
        self.now = 0;
    }

    /// Lets so many rows of an inference be left out.
    pub(crate) fn allow_poison(&mut self, rows: usize) {
        for entry in &mut self.state.stages {
            if let Work::Infer(infer) = &mut entry.stage.spec.work {
                infer.poison_rows = rows;
            }
        }
    }

    pub(crate) fn word(&self, name: &str) -> &'static str {
        let entry = self.state.stages.iter().find(|entry| entry.stage.name == name);
        entry.expect("a stage of that name").state().word()
    }

    pub(crate) fn works_on(&self, seat: &str) -> Option<String> {
        let stage: Stage = serde_json::from_str(&self.work.get(seat)?.stage).unwrap();
        Some(stage.name)
    }

    /// Whether something was decided for this reason.
    pub(crate) fn said(&self, part: &str) -> bool {
        self.reasons.iter().any(|reason| reason.contains(part))
    }

    pub(crate) fn step(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let decisions = tick(&mut self.state, self.now, inputs);
        self.reasons.extend(decisions.reasons);
        for action in decisions.actions {
            self.see(action);
        }
        self.check();
    }

    fn see(&mut self, action: Action) {
        match action {
            Action::Record(record) => {
                match &record {
                    Record::EpochBegan { epoch, .. } => {
                        assert!(*epoch > self.last_epoch, "epochs grow");
                        self.last_epoch = *epoch;
                    }
                    Record::EpochEnded { epoch, outcome, .. } if *outcome != "done" => {
                        self.over.insert(*epoch);
                    }
                    _ => {}
                }
                self.records.push(record);
            }
            Action::Send { session, command } => self.hear(session, command),
            Action::Close { .. } => {}
            Action::Keep { checkpoint, kept } => {
                assert!(!self.over.contains(&checkpoint.epoch), "a checkpoint of an epoch that is over");
                self.keeps.push((*checkpoint, kept));
            }
            Action::Discard { epoch, step, .. } => self.discarded.push((epoch, step)),
            Action::Forget(key) => {
                self.checkpoints.remove(&key);
            }
            Action::Commit(manifest) => {
                let epoch = |file: &File| file.path.split('/').nth(2).unwrap().parse::<u64>().unwrap();
                let classes: BTreeSet<_> =
                    manifest.files.iter().map(|file| &self.classes[&epoch(file)]).collect();
                assert!(classes.len() <= 1, "one artifact is made by equals: {classes:?}");
                for epoch in manifest.files.iter().map(epoch) {
                    assert!(
                        !self.over.contains(&epoch),
                        "nothing of epoch {epoch} counts: it was taken back"
                    );
                }
                self.commits.push(*manifest);
            }
        }
    }

    fn hear(&mut self, session: u64, command: Command) {
        let Some((seat, _)) = self.streams.iter().find(|(_, stream)| **stream == session) else { return };
        let seat = seat.clone();
        if let Command::Assignment(assignment) = &command {
            let stage: Stage = serde_json::from_str(&assignment.stage).unwrap();
            assert!(
                self.records.iter().any(
                    |record| matches!(record, Record::EpochBegan { epoch, .. } if *epoch == assignment.epoch)
                ),
                "an assignment is recorded before it is sent"
            );
            for (role, key) in &stage.spec.inputs {
                assert!(self.store.contains_key(key), "{role} of {} stands in the store", stage.name);
                assert!(assignment.inputs.contains_key(role), "{role} travels along");
            }
            self.classes.insert(assignment.epoch, self.state.workers[seat.as_str()].hello.class());
            let before = self.work.insert(seat.clone(), assignment.clone());
            assert!(before.is_none(), "{seat} has one assignment at a time");
        }
        self.sent.push((seat, command));
    }

    /// What holds after every step.
    fn check(&self) {
        let mut holders = BTreeSet::new();
        for entry in &self.state.stages {
            match entry.state() {
                StageState::Gang(gang) => {
                    for seat in &gang.members {
                        let does = self.state.workers.get(seat).map(|worker| worker.state());
                        if does == Some(WorkerState::Working(gang.epoch)) {
                            assert!(holders.insert(seat), "{seat} works on one thing");
                        }
                    }
                }
                StageState::Shards(shards) => {
                    for shard in shards.iter() {
                        let ShardState::Leased(leases) = &shard.state else { continue };
                        assert!((1..=2).contains(&leases.len()));
                        for Lease { epoch, seat, .. } in leases {
                            let does = self.state.workers[seat.as_str()].state();
                            assert_eq!(does, WorkerState::Working(*epoch));
                            assert!(holders.insert(seat), "{seat} works on one thing");
                        }
                    }
                }
                StageState::Done | StageState::Cached => assert!(self.state.made(entry.stage.key).is_some()),
                _ => {}
            }
        }
        assert!(self.state.phase != Phase::Running || self.state.ended.is_none());
        self.state.agenda.check(&self.state.stages, self.state.gang);
        self.state.workers.check();
    }
}

/// A failure of the work itself.
pub(crate) fn fault(retry: bool) -> Failure {
    Failure { message: "out of memory".into(), retry, ..Failure::default() }
}
