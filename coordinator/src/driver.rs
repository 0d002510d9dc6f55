//! The state machine's hands: it reads the clock, writes the journal, sends, commits.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fulcrum_common::{
    Key,
    fault::strike,
    protocol::{self, Command, LEASE_MS, StatusReply},
    store::{Checkpoint, Manifest, Store, StoreError},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

use crate::{
    action::{Action, Decisions},
    input::{Event, Input},
    journal::{Journal, JournalError},
    service::{Ask, Link},
    state::{StageState, State},
    status::status,
    tick::tick,
    told::Told,
};

/// Leases are looked at this often when nothing else happens.
const PULSE: Duration = Duration::from_millis(100);

/// Inputs that one tick takes.
const BATCH: usize = 1024;

/// How long a run that is over answers for its status before the coordinator exits by itself.
const LINGER: Duration = Duration::from_secs(3);

/// Runs the state machine until the run is over.
#[derive(Debug)]
pub(crate) struct Driver {
    state: State,
    journal: Journal,
    store: Store,
    asks: mpsc::Receiver<Ask>,
    /// For what the driver tells itself.
    own: mpsc::Sender<Ask>,
    links: HashMap<u64, Link>,
    /// Streams whose workers do not read.
    clogged: Vec<u64>,
    told: Told,
    start: Instant,
    stop_asked: bool,
    settled: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        state: State,
        journal: Journal,
        store: Store,
        asks: mpsc::Receiver<Ask>,
        own: mpsc::Sender<Ask>,
    ) -> Self {
        Self {
            state,
            journal,
            store,
            asks,
            own,
            links: HashMap::new(),
            clogged: Vec::new(),
            told: Told::default(),
            start: Instant::now(),
            stop_asked: false,
            settled: None,
        }
    }

    /// Runs until the run is over and everybody who works for it or asks about it had time to hear so.
    pub(crate) async fn run(mut self) -> Result<State, JournalError> {
        self.commit_pending();
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_over() {
            let first = tokio::select! {
                ask = self.asks.recv() => ask,
                _ = pulse.tick() => None,
            };
            let (inputs, questions) = self.take(first);
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let decisions = tick(&mut self.state, now, inputs);
            self.perform(decisions)?;
            for question in questions {
                // Whoever asked may have gone.
                let _ = question.send(status(&self.state));
            }
        }
        Ok(self.state)
    }

    /// Everything that has come in by now.
    fn take(&mut self, first: Option<Ask>) -> (Vec<Input>, Vec<oneshot::Sender<StatusReply>>) {
        let clogged = self.clogged.drain(..);
        let mut inputs: Vec<Input> = clogged
            .map(|session| Input::Closed { session, reason: "it does not read its commands".to_owned() })
            .collect();
        let mut questions = Vec::new();
        let mut next = first;
        while let Some(ask) = next {
            match ask {
                Ask::Open { session, link } => {
                    self.links.insert(session, link);
                }
                Ask::Hear(input) => {
                    heard(&input);
                    self.stop_asked |= input == Input::Stop;
                    if let Input::Closed { session, .. } = &input {
                        self.links.remove(session);
                    }
                    inputs.push(input);
                }
                Ask::Status(question) => questions.push(question),
            }
            next = if inputs.len() < BATCH { self.asks.try_recv().ok() } else { None };
        }
        (inputs, questions)
    }

    /// The journal first: what is not on disk is not done.
    fn perform(&mut self, decisions: Decisions) -> Result<(), JournalError> {
        let (records, others, reasons) = decisions.in_order();
        let reasons = self.told.news(reasons, !records.is_empty());
        if !records.is_empty() || !reasons.is_empty() {
            strike("coordinator.journal.before");
            self.journal.write(&records, &reasons)?;
            strike("coordinator.journal.after");
        }
        for reason in &reasons {
            tracing::info!("{reason}");
        }
        for action in others {
            self.act(action);
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Record(_) => {}
            Action::Send { session, command } => {
                let assigns = matches!(command, protocol::command::Command::Assignment(_));
                if assigns {
                    strike("coordinator.assignment.before");
                }
                let command = Command { command: Some(command) };
                if let Some(link) = self.links.get(&session)
                    && link.commands.try_send(Ok(command)).is_err()
                {
                    self.clogged.push(session);
                }
                if assigns {
                    strike("coordinator.assignment.after");
                }
            }
            Action::Close { session } => {
                self.links.remove(&session);
            }
            Action::Commit(manifest) => self.commit(*manifest),
            Action::Keep { checkpoint, kept } => self.keep(checkpoint, kept),
            Action::Forget(key) => self.forget(key),
            Action::Discard { key, epoch, step } => {
                let store = self.store.clone();
                tidy(key, async move || store.discard_checkpoint(key, epoch, step).await);
            }
        }
    }

    /// Commits in the background; the outcome comes back as an input.
    fn commit(&self, manifest: Manifest) {
        let (store, own) = (self.store.clone(), self.own.clone());
        tokio::spawn(async move {
            strike("coordinator.commit.before");
            let committed = store.commit(&manifest).await;
            strike("coordinator.commit.after");
            let input = match committed {
                Ok(standing) => Input::Committed(Box::new(standing)),
                Err(error) => Input::CommitFailed {
                    key: manifest.key,
                    message: error.to_string(),
                    damaged: error.is_damage() || matches!(error, StoreError::Name(_)),
                },
            };
            // Where the driver is gone, the journal still has the manifest.
            let _ = own.send(Ask::Hear(input)).await;
        });
    }

    /// Commits a checkpoint in the background, and removes those that it replaces.
    fn keep(&self, checkpoint: Box<Checkpoint>, mut kept: Vec<Checkpoint>) {
        let (store, own) = (self.store.clone(), self.own.clone());
        tokio::spawn(async move {
            strike("coordinator.checkpoint.before");
            let committed = store.commit_checkpoint(&checkpoint).await;
            strike("coordinator.checkpoint.after");
            let input = match committed {
                Ok(()) => {
                    let key = checkpoint.key;
                    kept.push((*checkpoint).clone());
                    tidy(key, async move || {
                        strike("coordinator.retain");
                        store.retain_checkpoints(key, &kept).await
                    });
                    Input::Kept(checkpoint)
                }
                Err(error) => Input::KeepFailed { checkpoint, message: error.to_string() },
            };
            // Where the driver is gone, the next one finds it in the store.
            let _ = own.send(Ask::Hear(input)).await;
        });
    }

    /// Removes a stage's checkpoints in the background.
    fn forget(&self, key: Key) {
        let store = self.store.clone();
        tidy(key, async move || {
            strike("coordinator.forget");
            store.drop_checkpoints(key).await
        });
    }

    /// Takes up the commits that an earlier coordinator did not live to see.
    fn commit_pending(&self) {
        for entry in &self.state.stages {
            if let StageState::Committing(manifest) = entry.state() {
                tracing::info!("{:?} was made before: committing it", entry.stage.name);
                self.commit((**manifest).clone());
            }
        }
    }

    fn is_over(&mut self) -> bool {
        if !self.state.settled(u64::from(LEASE_MS)) {
            self.settled = None;
            return false;
        }
        let since = *self.settled.get_or_insert_with(Instant::now);
        self.stop_asked || since.elapsed() >= LINGER
    }
}

/// Faults that strike when something is heard, before anything follows from it.
fn heard(input: &Input) {
    match input {
        Input::Worker { event: Event::Hello(_), .. } => strike("coordinator.hello"),
        Input::Worker { event: Event::Rendezvous { .. }, .. } => strike("coordinator.rendezvous"),
        Input::Worker { event: Event::Kept { .. }, .. } => strike("coordinator.share"),
        Input::Worker { event: Event::Done { .. }, .. } => strike("coordinator.done"),
        _ => {}
    }
}

/// Removes old checkpoints off the asynchronous threads, as a folder's disk is waited for. What cannot be removed costs
/// nothing but space.
fn tidy(key: Key, remove: impl AsyncFnOnce() -> Result<(), StoreError> + Send + 'static) {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = runtime.block_on(remove()) {
            tracing::warn!("old checkpoints of {} stay: {error}", key.short());
        }
    });
}
