//! The control task: it keeps a stream to the coordinator, does its [`Duty`], and watches over the engine thread.
//!
//! The process ends with a code of [`exit`]:
//! [`exit::DONE`] sent home; [`exit::STOPPED`] sent home from a run that may go on another time; [`exit::PREEMPTED`]
//! asked to terminate, once a training is in safety; [`exit::MEMBERSHIP`] the engine did not come back
//! from an assignment that was called off, so that only a new process can go on; [`exit::MISMATCH`] refused;
//! [`exit::NO_PROGRESS`] idle and without a coordinator for long.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use fulcrum_common::{
    duty::{Act, Duty, Work},
    exit,
    fault::strike,
    protocol::{Assignment, Done, Failed, Hello, command::Command, worker_event::Event},
};
use tokio::sync::mpsc;

use crate::{
    args::Place,
    attempt::{Attempt, told},
    black_box::BlackBox,
    engine::{EngineThread, Fault, Outcome, Product, Task},
    session::{ConnectError, Desk, Session, look},
};

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

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// That the process ends.
    End,
    /// What it does.
    Tell,
}

/// The control task.
#[derive(Debug)]
pub(crate) struct Control {
    config: Config,
    engine: EngineThread,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    /// What the engine says by itself, and the end that it is given.
    asides: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    /// What signals ask for.
    signals: mpsc::Receiver<Asked>,
    black_box: BlackBox,
    desk: Desk,
    duty: Duty<Task>,
    /// Where the duty's time begins.
    start: Instant,
}

/// Why a session ended.
enum End {
    Exit(i32),
    Leave(i32),
    Lost(String),
}

impl Control {
    pub(crate) fn new(
        config: Config,
        engine: EngineThread,
        outcomes: mpsc::UnboundedReceiver<Outcome>,
        signals: mpsc::Receiver<Asked>,
    ) -> Self {
        let (asides, desk, duty) = (mpsc::unbounded_channel(), Desk::default(), Duty::new(0));
        let (black_box, start) = (BlackBox::new(config.place.run_folder(), &config.hello), Instant::now());
        Self { config, engine, outcomes, asides, signals, black_box, desk, duty, start }
    }

    /// Serves until the process is to end; returns its exit code.
    pub(crate) async fn run(mut self) -> i32 {
        let mut pause = PAUSES.0;
        let mut told = String::new();
        loop {
            strike("worker.connect");
            let reason = match Session::open(&self.config.place, &self.config.hello).await {
                Ok(mut session) => match self.serve(&mut session).await {
                    End::Exit(code) => return code,
                    End::Leave(code) => {
                        session.leave().await;
                        return code;
                    }
                    End::Lost(reason) => {
                        pause = PAUSES.0;
                        let acts = self.duty.lost(self.now());
                        if let Err(End::Exit(code) | End::Leave(code)) = self.perform(None, acts) {
                            return code;
                        }
                        reason
                    }
                },
                Err(ConnectError::Stranger(reason)) => {
                    tracing::error!("refused by the coordinator: {reason}");
                    return exit::MISMATCH;
                }
                Err(error) => error.to_string(),
            };
            if reason != told {
                tracing::warn!("without a coordinator: {reason}");
                told = reason;
            }
            if let Err(End::Exit(code) | End::Leave(code)) = self.wait(pause).await {
                return code;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Waits for a better time to connect, unless there is no sense in it.
    async fn wait(&mut self, pause: Duration) -> Result<(), End> {
        let wakes = self.wakes();
        let acts = tokio::select! {
            () = tokio::time::sleep(pause) => Vec::new(),
            outcome = self.outcomes.recv() => self.settle(outcome),
            () = due(wakes) => Vec::new(),
            Some(asked) = self.signals.recv() => self.answer(asked),
        };
        self.perform(None, acts)?;
        let acts = self.duty.wake(self.now(), ms(self.config.patience));
        self.perform(None, acts)
    }

    /// Obeys the coordinator until the stream or the process ends.
    async fn serve(&mut self, session: &mut Session) -> End {
        let announced = look(&self.desk).as_ref().and_then(|attempt| attempt.announced());
        let mut acts = self.duty.connected(announced);
        loop {
            if let Err(end) = self.perform(Some(session), acts) {
                return end;
            }
            let wakes = self.wakes();
            acts = tokio::select! {
                command = session.commands.message() => match command {
                    Ok(Some(command)) => self.obey(command.command),
                    Ok(None) => return End::Lost("it closed the stream".to_owned()),
                    Err(status) => return End::Lost(status.message().to_owned()),
                },
                outcome = self.outcomes.recv() => self.settle(outcome),
                Some(event) = self.asides.1.recv() => self.duty.report(self.now(), event),
                () = due(wakes) => self.duty.wake(self.now(), ms(self.config.patience)),
                Some(asked) = self.signals.recv() => self.answer(asked),
            };
        }
    }

    /// What the coordinator says.
    fn obey(&mut self, command: Option<Command>) -> Vec<Act<Task>> {
        match &command {
            Some(Command::Welcome(_)) => {
                strike("worker.welcome");
                tracing::info!("joined the run as {}", self.config.hello.worker);
            }
            Some(Command::Refused(refused)) => {
                tracing::error!("refused by the coordinator: {}", refused.reason);
            }
            Some(Command::Abort(abort)) => {
                tracing::info!("epoch {} is called off: {}", abort.epoch, abort.reason);
            }
            Some(Command::Drain(_)) => tracing::info!("sent home"),
            _ => {}
        }
        let now = self.now();
        command.map(|command| self.duty.hear(now, command)).unwrap_or_default()
    }

    fn answer(&mut self, asked: Asked) -> Vec<Act<Task>> {
        match asked {
            Asked::End => {
                tracing::info!("asked to terminate");
                self.duty.terminate(self.now(), ms(self.config.grace))
            }
            Asked::Tell => {
                look(&self.desk).iter().for_each(|attempt| self.black_box.dump(attempt, "asked by a signal"));
                Vec::new()
            }
        }
    }

    /// The engine has come back.
    fn settle(&mut self, outcome: Option<Outcome>) -> Vec<Act<Task>> {
        let Some((epoch, result)) = outcome else { return Vec::new() };
        // What it said before it came back is told before.
        let mut acts = Vec::new();
        while let Ok(event) = self.asides.1.try_recv() {
            acts.extend(self.duty.report(self.now(), event));
        }
        let event = match result {
            Ok(product) => done(epoch, product),
            Err(fault) => {
                tracing::warn!("epoch {epoch} failed: {}", fault.message);
                let attempt = look(&self.desk).clone();
                attempt.iter().for_each(|attempt| self.black_box.crash(attempt, &fault.message));
                failed(epoch, fault)
            }
        };
        acts.extend(self.duty.report(self.now(), event));
        acts
    }

    /// Does what the duty is.
    fn perform(&mut self, mut session: Option<&mut Session>, acts: Vec<Act<Task>>) -> Result<(), End> {
        if session.is_none() {
            // Nobody is there to be told: what is over leaves the desk all the same.
            drop(self.clear());
        }
        for act in acts {
            let attempt = look(&self.desk).clone();
            match (act, &attempt) {
                (Act::Say(event), _) => self.say(session.as_deref(), event),
                (Act::Pulse(period), _) => {
                    let period = Duration::from_millis(period.into());
                    let desk = Arc::clone(&self.desk);
                    session.iter_mut().for_each(|session| session.start_pulse(period, Arc::clone(&desk)));
                }
                (Act::Start(task), _) => self.begin(session.as_deref(), task),
                (Act::CallOff(call), Some(attempt)) => {
                    // Before its connections break, which would change what it shows.
                    self.black_box.crash(attempt, &call.reason);
                    let attempt = Arc::clone(attempt);
                    // Breaking a gang's connections may take a moment, which commands and heartbeats do not have.
                    tokio::task::spawn_blocking(move || attempt.cancel(&call));
                }
                (Act::Finish, Some(attempt)) => attempt.leave(),
                (Act::Meet(address), Some(attempt)) => match address.parse() {
                    Ok(address) => attempt.meet_at(address),
                    Err(error) => tracing::debug!("ignored the meeting place {address:?}: {error}"),
                },
                (Act::Committed(step), Some(attempt)) => attempt.committed(step),
                (Act::CallOff(_) | Act::Finish | Act::Meet(_) | Act::Committed(_), None) => {}
                (Act::Leave(code), _) => return Err(End::Leave(code)),
                (Act::Exit(code), _) => {
                    match code {
                        exit::MEMBERSHIP => tracing::error!("the engine did not come back in time"),
                        exit::NO_PROGRESS => tracing::error!("no coordinator for {:?}", self.config.patience),
                        _ => {}
                    }
                    return Err(End::Exit(code));
                }
            }
        }
        let unheard = session.is_some() && self.duty.owes();
        if unheard { Err(End::Lost("it does not read what it is told".to_owned())) } else { Ok(()) }
    }

    fn begin(&mut self, session: Option<&Session>, task: Task) {
        let towards = session.map_or(Ipv4Addr::LOCALHOST.into(), |session| session.host);
        let host = self.config.host.unwrap_or(towards);
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
        let attempt = Attempt::new(task.epoch, host, self.asides.0.clone());
        self.black_box.start(&task);
        *look(&self.desk) = Some(Arc::clone(&attempt));
        self.engine.run(task, attempt);
    }

    /// Says something to the coordinator. The end of an assignment clears the desk, under the same lock.
    fn say(&mut self, session: Option<&Session>, event: Event) {
        let desk = self.clear();
        let said = session.is_some_and(|session| session.say(event.clone()));
        drop(desk);
        if !said {
            self.duty.unsaid(event);
        }
    }

    /// Takes from the desk what the duty is not at any more; its lock.
    fn clear(&self) -> MutexGuard<'_, Option<Arc<Attempt>>> {
        let mut desk = look(&self.desk);
        let epoch = self.duty.epoch();
        desk.take_if(|attempt| epoch != Some(attempt.epoch));
        desk
    }

    fn now(&self) -> u64 {
        ms(self.start.elapsed())
    }

    /// When the duty is to be looked at again.
    fn wakes(&self) -> Option<Instant> {
        self.duty.wakes().map(|at| self.start + Duration::from_millis(at))
    }
}

impl Work for Task {
    fn read(assignment: Assignment) -> Result<Self, Failed> {
        let epoch = assignment.epoch;
        Self::try_from(assignment).map_err(|fault| failure(epoch, fault))
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn keeps(&self) -> bool {
        self.checkpoints.is_some()
    }
}

fn done(epoch: u64, product: Product) -> Event {
    let files = product.files.into_iter().map(told).collect();
    Event::Done(Done { epoch, files, facts: product.facts.into_iter().collect() })
}

fn failed(epoch: u64, fault: Fault) -> Event {
    Event::Failed(failure(epoch, fault))
}

fn failure(epoch: u64, fault: Fault) -> Failed {
    let Fault { message, retry, membership, code, row } = fault;
    Failed { epoch, message, retry, membership, code: code.unsigned_abs(), row }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
