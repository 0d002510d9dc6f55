//! Gangs in step, what they keep of it, and everything that goes wrong at any time.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    Key,
    protocol::{Kept, NotKept, Rendezvous, worker_event::Event as Said},
};
use fulcrum_coordinator::Input;

use super::{
    piece::Piece,
    process::{Errand, failed},
    scene,
    weather::{Mishap, Point},
    world::{Event, World},
};

/// How long a training that leaves waits for its last checkpoint.
const COMMIT_MS: u64 = 3_000;

/// Workers in lockstep on one training.
pub(super) struct Gang {
    /// Seats by rank.
    members: BTreeMap<usize, usize>,
    /// Ranks that have found each other.
    met: BTreeSet<usize>,
    world: usize,
    step: u64,
    /// What the training is after so many steps; none before it has begun.
    value: Option<Key>,
    /// Its members are not connected any more, or at its end.
    broken: bool,
}

impl World {
    /// A rank begins. Rank 0 opens a meeting point, the others wait to hear of it.
    pub(super) fn join(&mut self, seat: usize) {
        let Some(piece) = self.piece(seat) else { return };
        let (met, members) = (BTreeSet::new(), BTreeMap::new());
        let fresh = Gang { members, met, world: piece.world, step: 0, value: None, broken: false };
        let gang = self.gangs.entry(piece.epoch).or_insert(fresh);
        gang.members.insert(piece.rank, seat);
        if piece.rank == 0 {
            let pause = 10 + self.rng.below(150);
            self.errand(seat, pause, Errand::Announce { epoch: piece.epoch });
        }
    }

    fn piece(&self, seat: usize) -> Option<Piece> {
        self.processes.get(&seat)?.engine.piece.clone()
    }

    /// Rank 0 says where its gang meets.
    pub(super) fn announce(&mut self, seat: usize, epoch: u64) -> Option<Rendezvous> {
        let engine = &mut self.processes.get_mut(&seat)?.engine;
        engine.piece.as_ref().filter(|piece| piece.epoch == epoch)?;
        let meeting = Rendezvous { epoch, address: format!("simulated:{}", 1 + epoch % 60_000) };
        engine.announced = Some(meeting.clone());
        self.meet(seat);
        Some(meeting)
    }

    /// A rank knows where its gang meets. Once all do it begins.
    pub(super) fn meet(&mut self, seat: usize) {
        let Some(piece) = self.piece(seat) else { return };
        let Some(gang) = self.gangs.get_mut(&piece.epoch) else { return };
        let news = gang.met.insert(piece.rank);
        if gang.broken {
            self.break_gang(piece.epoch, None, "nobody is there");
        } else if news && gang.met.len() == gang.world {
            self.after(20, Event::Step { epoch: piece.epoch });
        }
    }

    /// The gang takes a step, if all its members are there and well.
    pub(super) fn step(&mut self, epoch: u64) {
        let Some(gang) = self.gangs.get(&epoch).filter(|gang| !gang.broken) else { return };
        let members: Vec<usize> = gang.members.values().copied().collect();
        let woken = members.iter().filter_map(|seat| self.processes.get(seat)).map(|it| it.stopped).max();
        if let Some(woken) = woken.filter(|woken| *woken > self.now) {
            return self.at(woken, Event::Step { epoch });
        }
        let Some(piece) = self.piece(members[0]) else { return };
        if gang.value.is_none() {
            self.restore(&piece);
        } else if self.weather.strikes(self.now, Point::WorkFails) {
            return self.fail_one(epoch, &members);
        } else if self.weather.strikes(self.now, Point::EngineHangs) {
            let hung = members[self.rng.index(members.len())];
            self.processes.entry(hung).and_modify(|process| process.engine.hung = true);
            return;
        } else if let Some(gang) = self.gangs.get_mut(&epoch) {
            gang.step += 1;
            gang.value = gang.value.map(scene::grow);
        }
        self.after_step(&piece, &members);
    }

    /// What follows a step: a checkpoint, an end, another step.
    fn after_step(&mut self, piece: &Piece, members: &[usize]) {
        let epoch = piece.epoch;
        let Some(Gang { step, value: Some(value), .. }) = self.gangs.get(&epoch) else { return };
        let (step, value) = (*step, *value);
        for seat in members {
            self.processes.entry(*seat).and_modify(|process| process.engine.progress = step);
        }
        let leaves = members.iter().filter_map(|seat| self.processes.get(seat)).any(|it| it.engine.leaving);
        if step >= scene::steps(piece.key) {
            return self.complete(epoch, value);
        }
        if step > 0 && (leaves || (piece.every > 0 && step % piece.every == 0)) {
            for seat in members {
                let Some(piece) = self.piece(*seat) else { continue };
                let pause = 5 + self.rng.below(250);
                self.errand(*seat, pause, Errand::Keep { piece: Box::new(piece), step, value });
            }
        }
        if leaves && step > 0 {
            let until = self.now + COMMIT_MS;
            self.gangs.entry(epoch).and_modify(|gang| gang.broken = true);
            members.iter().for_each(|seat| self.errand(*seat, 20, Errand::Left { epoch, step, until }));
            return;
        }
        let pause = 20 + self.rng.below(150);
        self.after(pause, Event::Step { epoch });
    }

    /// Goes on from the newest checkpoint that all can read.
    fn restore(&mut self, piece: &Piece) {
        let past = piece.past.iter().flatten();
        let readable = |files: &[fulcrum_common::store::File]| {
            files.iter().map(|file| self.store.read(file)).collect::<Option<Vec<_>>>()
        };
        let found = past.filter_map(|it| Some((it.step, *readable(&it.files)?.first()?))).next();
        let from = found.or_else(|| Some((0, piece.first(&self.store)?)));
        self.report.resumed += u64::from(found.is_some());
        if let (Some((step, value)), Some(gang)) = (from, self.gangs.get_mut(&piece.epoch)) {
            (gang.step, gang.value) = (step, Some(value));
        }
    }

    /// A rank's share of a checkpoint is durable, or could not be written.
    pub(super) fn keep(&mut self, piece: &Piece, step: u64, value: Key) -> Said {
        let epoch = piece.epoch;
        if self.weather.strikes(self.now, Point::CheckpointRefused) {
            return Said::NotKept(NotKept { epoch, step, message: "no space left".to_owned() });
        }
        Said::Kept(Kept { epoch, step, files: piece.keep(&mut self.store, step, value), copy: None })
    }

    /// A training that leaves does so once its checkpoint is committed, or does not come about.
    pub(super) fn left(&mut self, seat: usize, epoch: u64, step: u64, until: u64) {
        let Some(process) = self.processes.get(&seat) else { return };
        if process.engine.piece.as_ref().is_none_or(|piece| piece.epoch != epoch) {
            return;
        }
        if process.engine.committed < step && self.now < until {
            return self.errand(seat, 50, Errand::Left { epoch, step, until });
        }
        self.errand(seat, 0, Errand::Back { epoch, said: failed(epoch, "left", (true, true), 0) });
    }

    fn complete(&mut self, epoch: u64, value: Key) {
        let Some(gang) = self.gangs.get_mut(&epoch) else { return };
        gang.broken = true;
        for (rank, seat) in gang.members.clone() {
            let Some(piece) = self.piece(seat).filter(|piece| piece.epoch == epoch) else { continue };
            if rank == 0 {
                self.made(seat, &piece, value);
            } else {
                let said = Said::Done(fulcrum_common::protocol::Done { epoch, ..Default::default() });
                let pause = self.rng.below(100);
                self.errand(seat, pause, Errand::Back { epoch, said });
            }
        }
    }

    /// One member fails by itself. The others may tell so first.
    fn fail_one(&mut self, epoch: u64, members: &[usize]) {
        let seat = members[self.rng.index(members.len())];
        let pause = self.rng.below(100);
        self.errand(
            seat,
            pause,
            Errand::Back { epoch, said: failed(epoch, "out of memory", (true, false), 0) },
        );
        self.break_gang(epoch, Some(seat), "connection reset");
    }

    /// The members of a gang lose each other.
    pub(super) fn break_gang(&mut self, epoch: u64, but: Option<usize>, message: &str) {
        let Some(gang) = self.gangs.get_mut(&epoch) else { return };
        gang.broken = true;
        // Whoever still waits to hear where to meet finds out later.
        let met = gang.members.iter().filter(|(rank, _)| gang.met.contains(rank)).map(|(_, seat)| *seat);
        let seats: Vec<usize> = met.filter(|seat| Some(*seat) != but).collect();
        for seat in seats {
            let pause = 1 + self.rng.below(200);
            self.errand(seat, pause, Errand::Back { epoch, said: failed(epoch, message, (true, true), 0) });
        }
    }

    /// Something goes wrong, and the next thing is planned.
    pub(super) fn mishap(&mut self, mishap: Mishap) {
        if self.now >= self.weather.calm {
            return;
        }
        let (pause, next) = self.weather.next();
        self.after(pause, Event::Mishap(next));
        let seat = self.rng.index(self.scene.seats.len());
        self.tell(|| format!("{mishap:?}, of w{seat} if of one"));
        if self.wreak(mishap, seat) {
            self.weather.happened(mishap);
        }
    }

    fn wreak(&mut self, mishap: Mishap, seat: usize) -> bool {
        let (now, long, ticket) = (self.now, 200 + self.rng.below(5_000), self.rng.index(1 << 20));
        let session =
            self.streams.iter().rev().find(|(_, it)| it.seat == seat && !it.broken).map(|(it, _)| *it);
        let is_up = self.coordinator.is_up();
        match mishap {
            Mishap::KillWorker => {
                let heard = self.rng.chance(0.7);
                let there = self.processes.contains_key(&seat);
                self.kill(seat, heard);
                return there;
            }
            Mishap::PauseWorker => match self.processes.get_mut(&seat) {
                Some(process) => process.stopped = now + long,
                None => return false,
            },
            Mishap::TerminateWorker => self.errand(seat, 0, Errand::Terminate),
            Mishap::CutStream => match session {
                Some(session) => {
                    let heard = self.rng.chance(0.5);
                    self.cut(session, heard);
                }
                None => return false,
            },
            Mishap::Partition => {
                self.cut_off.insert(seat, now + long);
            }
            Mishap::BreakGang => match self.piece(seat).filter(|piece| piece.past.is_some()) {
                Some(piece) => self.break_gang(piece.epoch, None, "timed out"),
                None => return false,
            },
            Mishap::KillCoordinator if is_up => self.kill_coordinator(),
            Mishap::PauseCoordinator if is_up => self.coordinator.stopped = now + long,
            Mishap::StopRun if is_up => self.feed(Input::Stop),
            Mishap::KillCoordinator | Mishap::PauseCoordinator | Mishap::StopRun => return false,
            Mishap::FullDisk => self.store.full = now + 2 * long,
            Mishap::LoseFile => return self.store.lose(ticket),
            Mishap::DamageArtifact => return self.store.damage(ticket, false),
            Mishap::DamageCheckpoint => return self.store.damage(ticket, true),
        }
        true
    }
}
