//! Simulated workers and a simulated store around the state machine.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Instant,
};

use fulcrum_common::{
    Key,
    plan::{CODE_VERSION, Estimate, Part},
    protocol::{Assignment, HEARTBEAT_MS, PROTOCOL_VERSION, command::Command},
    rng::Rng,
    store::{File, Manifest},
};
use fulcrum_coordinator::{
    Action, Decisions, Event, Failure, Hello, Input, Phase, Progress, Record, State, tick,
};
use serde::Deserialize;

use crate::measure::Times;

/// Milliseconds that a shard takes, from and to.
const SHARD_MS: (u64, u64) = (200, 600);

/// Milliseconds that anything else takes, from and to.
const STAGE_MS: (u64, u64) = (1_000, 3_000);

/// Milliseconds after which a commit stands, a gang has met, and a worker has given something up.
const SOON_MS: u64 = 5;

/// One of so many assignments loses its worker.
const LOSSES: u64 = 2_000;

/// Milliseconds after which a lost worker's seat is taken again.
const AWAY_MS: u64 = 1_000;

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Heartbeat,
    Shard,
    Stage,
    Meeting,
    Commit,
    Loss,
    Join,
}

impl Kind {
    /// The words of the table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Shard => "shard finished, the next one leased",
            Self::Stage => "member of a gang finished, the next gang formed",
            Self::Meeting => "gang meets",
            Self::Commit => "artifact stands, stages become ready",
            Self::Loss => "worker lost, or gave up",
            Self::Join => "worker joins",
        }
    }
}

/// What a decision would write to the journal.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) records: Vec<Record>,
    pub(crate) reasons: Vec<String>,
}

/// What happens. A worker is named by its place, and with a stream or an epoch that may be over by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Join { worker: usize },
    Beat { worker: usize, session: u64 },
    Meet { worker: usize, epoch: u64 },
    End { worker: usize, epoch: u64 },
    Commit { number: u64 },
}

/// A worker: its stream, and what it has been told to do.
#[derive(Default)]
struct Seat {
    session: u64,
    work: Option<Assignment>,
    gives_up: bool,
}

/// What a worker reads of its stage here.
#[derive(Deserialize)]
struct Brief {
    key: Key,
    estimate: Estimate,
}

/// The state machine and everybody whom it tells something.
pub(crate) struct World {
    state: State,
    now: u64,
    seed: u64,
    seats: Vec<Seat>,
    sessions: BTreeMap<u64, usize>,
    queue: BinaryHeap<Reverse<(u64, Happening)>>,
    commits: BTreeMap<u64, Manifest>,
    next: u64,
    times: BTreeMap<Kind, Times>,
    told: Vec<Told>,
    most_told: usize,
}

impl World {
    /// A world in which `workers` workers join one after the other. The first `most_told` decisions about shards are
    /// kept.
    pub(crate) fn new(state: State, workers: usize, seed: u64, most_told: usize) -> Self {
        let mut world = Self {
            state,
            now: 0,
            seed,
            seats: (0..workers).map(|_| Seat::default()).collect(),
            sessions: BTreeMap::new(),
            queue: BinaryHeap::new(),
            commits: BTreeMap::new(),
            next: 1,
            times: BTreeMap::new(),
            told: Vec::new(),
            most_told,
        };
        for worker in 0..workers {
            world.after(worker as u64, Happening::Join { worker });
        }
        world
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Simulated milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// What decisions took, by what they are about.
    pub(crate) fn times(&self) -> impl Iterator<Item = (Kind, &Times)> {
        self.times.iter().map(|(kind, times)| (*kind, times))
    }

    pub(crate) fn into_told(self) -> Vec<Told> {
        self.told
    }

    /// Lets things happen until the run is over.
    ///
    /// # Errors
    /// If it does not end well.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        while self.state.phase == Phase::Running {
            let Some(Reverse((at, happening))) = self.queue.pop() else {
                anyhow::bail!("nothing happens any more")
            };
            self.now = at;
            self.happen(happening);
        }
        anyhow::ensure!(self.state.phase == Phase::Done, "{}", self.state.reason);
        Ok(())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Join { worker } => self.join(worker),
            Happening::Beat { worker, session } if self.seats[worker].session == session => {
                let epoch = self.seats[worker].work.as_ref().map_or(0, |work| work.epoch);
                let progress = Progress { epoch, ..Progress::default() };
                self.after(u64::from(HEARTBEAT_MS), happening);
                self.say(worker, Event::Heartbeat(progress), Kind::Heartbeat);
            }
            Happening::Meet { worker, epoch } if self.works_on(worker, epoch) => {
                self.say(worker, Event::Rendezvous { epoch, address: "127.0.0.1:1".into() }, Kind::Meeting);
            }
            Happening::End { worker, epoch } if self.works_on(worker, epoch) => self.end(worker),
            Happening::Commit { number } => {
                if let Some(manifest) = self.commits.remove(&number) {
                    self.decide(Input::Committed(Box::new(manifest)), Kind::Commit);
                }
            }
            // The worker was lost in between, or does something else by now.
            Happening::Beat { .. } | Happening::Meet { .. } | Happening::End { .. } => {}
        }
    }

    fn works_on(&self, worker: usize, epoch: u64) -> bool {
        self.seats[worker].work.as_ref().is_some_and(|work| work.epoch == epoch)
    }

    fn join(&mut self, worker: usize) {
        let session = self.number();
        self.seats[worker] = Seat { session, ..Seat::default() };
        self.sessions.insert(session, worker);
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            code: CODE_VERSION,
            seat: format!("w{worker}"),
            incarnation: session.to_string(),
            host: "host".into(),
            pid: 1,
            device: "cpu".into(),
            threads: 1,
            fell: None,
            build: None,
            store: None,
        };
        self.say(worker, Event::Hello(hello), Kind::Join);
        self.after(1, Happening::Beat { worker, session });
    }

    /// The worker is through with its assignment: it is done, it is lost, or it has given up.
    fn end(&mut self, worker: usize) {
        let seat = &mut self.seats[worker];
        let (gives_up, session) = (std::mem::take(&mut seat.gives_up), seat.session);
        let Some(work) = seat.work.take() else { return };
        let epoch = work.epoch;
        if gives_up {
            let failure = Failure::membership("given up".into());
            self.say(worker, Event::Failed { epoch, failure }, Kind::Loss);
        } else if Rng::new(self.seed, "loss", epoch).below(LOSSES) == 0 && work.rank == 0 {
            seat.session = 0;
            self.sessions.remove(&session);
            self.after(AWAY_MS, Happening::Join { worker });
            self.decide(Input::Closed { session, reason: "reset".into() }, Kind::Loss);
        } else {
            let kind = if work.shard.is_some() { Kind::Shard } else { Kind::Stage };
            self.say(worker, made(&work), kind);
        }
    }

    fn say(&mut self, worker: usize, event: Event, kind: Kind) {
        self.decide(Input::Worker { session: self.seats[worker].session, event }, kind);
    }

    /// One decision, by the clock.
    fn decide(&mut self, input: Input, kind: Kind) {
        let start = Instant::now();
        let Decisions { actions, reasons } = tick(&mut self.state, self.now, [input]);
        self.times.entry(kind).or_default().add(start.elapsed().as_secs_f64());
        let mut records = Vec::new();
        for action in actions {
            match action {
                Action::Record(record) => records.push(record),
                Action::Send { session, command } => self.hear(session, command),
                Action::Close { .. } | Action::Keep { .. } | Action::Forget(_) => {}
                Action::Discard { .. } => {}
                Action::Commit(manifest) => {
                    let number = self.number();
                    self.commits.insert(number, *manifest);
                    self.after(SOON_MS, Happening::Commit { number });
                }
            }
        }
        if kind == Kind::Shard && self.told.len() < self.most_told {
            self.told.push(Told { records, reasons });
        }
    }

    fn hear(&mut self, session: u64, command: Command) {
        let Some(&worker) = self.sessions.get(&session) else { return };
        match command {
            Command::Assignment(work) => {
                let (epoch, rank) = (work.epoch, work.rank);
                let (from, to) = if work.shard.is_some() { SHARD_MS } else { STAGE_MS };
                // Rank 0 ends last.
                let ms = from + Rng::new(self.seed, "time", epoch).below(to - from) + u64::from(rank == 0);
                if rank == 0 && work.world > 1 {
                    self.after(SOON_MS, Happening::Meet { worker, epoch });
                }
                self.seats[worker].work = Some(work);
                self.after(ms, Happening::End { worker, epoch });
            }
            Command::Abort(abort) if self.works_on(worker, abort.epoch) => {
                self.seats[worker].gives_up = true;
                self.after(SOON_MS, Happening::End { worker, epoch: abort.epoch });
            }
            _ => {}
        }
    }

    fn after(&mut self, ms: u64, happening: Happening) {
        self.queue.push(Reverse((self.now + ms, happening)));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// What a worker says of an assignment that it has finished.
fn made(work: &Assignment) -> Event {
    let brief: Brief = serde_json::from_str(&work.stage).expect("the coordinator sends stages");
    let name = work.shard.map_or("file".to_owned(), |shard| format!("part-{:05}.parquet", shard.index));
    let path = format!("artifacts/{}/{}/{name}", brief.key, work.epoch);
    let file = File { name, path, bytes: 1, digest: Key::of(&work.epoch.to_le_bytes()) };
    let fact = |part: Part, rows: u64| (part.fact(), rows);
    let facts = match work.shard {
        Some(shard) => vec![("rows".to_owned(), shard.end - shard.start)],
        None => vec![
            fact(Part::Corpus, brief.estimate.examples),
            fact(Part::GroundTruth, 2_000),
            fact(Part::WeakLabels, 2_000),
            fact(Part::Test, 1_000),
        ],
    };
    let speaks = work.rank == 0;
    Event::Done {
        epoch: work.epoch,
        files: if speaks { vec![file] } else { Vec::new() },
        facts: if speaks { facts.into_iter().collect() } else { BTreeMap::new() },
    }
}
