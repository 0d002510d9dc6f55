//! The processes of a run that are looked after from here, its coordinator, workers or both: started, watched, respawned,
//! stopped.

mod early;
mod policy;
mod programs;
mod ranks;
mod seat;
mod stopping;
mod watcher;

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    num::NonZeroUsize,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use fulcrum_common::{
    exit,
    experiment::Cadence,
    protocol::{CONTACT_FILE, Contact},
    store::Place,
};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::{failure::Failure, progress::Progress, run_folder::RunFolder};
use policy::{Part, Verdict};
use seat::Seat;
use stopping::Step;
use watcher::Watcher;

pub(crate) use early::end_on_signals;
pub(crate) use programs::{Programs, Team};
pub(crate) use ranks::{measure, measure_with};

/// How often the children are looked after.
const TICK: Duration = Duration::from_millis(50);

/// A coordinator that has not answered for so many seconds hangs, unless the variable says another number; 0 for never.
const SILENCE: (&str, u64) = ("FULCRUM_SILENCE_SECONDS", 30);

/// A coordinator elsewhere that owes an answer for so long may have been started again under another address.
const QUIET: Duration = Duration::from_secs(1);

/// Once the run is over its processes have so long to end by themselves.
const GOODBYE: Duration = Duration::from_secs(5);

/// The part of a run that this process looks after.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Its folder, with the plan in it.
    pub(crate) folder: RunFolder,
    /// The coordinator; none where another process looks after it.
    pub(crate) head: Option<Head>,
    /// The workers, or what brings them.
    pub(crate) hands: Vec<Hand>,
}

/// A coordinator to be.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The run's name.
    pub(crate) run: String,
    /// The artifact store.
    pub(crate) store: Place,
    /// Workers of the run, here and elsewhere.
    pub(crate) workers: NonZeroUsize,
    /// Workers per gang; all of them where it is not said.
    pub(crate) gang: Option<NonZeroUsize>,
    /// Fewest workers that a training goes on with; those of a gang where it is not said.
    pub(crate) fewest: Option<NonZeroUsize>,
    /// When trainings keep checkpoints.
    pub(crate) checkpoints: Cadence,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
}

/// A child that is a worker, or that looks after some on another machine.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    /// What it is called.
    pub(crate) name: String,
    /// The command that starts it.
    pub(crate) words: Vec<OsString>,
}

impl Hand {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }
}

/// Looks after the cluster until the run is over, or its workers were all sent home where it has no coordinator. No
/// process is left when this returns, however it returns.
///
/// # Errors
/// A [`Failure`] with the exit code of the contract if the run did not reach its goal, or was stopped.
pub(crate) async fn run(cluster: &Cluster, progress: &mut Progress) -> Result<()> {
    let _listening = early::Listening::begin();
    let mut supervisor = Supervisor::new(cluster)?;
    let mut signals = Signals::listen()?;
    let mut ticks = tokio::time::interval(TICK);
    let end = loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.recv() => supervisor.ask_to_stop(progress),
        }
        if let Some(end) = supervisor.step(progress)? {
            break end;
        }
    };
    supervisor.say_goodbye(end.is_ok()).await?;
    if end.is_ok() && cluster.head.is_some() {
        progress.finish();
    }
    Ok(end?)
}

/// The signals that ask to stop.
pub(crate) struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    /// Takes them over from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(listen);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// The next of them.
    pub(crate) async fn recv(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The running thing.
#[derive(Debug)]
struct Supervisor<'a> {
    cluster: &'a Cluster,
    programs: Programs,
    coordinator: Option<Seat>,
    workers: Vec<Seat>,
    /// Where the coordinator listens, so that workers have somewhere to go to.
    contact: Option<Contact>,
    /// Whether the coordinator has begun to send its workers home.
    ending: bool,
    /// Whether one elsewhere has sent a worker home from a run that may go on.
    was_stopped: bool,
    watcher: Watcher,
    /// How long the coordinator may owe an answer.
    silence: Option<Duration>,
    stopping: Option<Stopping>,
}

#[derive(Debug)]
struct Stopping {
    since: Instant,
    requests: u32,
    step: Step,
}

impl<'a> Supervisor<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let seat = |name: String, part| {
            let log = cluster.folder.log(&name);
            Seat::new(name, part, log)
        };
        if cluster.head.is_some() {
            // What a coordinator that was killed left behind must not be taken for the new one's.
            let _ = fs::remove_file(cluster.folder.path().join(CONTACT_FILE));
        }
        let part = if cluster.head.is_some() { Part::Worker } else { Part::Guest };
        Ok(Self {
            cluster,
            programs: Programs::find()?,
            coordinator: cluster.head.as_ref().map(|_| seat("coordinator".into(), Part::Coordinator)),
            workers: cluster.hands.iter().map(|hand| seat(hand.name.clone(), part)).collect(),
            contact: None,
            ending: false,
            was_stopped: false,
            watcher: Watcher::new(),
            silence: silence()?,
            stopping: None,
        })
    }

    /// Looks after everything once; says how the run ended if it did.
    fn step(&mut self, progress: &mut Progress) -> Result<Option<Result<(), Failure>>> {
        if let Some(reply) = self.watcher.news() {
            progress.update(&reply);
            self.ending = watcher::is_ending(&reply);
        }
        if let Some(end) = self.reap(progress)? {
            return Ok(Some(end));
        }
        if self.stopping.is_some() {
            return Ok(self.go_on_stopping());
        }
        self.start_what_is_due()?;
        self.find_coordinator()?;
        self.end_silence(progress);
        Ok(None)
    }

    /// Kills a coordinator that hangs: the next one takes its gangs back.
    fn end_silence(&mut self, progress: &mut Progress) {
        let silent = self.watcher.silence().filter(|silent| self.silence.is_some_and(|most| *silent > most));
        if let (Some(silent), Some(coordinator)) = (silent, &self.coordinator) {
            progress.note(&format!("coordinator has not answered for {} s, killing it", silent.as_secs()));
            coordinator.signal(Signal::SIGKILL);
            self.watcher.look_at(None);
        }
    }

    fn seats(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.coordinator.iter_mut().chain(&mut self.workers)
    }

    /// Takes note of the dead. The coordinator comes first: its end explains that of its workers.
    fn reap(&mut self, progress: &mut Progress) -> Result<Option<Result<(), Failure>>> {
        let reached = progress.reached();
        let stopping = self.stopping.is_some();
        let (mut coordinator_died, mut was_stopped) = (false, false);
        let mut end = None;
        for seat in self.seats() {
            let Some(death) = seat.reap().with_context(|| format!("cannot watch {}", seat.name))? else {
                continue;
            };
            coordinator_died |= seat.part == Part::Coordinator;
            match seat.record.judge(&seat.name, seat.part, death, reached) {
                Verdict::Finished if seat.part == Part::Guest => {}
                Verdict::Stopped => was_stopped = true,
                Verdict::Finished => end = end.or(Some(Ok(()))),
                // What ends after a request to stop does as it was told.
                _ if stopping => {}
                Verdict::GiveUp(failure) => end = end.or(Some(Err(explained(failure, seat)))),
                Verdict::Respawn(delay) => {
                    if !death.is_sent_home() {
                        progress.note(&format!("{} ended with {death}, starting it again", seat.name));
                    }
                    seat.due = Some(Instant::now() + delay);
                }
            }
        }
        if coordinator_died {
            self.lose_coordinator();
        }
        self.was_stopped |= was_stopped;
        let all_home = || if self.was_stopped { Err(stopped()) } else { Ok(()) };
        Ok(end.or_else(|| self.are_home().then(all_home)))
    }

    /// Whether there is nobody left to look after: the coordinator elsewhere has sent all workers home.
    fn are_home(&self) -> bool {
        let is_home = |seat: &Seat| seat.pid().is_none() && seat.due.is_none();
        self.coordinator.is_none() && self.stopping.is_none() && self.workers.iter().all(is_home)
    }

    fn lose_coordinator(&mut self) {
        (self.contact, self.ending) = (None, false);
        self.watcher.look_at(None);
    }

    /// Starts the children whose time has come; workers only where there is a coordinator to go to.
    fn start_what_is_due(&mut self) -> Result<()> {
        let now = Instant::now();
        let is_due = |seat: &Seat| seat.due.is_some_and(|due| due <= now);
        let head = self.cluster.head.as_ref();
        if let (Some(head), Some(seat)) = (head, self.coordinator.as_mut().filter(|seat| is_due(seat))) {
            seat.start(self.programs.coordinator(&self.cluster.folder, head))?;
        }
        if self.contact.is_some() && !self.ending {
            let hands = self.workers.iter_mut().zip(&self.cluster.hands);
            for (seat, hand) in hands.filter(|(seat, _)| is_due(seat)) {
                seat.start(hand.command())?;
            }
        }
        Ok(())
    }

    /// Learns where the coordinator listens: one that was just started here, or whichever is there elsewhere.
    fn find_coordinator(&mut self) -> Result<()> {
        let read = || Contact::read(self.cluster.folder.path()).ok();
        let found = match &self.coordinator {
            Some(seat) if self.contact.is_none() => {
                seat.pid().and_then(|pid| read().filter(|contact| contact.pid == pid))
            }
            // One elsewhere that is restarted says nothing in between; workers wait for it where they are.
            None if self.is_quiet() => read().filter(|contact| self.contact != Some(*contact)),
            _ => None,
        };
        found.map_or(Ok(()), |contact| self.greet(contact))
    }

    /// Whether no coordinator is known, or the one that is owes an answer.
    fn is_quiet(&self) -> bool {
        self.contact.is_none() || self.watcher.silence().is_some_and(|silent| silent > QUIET)
    }

    fn greet(&mut self, contact: Contact) -> Result<()> {
        self.contact = Some(contact);
        self.ending = false;
        self.watcher.look_at(Some(self.cluster.folder.client(contact.address)?));
        Ok(())
    }

    /// A request to stop: the first is polite, the second is not.
    fn ask_to_stop(&mut self, progress: &mut Progress) {
        match &mut self.stopping {
            Some(stopping) => stopping.requests += 1,
            None => {
                let grace = stopping::GRACE.as_secs();
                progress.note(&format!(
                    "stopping: what runs has {grace} s to finish (Ctrl-C again stops at once)"
                ));
                self.stopping = Some(Stopping { since: Instant::now(), requests: 1, step: Step::Finish });
                // Workers whose coordinator is elsewhere are told themselves.
                match &self.coordinator {
                    Some(coordinator) => coordinator.signal(Signal::SIGTERM),
                    None => self.workers.iter().for_each(|seat| seat.signal(Signal::SIGTERM)),
                }
            }
        }
    }

    /// Goes down the steps as time passes; the end is when nobody is left.
    fn go_on_stopping(&mut self) -> Option<Result<(), Failure>> {
        if self.seats().all(|seat| seat.pid().is_none()) {
            return Some(Err(stopped()));
        }
        // Without a coordinator nobody tells the workers.
        let orphaned = self.coordinator.as_ref().is_some_and(|seat| seat.pid().is_none());
        let stopping = self.stopping.as_mut()?;
        let step = stopping::step(stopping.since.elapsed(), stopping.requests).max(if orphaned {
            Step::GiveUp
        } else {
            Step::Finish
        });
        if step > stopping.step {
            stopping.step = step;
            let signal = if step == Step::Kill { Signal::SIGKILL } else { Signal::SIGTERM };
            self.seats().for_each(|seat| seat.signal(signal));
        }
        None
    }

    /// Waits for the processes to end; whoever stays too long is killed. After a failure they are told to.
    async fn say_goodbye(&mut self, done: bool) -> Result<()> {
        if !done {
            self.seats().for_each(|seat| seat.signal(Signal::SIGTERM));
        }
        let late = Instant::now() + GOODBYE;
        while Instant::now() < late {
            for seat in self.seats() {
                seat.reap()?;
            }
            if self.seats().all(|seat| seat.pid().is_none()) {
                break;
            }
            tokio::time::sleep(TICK).await;
        }
        self.seats().for_each(Seat::kill);
        Ok(())
    }
}

/// How long a coordinator may owe an answer; none for ever.
fn silence() -> Result<Option<Duration>> {
    let (name, usual) = SILENCE;
    let seconds = match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is {text:?}: set it to whole seconds"))?,
        Err(_) => usual,
    };
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn stopped() -> Failure {
    Failure::new(exit::PREEMPTED, "stopped: what is finished is kept, the same command goes on from there")
}

/// The reason that the child itself gave is better than its exit code.
fn explained(mut failure: Failure, seat: &Seat) -> Failure {
    let log = seat.log().display();
    failure.message = match (seat.part, seat.last_error()) {
        (Part::Coordinator, Some(reason)) => format!("{reason} (log: {log})"),
        (Part::Worker | Part::Guest, Some(reason)) => format!("{}: {reason} (log: {log})", failure.message),
        (_, None) => format!("{}, see {log}", failure.message),
    };
    failure
}
