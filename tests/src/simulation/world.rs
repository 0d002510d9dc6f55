//! Everything there is in a history, and the order in which it happens.

use std::collections::BTreeMap;

use fulcrum_common::{
    exit,
    invariant::{Invariant, uphold},
    protocol::Fell,
    rng::Rng,
};
use fulcrum_coordinator::{Journal, Phase};

use super::{
    Report,
    coordinator::Coordinator,
    gang::Gang,
    process::{Errand, Process},
    scene::Scene,
    store::Store,
    streams::{Down, Stream, Up},
    weather::{Mishap, Weather},
};

/// Once nothing goes wrong any more, a run ends within this.
const PATIENCE_MS: u64 = 1_200_000;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    Mishap(Mishap),
    /// A coordinator starts, unless one is there.
    Boot,
    /// The coordinator of that life looks at what has come in.
    Tick {
        life: u64,
        pulse: bool,
    },
    /// Something that the coordinator asked of the store comes about.
    Stored {
        operation: u64,
    },
    /// The run's user or supervisor starts a worker in a seat.
    Spawn {
        seat: usize,
    },
    /// A process has something to do; one that stands still does it when it is woken.
    Errand {
        seat: usize,
        number: u64,
        errand: Errand,
    },
    /// The gang of an epoch takes a step.
    Step {
        epoch: u64,
    },
    Up {
        session: u64,
        message: Up,
    },
    Down {
        session: u64,
        message: Down,
    },
}

/// A history under way.
pub(super) struct World {
    pub(super) now: u64,
    order: u64,
    pub(super) queue: BTreeMap<(u64, u64), Event>,
    pub(super) rng: Rng,
    pub(super) weather: Weather,
    pub(super) scene: Scene,
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) coordinator: Coordinator,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) next_session: u64,
    /// Until when the worker in a seat reaches nobody.
    pub(super) cut_off: BTreeMap<usize, u64>,
    pub(super) processes: BTreeMap<usize, Process>,
    pub(super) next_process: u64,
    /// What the last process in a seat that died while it computed rows has noted.
    pub(super) fell: BTreeMap<usize, Fell>,
    pub(super) gangs: BTreeMap<u64, Gang>,
    pub(super) report: Report,
    /// What had gone wrong when the present run began.
    began_after: u64,
    aloud: bool,
}

impl World {
    pub(super) fn new(seed: u64, aloud: bool) -> Self {
        let mut rng = Rng::new(seed, "simulation", 0);
        let scene = Scene::new(&mut rng);
        let mut world = Self {
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            rng,
            weather: Weather::new(seed),
            scene,
            store: Store::default(),
            journal: Journal::open(":memory:".as_ref()).expect("memory takes a journal"),
            coordinator: Coordinator::default(),
            streams: BTreeMap::new(),
            next_session: 0,
            cut_off: BTreeMap::new(),
            processes: BTreeMap::new(),
            next_process: 0,
            fell: BTreeMap::new(),
            gangs: BTreeMap::new(),
            report: Report::default(),
            began_after: 0,
            aloud,
        };
        world.begin();
        let (pause, mishap) = world.weather.next();
        world.after(pause, Event::Mishap(mishap));
        world
    }

    /// The run is started, or started again.
    fn begin(&mut self) {
        self.report.runs += 1;
        self.began_after = self.weather.total();
        self.after(1, Event::Boot);
        for seat in 0..self.scene.seats.len() {
            let pause = self.rng.below(300);
            self.after(pause, Event::Spawn { seat });
        }
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    pub(super) fn tell(&self, text: impl FnOnce() -> String) {
        if self.aloud {
            println!("{:>8} ms  {}", self.now, text());
        }
    }

    /// Goes on until the goal is made.
    pub(super) fn run(mut self) -> Report {
        let mut calm_since = None;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.report.happenings += 1;
            self.happen(event);
            if self.now >= self.weather.calm {
                calm_since.get_or_insert(self.now);
            }
            let late = calm_since.is_some_and(|since| self.now - since > PATIENCE_MS);
            uphold(Invariant::RunsEnd, !late, || format!("still running: {}", self.coordinator.says()));
            if let Some(phase) = self.coordinator.over(self.now)
                && self.conclude(phase)
            {
                break;
            }
        }
        self.report.ms = self.now;
        self.report.mishaps = self.weather.seen;
        self.report
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Mishap(mishap) => self.mishap(mishap),
            Event::Boot => self.boot(),
            Event::Tick { life, pulse } => self.look(life, pulse),
            Event::Stored { operation } => self.stored(operation),
            Event::Spawn { seat } => self.spawn(seat),
            Event::Errand { seat, number, errand } => self.run_errand(seat, number, errand),
            Event::Step { epoch } => self.step(epoch),
            Event::Up { session, message } => self.arrive(session, message),
            Event::Down { session, message } => {
                let Some(seat) = self.streams.get(&session).map(|stream| stream.seat) else { return };
                if let Some(process) = self.processes.get(&seat) {
                    let number = process.number;
                    self.run_errand(seat, number, Errand::Hear { session, message });
                }
            }
        }
    }

    /// The coordinator has ended by itself. Whether its run is at its goal; else somebody starts it again.
    fn conclude(&mut self, phase: Phase) -> bool {
        self.tell(|| format!("the run is over: {phase:?}, {}", self.coordinator.says()));
        *self.report.ends.entry(format!("runs that ended {phase:?}")).or_default() += 1;
        self.coordinator.end();
        self.processes.clear();
        self.gangs.clear();
        self.streams.clear();
        self.queue.retain(|_, event| matches!(event, Event::Mishap(_)));
        if let Phase::Failed(code) = phase {
            let wrong = self.weather.total() - self.began_after;
            let honest = match code {
                exit::DIGEST => true,
                exit::NO_PROGRESS | exit::STANDSTILL => wrong >= 3,
                _ => false,
            };
            uphold(Invariant::RunsEnd, honest, || format!("code {code}, and {wrong} mishaps in this run"));
        }
        let repaired = self.store.repair();
        let goal = self.scene.plan.goal().and_then(|goal| self.store.manifest(goal));
        if phase == Phase::Done && repaired == 0 {
            uphold(Invariant::RunsEnd, goal.is_some(), || "it says that it is done, and is not".to_owned());
        }
        if goal.is_none() {
            self.now += 500;
            self.begin();
            return false;
        }
        for manifest in self.store.manifests().values() {
            self.judge(manifest);
        }
        true
    }
}
