//! What happens in a run, told once to all that write it down for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fulcrum_common::protocol::{StageStatus, StatusReply, WorkerStatus};
use serde::Serialize;

use super::{Event, Running, View};

/// A running stage says how far it is no more often than this.
const EVERY: Duration = Duration::from_secs(1);

/// One thing that happened. `docs/watching.md` describes the keys; what is skipped is no key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Happening {
    /// The first of all: so many stages, so many of them made already.
    RunBegan { stages: usize, made: usize },
    /// An attempt at a stage began, `ran` before it was seen.
    StageBegan {
        stage: String,
        kind: String,
        attempt: u32,
        examples: Option<u64>,
        #[serde(skip)]
        ran: Duration,
    },
    /// A running stage got on.
    StageProgress {
        stage: String,
        kind: String,
        done: u64,
        examples: Option<u64>,
        examples_per_second: Option<f64>,
        seconds_left: Option<f64>,
        loss: Option<f64>,
    },
    /// A stage's artifact is in the store.
    StageDone { stage: String, kind: String, seconds: Option<f64> },
    /// An attempt failed. `over`: nothing of the stage runs any more.
    StageFailed {
        stage: String,
        kind: String,
        message: String,
        again: bool,
        #[serde(skip)]
        over: bool,
    },
    /// A worker is there, or another process in its place.
    WorkerCame { worker: String, host: String, device: String, pid: u32 },
    /// A worker left, or was lost.
    WorkerWent { worker: String },
    /// The last of all: the results are in the store.
    RunDone,
    /// The last of all, with the exit code where it is known.
    RunFailed { message: String, exit_code: Option<i32> },
    /// The last of all: the same command goes on from there.
    RunStopped { message: String },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// Its results are in the store.
    Done,
    /// With this message, and this exit code where it is known.
    Failed(&'a str, Option<i32>),
    /// The same command goes on from there.
    Stopped(&'a str),
}

/// What a reply has new.
#[derive(Debug)]
pub(crate) struct News {
    /// For people.
    pub(crate) events: Vec<Event>,
    /// Stages that run.
    pub(crate) running: Vec<Running>,
    /// For programs.
    pub(crate) happenings: Vec<Happening>,
}

/// Finds out what happens, from one reply to the next.
#[derive(Debug)]
pub(crate) struct Happenings {
    /// Stages of the plan.
    stages: usize,
    began: bool,
    view: View,
    failed: BTreeSet<String>,
    /// When each running stage last said how far it is, and how far that was.
    told: BTreeMap<String, (Duration, u64)>,
    /// Processes in the seats that are heard of.
    workers: BTreeMap<String, String>,
}

impl Happenings {
    /// Nothing has happened yet in a run with so many stages.
    pub(crate) fn new(stages: usize) -> Self {
        Self {
            stages,
            began: false,
            view: View::default(),
            failed: BTreeSet::new(),
            told: BTreeMap::new(),
            workers: BTreeMap::new(),
        }
    }

    /// What a reply seen at `now`, which counts from any fixed moment, has new.
    pub(crate) fn update(&mut self, now: Duration, reply: &StatusReply) -> News {
        let made = |stage: &&StageStatus| matches!(stage.state.as_str(), "done" | "cached");
        let mut happenings = Vec::new();
        happenings.extend(self.begin(reply.stages.iter().filter(made).count()));
        self.workers(&reply.workers, &mut happenings);
        let (events, running) = self.view.update(now, reply);
        let stages: BTreeMap<&str, &StageStatus> =
            reply.stages.iter().map(|stage| (stage.name.as_str(), stage)).collect();
        for event in &events {
            let (Event::Began(name) | Event::Done(name, _) | Event::Failed(name, _)) = event;
            happenings.extend(stages.get(name.as_str()).map(|stage| happened(event, stage)));
        }
        for stage in reply.stages.iter().filter(|stage| stage.state == "failed") {
            if self.failed.insert(stage.name.clone()) {
                let StageStatus { name: stage, kind, message, .. } = stage.clone();
                happenings.push(Happening::StageFailed { stage, kind, message, again: false, over: true });
            }
        }
        self.told.retain(|name, _| running.iter().any(|stage| &stage.name == name));
        for stage in &running {
            let status = stages.get(stage.name.as_str());
            happenings.extend(status.and_then(|status| self.progress(now, stage, &status.kind)));
        }
        News { events, running, happenings }
    }

    /// What the end of the run adds.
    pub(crate) fn end(&mut self, end: End<'_>) -> Vec<Happening> {
        // Of a run that is over before anybody looked, everything is there or nothing is known.
        let began = self.begin(if end == End::Done { self.stages } else { 0 });
        let ended = match end {
            End::Done => Happening::RunDone,
            End::Failed(message, exit_code) => {
                Happening::RunFailed { message: message.to_owned(), exit_code }
            }
            End::Stopped(message) => Happening::RunStopped { message: message.to_owned() },
        };
        began.into_iter().chain([ended]).collect()
    }

    /// A measure of what has been achieved that never falls.
    pub(crate) fn reached(&self) -> u64 {
        self.view.reached()
    }

    fn begin(&mut self, made: usize) -> Option<Happening> {
        let began = std::mem::replace(&mut self.began, true);
        (!began).then_some(Happening::RunBegan { stages: self.stages, made })
    }

    /// Who came and who went since the reply before. A process that took the seat of another came, and the other went.
    fn workers(&mut self, workers: &[WorkerStatus], happenings: &mut Vec<Happening>) {
        let here: BTreeMap<&str, &WorkerStatus> = workers
            .iter()
            .filter(|worker| worker.state != "lost")
            .map(|worker| (worker.worker.as_str(), worker))
            .collect();
        let stays = |seat: &String, process: &String| {
            here.get(seat.as_str()).is_some_and(|worker| &worker.incarnation == process)
        };
        let before = std::mem::take(&mut self.workers);
        for (seat, process) in before {
            if stays(&seat, &process) {
                self.workers.insert(seat, process);
            } else {
                happenings.push(Happening::WorkerWent { worker: seat });
            }
        }
        for (seat, worker) in here {
            if self.workers.insert(seat.to_owned(), worker.incarnation.clone()).is_none() {
                let WorkerStatus { worker, host, device, pid, .. } = worker.clone();
                happenings.push(Happening::WorkerCame { worker, host, device, pid });
            }
        }
    }

    /// How far a running stage is, where that is due and it has moved.
    fn progress(&mut self, now: Duration, stage: &Running, kind: &str) -> Option<Happening> {
        let (when, done) = *self.told.entry(stage.name.clone()).or_insert((now, 0));
        if stage.done == done || now < when + EVERY {
            return None;
        }
        self.told.insert(stage.name.clone(), (now, stage.done));
        Some(Happening::StageProgress {
            stage: stage.name.clone(),
            kind: kind.to_owned(),
            done: stage.done,
            examples: known(stage.total),
            examples_per_second: stage.rate,
            seconds_left: stage.left.map(|left| left.as_secs_f64()),
            loss: stage.loss,
        })
    }
}

fn happened(event: &Event, status: &StageStatus) -> Happening {
    let (stage, kind) = (status.name.clone(), status.kind.clone());
    match event {
        Event::Began(_) => Happening::StageBegan {
            stage,
            kind,
            attempt: status.attempts,
            examples: known(status.total),
            ran: Duration::from_millis(status.running_ms),
        },
        Event::Done(_, took) => {
            Happening::StageDone { stage, kind, seconds: took.map(|took| took.as_secs_f64()) }
        }
        Event::Failed(_, message) => Happening::StageFailed {
            stage,
            kind,
            message: message.clone(),
            again: true,
            over: matches!(status.state.as_str(), "waiting" | "ready"),
        },
    }
}

/// A one-off plan does not know its rows beforehand.
fn known(examples: u64) -> Option<u64> {
    (examples > 0).then_some(examples)
}
