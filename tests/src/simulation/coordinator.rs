//! The coordinator's process around the real state machine and journal: it may be killed between any two of its acts.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    Key,
    experiment::Cadence,
    invariant::{Invariant, uphold},
    plan::rows_left_out,
    protocol::{LEASE_MS, WorkerEvent, command::Command, worker_event},
    store::{Checkpoint, Manifest},
};
use fulcrum_coordinator::{Action, Input, Past, Phase, Record, StageState, State, read_event, recover, tick};

use super::{
    piece,
    store::Refused,
    streams::{Down, Up},
    weather::Point,
    world::{Event, World},
};

/// How often it looks when nothing comes in.
const PULSE_MS: u64 = 100;

/// How long a run that is over waits for its workers to hear so.
const LINGER_MS: u64 = 3_000;

/// A worker that does not get on for so long loses its work.
const STALL_MS: u64 = 6_000;

/// The process, or that none is there.
#[derive(Default)]
pub(super) struct Coordinator {
    /// Which start of it this is.
    pub(super) life: u64,
    state: Option<State>,
    began: u64,
    inbox: Vec<Input>,
    looks: bool,
    /// Until when it stands still.
    pub(super) stopped: u64,
    settled: Option<u64>,
    operations: BTreeMap<u64, Operation>,
    next_operation: u64,
    /// Epochs that ended without a result: nothing made in them counts.
    over: BTreeSet<u64>,
}

/// What is asked of the store.
#[derive(Debug)]
enum Operation {
    Commit(Box<Manifest>),
    Keep(Box<Checkpoint>, Vec<Checkpoint>),
    Forget(Key),
}

/// Where it is killed in a decision.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doom {
    BeforeJournal,
    Before(usize),
}

impl Coordinator {
    pub(super) fn is_up(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn is_over(&self, epoch: u64) -> bool {
        self.over.contains(&epoch)
    }

    pub(super) fn says(&self) -> String {
        let Some(state) = &self.state else { return "no coordinator".to_owned() };
        let words: Vec<_> =
            state.stages.iter().map(|it| format!("{:?} {}", it.stage.name, it.state().word())).collect();
        format!("{}; {}", state.reason, words.join(", "))
    }

    /// How the run ended, once nobody is waited for any more.
    pub(super) fn over(&mut self, now: u64) -> Option<Phase> {
        let state = self.state.as_ref()?;
        if !state.settled(u64::from(LEASE_MS)) {
            self.settled = None;
            return None;
        }
        let since = *self.settled.get_or_insert(now);
        (now - since >= LINGER_MS).then_some(state.phase)
    }

    /// The process is gone.
    pub(super) fn end(&mut self) {
        self.life += 1;
        self.state = None;
        self.inbox.clear();
        (self.looks, self.settled) = (false, None);
        self.operations.clear();
    }
}

impl World {
    /// A coordinator starts, and takes up what it finds.
    pub(super) fn boot(&mut self) {
        if self.coordinator.is_up() {
            return;
        }
        let mut past = recover(&self.journal).expect("the journal can be read");
        if self.coordinator.life == 0 {
            // The journal draws a first epoch where it is new; a history has its own.
            past.next_epoch = 1 + 1_000 * self.rng.below(1_000);
        }
        past = Past { checkpoints: self.store.found(), ..past };
        let mut state =
            State::new("simulated", &self.scene.plan, self.scene.gang, self.store.manifests(), past);
        state.cadence = Cadence { steps: self.scene.every, seconds: 0, verify_steps: 0 };
        (state.fewest, state.stall) = (self.scene.fewest, STALL_MS);
        self.journal.begin(&state).expect("the journal takes it");
        let open = state.stages.iter().filter_map(|entry| match entry.state() {
            StageState::Committing(manifest) => Some(Operation::Commit(manifest.clone())),
            _ => None,
        });
        let open: Vec<_> = open.collect();
        self.coordinator.state = Some(state);
        (self.coordinator.began, self.coordinator.stopped) = (self.now, 0);
        self.tell(|| "a coordinator starts".to_owned());
        open.into_iter().for_each(|operation| self.ask(operation));
        self.after(1, Event::Tick { life: self.coordinator.life, pulse: true });
    }

    /// Kills it: of what it asked of the store some is done, and nobody hears so.
    pub(super) fn kill_coordinator(&mut self) {
        self.tell(|| "the coordinator is killed".to_owned());
        let life = self.coordinator.life;
        for operation in std::mem::take(&mut self.coordinator.operations).into_values() {
            if self.rng.chance(0.5) {
                self.store_it(operation);
            }
        }
        let sessions: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.life == life)
            .map(|(session, _)| *session)
            .collect();
        for session in sessions {
            let heard = self.rng.chance(0.5);
            self.cut(session, heard);
        }
        self.coordinator.end();
        let pause = 200 + self.rng.below(3_000);
        self.after(pause, Event::Boot);
    }

    /// Something arrives at the coordinator.
    pub(super) fn arrive(&mut self, session: u64, message: Up) {
        let Some(stream) = self.streams.get(&session) else { return };
        if stream.life != self.coordinator.life || !self.coordinator.is_up() {
            return;
        }
        let input = match message {
            Up::End => Input::Closed { session, reason: "reset".to_owned() },
            Up::Say(said) => match read_event(WorkerEvent { event: Some(said) }) {
                Ok(event) => Input::Worker { session, event },
                Err(error) => panic!("a worker says what is not acceptable: {error}"),
            },
        };
        self.feed(input);
    }

    /// It will hear this when it looks next.
    pub(super) fn feed(&mut self, input: Input) {
        self.coordinator.inbox.push(input);
        if !std::mem::replace(&mut self.coordinator.looks, true) {
            let pause = self.rng.below(3);
            self.after(pause, Event::Tick { life: self.coordinator.life, pulse: false });
        }
    }

    /// It looks at what has come in, decides, and acts.
    pub(super) fn look(&mut self, life: u64, pulse: bool) {
        if life != self.coordinator.life {
            return;
        }
        if self.now < self.coordinator.stopped {
            let woken = self.coordinator.stopped;
            return self.at(woken, Event::Tick { life, pulse });
        }
        if pulse {
            self.after(PULSE_MS, Event::Tick { life, pulse });
        } else {
            self.coordinator.looks = false;
        }
        let inputs = std::mem::take(&mut self.coordinator.inbox);
        let now = self.now - self.coordinator.began;
        let Some(state) = &mut self.coordinator.state else { return };
        let (records, actions, reasons) = tick(state, now, inputs).in_order();
        self.report.decisions += 1;
        self.report.copies += reasons.iter().filter(|reason| reason.contains(", too: ")).count() as u64;
        reasons.iter().for_each(|reason| self.tell(|| format!("  {reason}")));
        let doom = self.doom(records.len(), actions.len());
        if doom == Some(Doom::BeforeJournal) {
            return self.kill_coordinator();
        }
        if !records.is_empty() {
            self.journal.write(&records, &[]).expect("the journal takes it");
            records.iter().for_each(|record| self.note(record));
        }
        for (place, action) in actions.into_iter().enumerate() {
            if doom == Some(Doom::Before(place)) {
                return self.kill_coordinator();
            }
            self.act(action);
        }
    }

    fn doom(&mut self, records: usize, actions: usize) -> Option<Doom> {
        if records == 0 || !self.weather.strikes(self.now, Point::Decision) {
            return None;
        }
        Some(match self.rng.index(actions + 1) {
            0 => Doom::BeforeJournal,
            place => Doom::Before(place - 1),
        })
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::EpochBegan { .. } => self.report.epochs += 1,
            Record::EpochEnded { epoch, outcome, .. } if *outcome != "done" => {
                self.coordinator.over.insert(*epoch);
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Record(_) => {}
            Action::Send { session, command } => {
                if let Command::Assignment(work) = &command {
                    let made = self.store.manifest(piece::key(work)).is_some();
                    uphold(Invariant::FinishedStaysFinished, !made, || {
                        format!("epoch {} is of a stage that stands in the store", work.epoch)
                    });
                }
                self.send_down(session, Down::Command(Box::new(command)));
            }
            Action::Close { session } => {
                self.send_down(session, Down::End);
                if let Some(stream) = self.streams.get_mut(&session) {
                    stream.closed = true;
                }
            }
            Action::Commit(manifest) => self.ask(Operation::Commit(manifest)),
            Action::Keep { checkpoint, kept } => self.ask(Operation::Keep(checkpoint, kept)),
            Action::Forget(key) => self.ask(Operation::Forget(key)),
            // Its store has no shares without a checkpoint.
            Action::Discard { .. } => {}
        }
    }

    fn ask(&mut self, operation: Operation) {
        if let Operation::Commit(manifest) = &operation {
            self.judge(manifest);
        }
        self.coordinator.next_operation += 1;
        let number = self.coordinator.next_operation;
        self.coordinator.operations.insert(number, operation);
        let pause = 1 + self.rng.below(50);
        self.after(pause, Event::Stored { operation: number });
    }

    /// The store has done what it was asked for.
    pub(super) fn stored(&mut self, operation: u64) {
        let Some(operation) = self.coordinator.operations.remove(&operation) else { return };
        if let Some(input) = self.store_it(operation) {
            self.feed(input);
        }
    }

    fn store_it(&mut self, operation: Operation) -> Option<Input> {
        match operation {
            Operation::Commit(manifest) => Some(match self.store.commit(&manifest, self.now) {
                Ok(standing) => {
                    self.report.artifacts += 1;
                    self.report.left_out +=
                        rows_left_out(&standing.facts).map_or(0, |rows| rows.len() as u64);
                    self.store.check(&standing);
                    Input::Committed(Box::new(standing))
                }
                Err(Refused { message, damaged }) => {
                    Input::CommitFailed { key: manifest.key, message, damaged }
                }
            }),
            Operation::Keep(checkpoint, mut kept) => {
                if let Err(message) = self.store.commit_checkpoint(&checkpoint, self.now) {
                    return Some(Input::KeepFailed { checkpoint, message });
                }
                self.report.checkpoints += 1;
                self.judge_checkpoint(&checkpoint);
                kept.push((*checkpoint).clone());
                self.store.retain(checkpoint.key, &kept);
                Some(Input::Kept(checkpoint))
            }
            Operation::Forget(key) => {
                self.store.forget(key);
                None
            }
        }
    }

    /// A manifest holds what its stage must give, made in epochs that count.
    pub(super) fn judge(&self, manifest: &Manifest) {
        let (oracle, name) = (&self.scene.oracle, &manifest.name);
        uphold(Invariant::OneResultPerShard, manifest.files.len() == oracle.count(manifest.key), || {
            format!(
                "{name:?} has {} files, and must have {}",
                manifest.files.len(),
                oracle.count(manifest.key)
            )
        });
        let left_out = rows_left_out(&manifest.facts);
        let poison = self.scene.poison.get(&manifest.key);
        let poison: BTreeSet<i64> = poison.into_iter().flatten().map(|(row, _)| *row as i64).collect();
        uphold(Invariant::OnlyPoisonLeftOut, left_out.as_ref() == Ok(&poison), || {
            format!("{name:?} lacks {left_out:?}, and {poison:?} cannot be computed")
        });
        for (place, file) in manifest.files.iter().enumerate() {
            let epoch = file.path.split('/').nth(2).and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
            uphold(Invariant::CurrentEpochCounts, !self.coordinator.is_over(epoch), || {
                format!("{} of {name:?} was made in an epoch that was taken back", file.path)
            });
            // What is lost or damaged is found by those who read it.
            if let (Some(found), expected) = (self.store.read(file), oracle.file(manifest.key, place)) {
                uphold(Invariant::BytesOfThePlan, Some(found) == expected, || {
                    format!("{} of {name:?}", file.path)
                });
            }
        }
    }

    fn judge_checkpoint(&self, checkpoint: &Checkpoint) {
        let Checkpoint { key, step, world, files, .. } = checkpoint;
        uphold(Invariant::WholeCheckpoint, files.len() as u64 == *world, || {
            format!("{} files of {world} ranks after step {step}", files.len())
        });
        let expected = self.scene.oracle.value(*key, *step);
        for found in files.iter().filter_map(|file| self.store.read(file)) {
            uphold(Invariant::BytesOfThePlan, Some(found) == expected, || {
                format!("the checkpoint after step {step}")
            });
        }
    }

    /// Whatever a worker could say.
    pub(super) fn say(&mut self, session: u64, said: worker_event::Event) {
        self.send_up(session, Up::Say(said));
    }
}
