//! What goes wrong, and how often: each history has a weather of its own.

use std::collections::BTreeMap;

use fulcrum_common::rng::Rng;

/// Something that goes wrong at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mishap {
    KillWorker,
    PauseWorker,
    TerminateWorker,
    CutStream,
    Partition,
    BreakGang,
    KillCoordinator,
    PauseCoordinator,
    FullDisk,
    LoseFile,
    DamageArtifact,
    DamageCheckpoint,
    StopRun,
}

/// Something that may go wrong at a certain point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// The coordinator dies before it has journalled a decision, after that, or between two messages.
    Decision,
    WorkFails,
    EngineHangs,
    /// Work takes much longer than other work of its kind.
    Straggles,
    /// The engine goes on although it was called off.
    Stubborn,
    CheckpointRefused,
    /// What is said on a stream that is broken already is noticed to be unsaid.
    Unsaid,
}

const MISHAPS: [(Mishap, &str, u64); 13] = [
    (Mishap::KillWorker, "worker killed", 10),
    (Mishap::PauseWorker, "worker stopped, and woken later", 8),
    (Mishap::TerminateWorker, "worker asked to end", 4),
    (Mishap::CutStream, "stream broken", 8),
    (Mishap::Partition, "worker cut off for a while", 6),
    (Mishap::BreakGang, "network of a gang broken", 4),
    (Mishap::KillCoordinator, "coordinator killed", 6),
    (Mishap::PauseCoordinator, "coordinator stopped, and woken later", 4),
    (Mishap::FullDisk, "store refuses to be written", 3),
    (Mishap::LoseFile, "file lost before its commit", 3),
    (Mishap::DamageArtifact, "artifact damaged", 1),
    (Mishap::DamageCheckpoint, "checkpoint damaged", 4),
    (Mishap::StopRun, "run stopped", 1),
];

const POINTS: [(Point, &str, f64); 7] = [
    (Point::Decision, "coordinator killed in the middle of a decision", 0.015),
    (Point::WorkFails, "work failed", 0.03),
    (Point::EngineHangs, "engine hung", 0.01),
    (Point::Straggles, "work slow", 0.05),
    (Point::Stubborn, "engine went on although called off", 0.15),
    (Point::CheckpointRefused, "checkpoint not written", 0.05),
    (Point::Unsaid, "end of work found unsaid", 0.3),
];

/// What goes wrong in one history, until it calms down.
pub(super) struct Weather {
    rng: Rng,
    /// When nothing goes wrong any more.
    pub(super) calm: u64,
    /// Milliseconds between mishaps, on the whole.
    pause: u64,
    /// What is multiplied with the probability of every point.
    roughness: f64,
    /// How often each happened.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "weather", 0);
        let calm = 2_000 + rng.below(90_000);
        let pause = [300, 700, 1_500, 4_000][rng.index(4)];
        let roughness = [0.0, 0.5, 1.0, 2.0][rng.index(4)];
        Self { rng, calm, pause, roughness, seen: BTreeMap::new() }
    }

    /// The next mishap, and in how many milliseconds.
    pub(super) fn next(&mut self) -> (u64, Mishap) {
        let total = MISHAPS.iter().map(|(_, _, weight)| weight).sum();
        let mut ticket = self.rng.below(total);
        let drawn = MISHAPS.iter().find(|(_, _, weight)| match ticket.checked_sub(*weight) {
            Some(rest) => {
                ticket = rest;
                false
            }
            None => true,
        });
        (1 + self.rng.below(2 * self.pause), drawn.map_or(Mishap::KillWorker, |(mishap, ..)| *mishap))
    }

    /// Whether it goes wrong at this point.
    pub(super) fn strikes(&mut self, now: u64, point: Point) -> bool {
        let Some((_, word, chance)) = POINTS.iter().find(|(other, ..)| *other == point) else { return false };
        let strikes = now < self.calm && self.rng.chance(chance * self.roughness);
        if strikes {
            *self.seen.entry(word).or_default() += 1;
        }
        strikes
    }

    /// A mishap has come about.
    pub(super) fn happened(&mut self, mishap: Mishap) {
        let word = MISHAPS.iter().find(|(other, ..)| *other == mishap).map_or("", |(_, word, _)| word);
        *self.seen.entry(word).or_default() += 1;
    }

    /// How much has gone wrong.
    pub(super) fn total(&self) -> u64 {
        self.seen.values().sum()
    }
}
