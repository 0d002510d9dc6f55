//! A coordinator and its workers on this machine: started, watched, respawned, stopped.

mod policy;
mod programs;
mod ranks;
mod seat;
mod stopping;
mod watcher;

use std::{
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use fulcrum_common::{
    exit,
    experiment::Cadence,
    protocol::{CONTACT_FILE, Contact},
};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::{client::Client, devices::Devices, failure::Failure, progress::Progress, run_folder::RunFolder};
use policy::{Death, Part, Verdict};
use programs::Programs;
use seat::Seat;
use stopping::Step;
use watcher::Watcher;

pub(crate) use ranks::measure;

/// How often the children are looked after.
const TICK: Duration = Duration::from_millis(50);

/// A coordinator that has not answered for so many seconds hangs, unless the variable says another number; 0 for never.
const SILENCE: (&str, u64) = ("FULCRUM_SILENCE_SECONDS", 30);

/// Once the run is over its processes have so long to end by themselves.
const GOODBYE: Duration = Duration::from_secs(5);

/// What is to be run on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// The run's name.
    pub(crate) run: String,
    /// Its folder, with the plan in it.
    pub(crate) folder: RunFolder,
    /// The artifact store.
    pub(crate) store: PathBuf,
    /// How many workers.
    pub(crate) workers: NonZeroUsize,
    /// Workers per gang; all of them where it is not said.
    pub(crate) gang: Option<NonZeroUsize>,
    /// Fewest workers that a training goes on with; those of a gang where it is not said.
    pub(crate) fewest: Option<NonZeroUsize>,
    /// When trainings keep checkpoints.
    pub(crate) checkpoints: Cadence,
    /// Threads per worker.
    pub(crate) threads: NonZeroUsize,
    /// What they compute on.
    pub(crate) devices: Devices,
}

/// Runs the plan in the cluster's folder to its end. No process is left when this returns, however it returns.
///
/// # Errors
/// A [`Failure`] with the exit code of the contract if the run did not reach its goal, or was stopped.
pub(crate) async fn run(cluster: &Cluster, progress: &mut Progress) -> Result<()> {
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
    if end.is_ok() {
        progress.finish();
    }
    Ok(end?)
}

/// The signals that ask to stop.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(listen);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// The next of them.
    async fn recv(&mut self) {
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
    coordinator: Seat,
    workers: Vec<Seat>,
    /// Whether the coordinator listens, so that workers have somewhere to go to.
    listening: bool,
    /// Whether the coordinator has begun to send its workers home.
    ending: bool,
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
        // What a coordinator that was killed left behind must not be taken for the new one's.
        let _ = fs::remove_file(cluster.folder.path().join(CONTACT_FILE));
        Ok(Self {
            cluster,
            programs: Programs::find()?,
            coordinator: seat("coordinator".into(), Part::Coordinator),
            workers: (0..cluster.workers.get()).map(|i| seat(format!("w{i}"), Part::Worker)).collect(),
            listening: false,
            ending: false,
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
        if let Some(silent) = silent {
            progress.note(&format!("coordinator has not answered for {} s, killing it", silent.as_secs()));
            self.coordinator.signal(Signal::SIGKILL);
            self.watcher.look_at(None);
        }
    }

    fn seats(&mut self) -> impl Iterator<Item = &mut Seat> {
        [&mut self.coordinator].into_iter().chain(&mut self.workers)
    }

    /// Takes note of the dead. The coordinator comes first: its end explains that of its workers.
    fn reap(&mut self, progress: &mut Progress) -> Result<Option<Result<(), Failure>>> {
        let reached = progress.reached();
        let stopping = self.stopping.is_some();
        let mut coordinator_died = false;
        let mut end = None;
        for seat in self.seats() {
            let Some(death) = seat.reap().with_context(|| format!("cannot watch {}", seat.name))? else {
                continue;
            };
            coordinator_died |= seat.part == Part::Coordinator;
            match seat.record.judge(&seat.name, seat.part, death, reached) {
                Verdict::Finished => end = end.or(Some(Ok(()))),
                // What ends after a request to stop does as it was told.
                _ if stopping => {}
                Verdict::GiveUp(failure) => end = end.or(Some(Err(explained(failure, seat)))),
                Verdict::Respawn(delay) => {
                    if death != Death::Code(exit::DONE) {
                        progress.note(&format!("{} ended with {death}, starting it again", seat.name));
                    }
                    seat.due = Some(Instant::now() + delay);
                }
            }
        }
        if coordinator_died {
            self.listening = false;
            self.ending = false;
            self.watcher.look_at(None);
        }
        Ok(end)
    }

    /// Starts the children whose time has come; workers only where there is a coordinator to go to.
    fn start_what_is_due(&mut self) -> Result<()> {
        let now = Instant::now();
        let is_due = |seat: &Seat| seat.due.is_some_and(|due| due <= now);
        if is_due(&self.coordinator) {
            self.coordinator.start(self.programs.coordinator(self.cluster))?;
        }
        if self.listening && !self.ending {
            for (number, seat) in self.workers.iter_mut().enumerate().filter(|(_, seat)| is_due(seat)) {
                seat.start(self.programs.worker(self.cluster, &seat.name, number))?;
            }
        }
        Ok(())
    }

    /// Learns where a coordinator that was just started listens.
    fn find_coordinator(&mut self) -> Result<()> {
        if self.listening || self.coordinator.pid().is_none() {
            return Ok(());
        }
        let Ok(contact) = Contact::read(self.cluster.folder.path()) else { return Ok(()) };
        if Some(contact.pid) == self.coordinator.pid() {
            self.listening = true;
            self.watcher.look_at(Some(Client::new(contact.address)?));
        }
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
                self.coordinator.signal(Signal::SIGTERM);
            }
        }
    }

    /// Goes down the steps as time passes; the end is when nobody is left.
    fn go_on_stopping(&mut self) -> Option<Result<(), Failure>> {
        if self.seats().all(|seat| seat.pid().is_none()) {
            return Some(Err(stopped()));
        }
        // Without a coordinator nobody tells the workers.
        let orphaned = self.coordinator.pid().is_none();
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
        (Part::Worker, Some(reason)) => format!("{}: {reason} (log: {log})", failure.message),
        (_, None) => format!("{}, see {log}", failure.message),
    };
    failure
}
