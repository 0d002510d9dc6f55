//! The control task: it keeps a stream to the coordinator, obeys it, and watches over the engine thread.
//!
//! The process ends with a code of [`exit`]:
//! [`exit::DONE`] sent home; [`exit::PREEMPTED`] asked to terminate, once a training is in safety; [`exit::MEMBERSHIP`] the engine did not come back
//! from an assignment that was called off, so that only a new process can go on; [`exit::MISMATCH`] refused;
//! [`exit::NO_PROGRESS`] idle and without a coordinator for long.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use fulcrum_common::{
    exit,
    fault::strike,
    protocol::{Assignment, Done, Failed, Hello, command::Command, worker_event::Event},
};
use tokio::sync::mpsc;

use crate::{
    args::Place,
    attempt::{Attempt, told},
    engine::{EngineThread, Fault, Outcome, Product, Task},
    session::{Desk, Session, look},
};

/// How long the engine may take to come back from an assignment that was called off.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// Pauses between attempts to connect grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What a worker needs to know to serve.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the coordinator is found.
    pub(crate) place: Place,
    /// Who this worker is.
    pub(crate) hello: Hello,
    /// This machine's address for its peers; none for that on the way to the coordinator.
    pub(crate) host: Option<IpAddr>,
    /// How long it stays idle without a coordinator.
    pub(crate) patience: Duration,
    /// How long a training may take to keep a checkpoint once the process is asked to end.
    pub(crate) grace: Duration,
}

/// The control task.
#[derive(Debug)]
pub(crate) struct Control {
    config: Config,
    engine: EngineThread,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    /// What the engine says by itself, and the end that it is given.
    asides: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    /// A message asks the process to end.
    terminate: mpsc::Receiver<()>,
    desk: Desk,
    /// The assignment after one that was called off and has not come back yet.
    next: Option<Task>,
    /// Ends of assignments that could not be told.
    untold: Vec<Event>,
    /// The exit code, once the worker is to leave as soon as it is free.
    leaving: Option<i32>,
    /// When the engine must have come back.
    due: Option<Instant>,
    /// When a training that leaves is called off.
    grace: Option<Instant>,
    /// Since when there is neither a coordinator nor work.
    alone: Instant,
}

/// Why a session ended.
enum End {
    Exit(i32),
    Lost(String),
}

impl Control {
    pub(crate) fn new(
        config: Config,
        engine: EngineThread,
        outcomes: mpsc::UnboundedReceiver<Outcome>,
        terminate: mpsc::Receiver<()>,
    ) -> Self {
        Self {
            config,
            engine,
            outcomes,
            asides: mpsc::unbounded_channel(),
            terminate,
            desk: Desk::default(),
            next: None,
            untold: Vec::new(),
            leaving: None,
            due: None,
            grace: None,
            alone: Instant::now(),
        }
    }

    /// Serves until the process is to end; returns its exit code.
    pub(crate) async fn run(mut self) -> i32 {
        let mut pause = PAUSES.0;
        let mut told = String::new();
        loop {
            strike("worker.connect");
            let reason = match Session::open(&self.config.place, &self.config.hello).await {
                Ok(session) => match self.serve(session).await {
                    End::Exit(code) => return code,
                    End::Lost(reason) => {
                        (pause, self.alone) = (PAUSES.0, Instant::now());
                        // The coordinator has taken it back.
                        self.next = None;
                        reason
                    }
                },
                Err(error) => error.to_string(),
            };
            if reason != told {
                tracing::warn!("without a coordinator: {reason}");
                told = reason;
            }
            if let Some(code) = self.wait(pause).await {
                return code;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Waits for a better time to connect; the exit code if there is no sense in it.
    async fn wait(&mut self, pause: Duration) -> Option<i32> {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            outcome = self.outcomes.recv() => self.settle(None, outcome),
            () = due(self.due) => return Some(exit::MEMBERSHIP),
            () = due(self.grace) => self.call_off(None, "the grace is over"),
            _ = self.terminate.recv() => self.terminate(None),
        }
        let free = look(&self.desk).is_none();
        match self.leaving {
            Some(code) if free => Some(code),
            _ if free && self.alone.elapsed() >= self.config.patience => {
                tracing::error!("no coordinator for {:?}: giving up", self.config.patience);
                Some(exit::NO_PROGRESS)
            }
            _ => None,
        }
    }

    /// Obeys the coordinator until the stream or the process ends.
    async fn serve(&mut self, mut session: Session) -> End {
        for event in std::mem::take(&mut self.untold) {
            self.tell(Some(&session), event);
        }
        let announced = look(&self.desk).as_ref().and_then(|attempt| attempt.announced());
        announced.into_iter().for_each(|meeting| self.tell(Some(&session), Event::Rendezvous(meeting)));
        loop {
            tokio::select! {
                command = session.commands.message() => match command {
                    Ok(Some(command)) => {
                        if let Some(code) = self.obey(&mut session, command.command) {
                            return End::Exit(code);
                        }
                    }
                    Ok(None) => return End::Lost("it closed the stream".to_owned()),
                    Err(status) => return End::Lost(status.message().to_owned()),
                },
                outcome = self.outcomes.recv() => self.settle(Some(&session), outcome),
                Some(event) = self.asides.1.recv() => self.tell(Some(&session), event),
                () = due(self.due) => {
                    tracing::error!("the engine did not come back within {ABORT_PATIENCE:?}");
                    return End::Exit(exit::MEMBERSHIP);
                }
                () = due(self.grace) => self.call_off(None, "the grace is over"),
                _ = self.terminate.recv() => self.terminate(Some(&session)),
            }
            if !self.untold.is_empty() {
                return End::Lost("it does not read what it is told".to_owned());
            }
            if let Some(code) = self.leaving
                && look(&self.desk).is_none()
            {
                session.leave().await;
                return End::Exit(code);
            }
        }
    }

    /// Does what the coordinator says; the exit code if that ends the process.
    fn obey(&mut self, session: &mut Session, command: Option<Command>) -> Option<i32> {
        match command? {
            Command::Welcome(welcome) => {
                strike("worker.welcome");
                tracing::info!("joined the run as {}", self.config.hello.worker);
                let period = Duration::from_millis(welcome.heartbeat_ms.clamp(10, 10_000).into());
                session.start_pulse(period, Arc::clone(&self.desk));
            }
            Command::Refused(refused) => {
                tracing::error!("refused by the coordinator: {}", refused.reason);
                return Some(exit::MISMATCH);
            }
            Command::Assignment(assignment) => self.take(session, assignment),
            Command::Rendezvous(meet) => match (meet.address.parse(), look(&self.desk).as_ref()) {
                (Ok(address), Some(attempt)) if attempt.epoch == meet.epoch => attempt.meet_at(address),
                _ => tracing::debug!("ignored a meeting place of epoch {}", meet.epoch),
            },
            Command::Abort(abort) => self.abort(session, abort.epoch, &abort.reason),
            Command::Committed(it) => match look(&self.desk).as_ref() {
                Some(attempt) if attempt.epoch == it.epoch => attempt.committed(it.step),
                _ => {}
            },
            Command::Drain(_) => {
                tracing::info!("sent home");
                self.leaving.get_or_insert(exit::DONE);
                look(&self.desk).iter().for_each(|attempt| attempt.leave());
            }
        }
        None
    }

    /// Takes an assignment: now, or when the engine has come back from the one before.
    fn take(&mut self, session: &Session, assignment: Assignment) {
        let epoch = assignment.epoch;
        match Task::try_from(assignment) {
            Err(fault) => self.tell(Some(session), failed(epoch, fault)),
            Ok(task) if look(&self.desk).is_some() => self.next = Some(task),
            Ok(task) => self.start(session, task),
        }
    }

    fn start(&mut self, session: &Session, task: Task) {
        let part =
            task.shard.map_or_else(String::new, |shard| format!(", rows {}..{}", shard.start, shard.end));
        strike("worker.assigned");
        tracing::info!(
            "epoch {}: {:?}{part}, rank {} of {}",
            task.epoch,
            task.stage.name,
            task.rank,
            task.world
        );
        let host = self.config.host.unwrap_or(session.host);
        let attempt = Attempt::new(task.epoch, task.checkpoints.is_some(), host, self.asides.0.clone());
        *look(&self.desk) = Some(Arc::clone(&attempt));
        self.engine.run(task, attempt);
    }

    fn abort(&mut self, session: &Session, epoch: u64, reason: &str) {
        tracing::info!("epoch {epoch} is called off: {reason}");
        if self.next.as_ref().is_some_and(|task| task.epoch == epoch) {
            self.next = None;
            self.tell(Some(session), failed(epoch, Fault::membership("called off before it began")));
        }
        self.call_off(Some(epoch), reason);
    }

    /// Calls off what is under way, if it is of that epoch.
    fn call_off(&mut self, epoch: Option<u64>, reason: &str) {
        self.grace = None;
        let Some(attempt) = look(&self.desk).clone() else { return };
        if epoch.is_none_or(|epoch| epoch == attempt.epoch) && self.due.is_none() {
            self.due = Some(Instant::now() + ABORT_PATIENCE);
            let reason = reason.to_owned();
            // Breaking a gang's connections may take a moment, which commands and heartbeats do not have.
            tokio::task::spawn_blocking(move || attempt.cancel(&reason));
        }
    }

    /// The process has been asked to end. A training finishes its step and keeps a checkpoint, if it comes to that
    /// within the grace; other work is given up, for what is finished is in the store. Asked again, so is the training.
    fn terminate(&mut self, session: Option<&Session>) {
        tracing::info!("asked to terminate");
        let again = self.leaving.replace(exit::PREEMPTED) == Some(exit::PREEMPTED);
        if let Some(task) = self.next.take() {
            self.tell(session, failed(task.epoch, Fault::membership("its worker was asked to terminate")));
        }
        let attempt = look(&self.desk).clone();
        match attempt {
            Some(attempt) if attempt.keeps && !again => {
                attempt.leave();
                self.grace.get_or_insert_with(|| Instant::now() + self.config.grace);
            }
            _ => self.call_off(None, "the worker was asked to terminate"),
        }
    }

    /// The engine has come back.
    fn settle(&mut self, session: Option<&Session>, outcome: Option<Outcome>) {
        let Some((epoch, result)) = outcome else { return };
        (self.due, self.grace, self.alone) = (None, None, Instant::now());
        let event = match result {
            Ok(product) => done(epoch, product),
            Err(fault) => {
                tracing::warn!("epoch {epoch} failed: {}", fault.message);
                failed(epoch, fault)
            }
        };
        self.tell(session, event);
        if let (Some(task), Some(session)) = (self.next.take(), session) {
            self.start(session, task);
        }
    }

    /// Says something to the coordinator, now or when there is one again. The end of an assignment clears the desk.
    fn tell(&mut self, session: Option<&Session>, event: Event) {
        let mut desk = look(&self.desk);
        let over = match &event {
            Event::Done(Done { epoch, .. }) | Event::Failed(Failed { epoch, .. }) => Some(*epoch),
            _ => None,
        };
        if desk.as_ref().is_some_and(|attempt| Some(attempt.epoch) == over) {
            *desk = None;
        }
        if !session.is_some_and(|session| session.say(event.clone())) {
            self.untold.push(event);
        }
    }
}

fn done(epoch: u64, product: Product) -> Event {
    let files = product.files.into_iter().map(told).collect();
    Event::Done(Done { epoch, files, facts: product.facts.into_iter().collect() })
}

fn failed(epoch: u64, fault: Fault) -> Event {
    let Fault { message, retry, membership, code } = fault;
    Event::Failed(Failed { epoch, message, retry, membership, code: code.unsigned_abs() })
}

/// Comes at that time; never where there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
