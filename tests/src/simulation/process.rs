//! A worker's process: the real duty of a worker, a stream, and an engine that is modelled.

use fulcrum_common::{
    Key,
    duty::{Act, Duty},
    exit,
    invariant::{Invariant, uphold},
    plan::CODE_VERSION,
    protocol::{
        Done, Failed, Fell, Heartbeat, Hello, Leaving, PROTOCOL_VERSION, Rendezvous,
        worker_event::Event as Said,
    },
};

use super::{
    piece::Piece,
    scene::{self, Harm},
    streams::{Down, Up},
    weather::Point,
    world::{Event, World},
};

/// Pauses between attempts to connect grow from the first to the second.
const PAUSES_MS: (u64, u64) = (100, 2_000);

/// How long a worker stays idle without a coordinator.
const PATIENCE_MS: u64 = 60_000;

/// How long a training that leaves may take.
const GRACE_MS: u64 = 5_000;

/// How often a worker says that it lives.
const BEAT_MS: u64 = 200;

/// A process in a seat.
pub(super) struct Process {
    /// Told apart from all before it.
    pub(super) number: u64,
    pub(super) duty: Duty<Piece>,
    session: Option<u64>,
    pause: u64,
    /// Until when it stands still.
    pub(super) stopped: u64,
    pub(super) engine: Engine,
}

/// What computes.
#[derive(Default)]
pub(super) struct Engine {
    /// What it is at.
    pub(super) piece: Option<Piece>,
    /// It has been asked to keep a checkpoint and end.
    pub(super) leaving: bool,
    /// It never comes back.
    pub(super) hung: bool,
    /// The last step whose checkpoint was committed.
    pub(super) committed: u64,
    pub(super) progress: u64,
    /// Since when it works slowly, and gets on all the same.
    slow: Option<u64>,
    /// Where its gang meets, if this is rank 0 and has said so.
    pub(super) announced: Option<Rendezvous>,
}

/// Something that a process does later.
#[derive(Debug)]
pub(super) enum Errand {
    Connect,
    Wake,
    Terminate,
    Beat {
        session: u64,
    },
    Hear {
        session: u64,
        message: Down,
    },
    /// The engine has made something of the epoch.
    Finish {
        epoch: u64,
        first: Key,
    },
    /// A row of the epoch does harm.
    Suffer {
        epoch: u64,
        harm: Harm,
    },
    /// The engine comes back from the epoch.
    Back {
        epoch: u64,
        said: Said,
    },
    /// Rank 0 tells where its gang meets.
    Announce {
        epoch: u64,
    },
    /// A rank's share of a checkpoint is durable.
    Keep {
        piece: Box<Piece>,
        step: u64,
        value: Key,
    },
    /// A training that leaves has waited for its checkpoint.
    Left {
        epoch: u64,
        step: u64,
        until: u64,
    },
}

impl World {
    pub(super) fn spawn(&mut self, seat: usize) {
        if self.processes.contains_key(&seat) {
            return;
        }
        self.next_process += 1;
        let (number, duty) = (self.next_process, Duty::new(self.now));
        let engine = Engine::default();
        self.processes
            .insert(seat, Process { number, duty, session: None, pause: PAUSES_MS.0, stopped: 0, engine });
        self.errand(seat, 1, Errand::Connect);
    }

    /// Gives the process in a seat something to do.
    pub(super) fn errand(&mut self, seat: usize, ms: u64, errand: Errand) {
        if let Some(process) = self.processes.get(&seat) {
            let number = process.number;
            self.after(ms, Event::Errand { seat, number, errand });
        }
    }

    pub(super) fn run_errand(&mut self, seat: usize, number: u64, errand: Errand) {
        let Some(process) = self.processes.get_mut(&seat).filter(|process| process.number == number) else {
            return;
        };
        if self.now < process.stopped {
            let woken = process.stopped;
            return self.at(woken, Event::Errand { seat, number, errand });
        }
        let now = self.now;
        let acts = match errand {
            Errand::Connect => return self.connect(seat),
            Errand::Wake => process.duty.wake(now, PATIENCE_MS),
            Errand::Terminate => process.duty.terminate(now, GRACE_MS),
            Errand::Beat { session } => return self.beat(seat, session),
            Errand::Hear { session, message } => {
                if process.session != Some(session) {
                    return;
                }
                match message {
                    Down::Command(command) => process.duty.hear(now, *command),
                    Down::End => return self.lose_stream(seat),
                }
            }
            Errand::Finish { epoch, first } => return self.finish(seat, epoch, first),
            Errand::Suffer { epoch, harm } => return self.suffer(seat, epoch, harm),
            Errand::Back { epoch, said } => {
                if process.engine.piece.as_ref().is_none_or(|piece| piece.epoch != epoch)
                    || process.engine.hung
                {
                    return;
                }
                process.engine = Engine::default();
                process.duty.report(now, said)
            }
            Errand::Announce { epoch } => match self.announce(seat, epoch) {
                Some(meeting) => self.report_of(seat, Said::Rendezvous(meeting)),
                None => return,
            },
            Errand::Keep { piece, step, value } => {
                let said = self.keep(&piece, step, value);
                self.report_of(seat, said)
            }
            Errand::Left { epoch, step, until } => return self.left(seat, epoch, step, until),
        };
        self.perform(seat, acts);
    }

    fn report_of(&mut self, seat: usize, said: Said) -> Vec<Act<Piece>> {
        let now = self.now;
        self.processes.get_mut(&seat).map(|process| process.duty.report(now, said)).unwrap_or_default()
    }

    fn connect(&mut self, seat: usize) {
        let reaches =
            self.coordinator.is_up() && self.cut_off.get(&seat).is_none_or(|until| *until <= self.now);
        let threads = self.scene.seats[seat];
        let Some(process) = self.processes.get_mut(&seat).filter(|process| process.session.is_none()) else {
            return;
        };
        if !reaches {
            let pause = process.pause;
            process.pause = (2 * pause).min(PAUSES_MS.1);
            let acts = process.duty.wake(self.now, PATIENCE_MS);
            self.errand(seat, pause, Errand::Connect);
            return self.perform(seat, acts);
        }
        process.pause = PAUSES_MS.0;
        let (number, announced) = (process.number, process.engine.announced.clone());
        let session = self.open(seat);
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            code: CODE_VERSION,
            worker: format!("w{seat}"),
            incarnation: format!("w{seat}-{number}"),
            host: "simulated".to_owned(),
            pid: u32::try_from(number).unwrap_or_default(),
            device: "cpu".to_owned(),
            threads,
            fell: self.fell.get(&seat).copied(),
            build: String::new(),
            store: String::new(),
        };
        self.say(session, Said::Hello(hello));
        let Some(process) = self.processes.get_mut(&seat) else { return };
        process.session = Some(session);
        let acts = process.duty.connected(announced);
        self.perform(seat, acts);
    }

    fn lose_stream(&mut self, seat: usize) {
        let Some(process) = self.processes.get_mut(&seat) else { return };
        process.session = None;
        let acts = process.duty.lost(self.now);
        self.errand(seat, PAUSES_MS.0, Errand::Connect);
        self.perform(seat, acts);
    }

    fn beat(&mut self, seat: usize, session: u64) {
        let Some(process) = self.processes.get(&seat).filter(|it| it.session == Some(session)) else {
            return;
        };
        let Engine { progress, slow, .. } = process.engine;
        let step = progress + slow.map_or(0, |since| (self.now - since) / 1_000);
        let epoch = process.duty.epoch().unwrap_or_default();
        self.say(session, Said::Heartbeat(Heartbeat { epoch, step, examples: step, ..Heartbeat::default() }));
        self.errand(seat, BEAT_MS, Errand::Beat { session });
    }

    /// Does what the worker's duty is.
    fn perform(&mut self, seat: usize, acts: Vec<Act<Piece>>) {
        for act in acts {
            let Some(process) = self.processes.get_mut(&seat) else { return };
            let session = process.session;
            match act {
                Act::Say(said) => self.utter(seat, session, said),
                Act::Pulse(_) => {
                    let Some(session) = session else { continue };
                    self.errand(seat, 0, Errand::Beat { session });
                }
                Act::Start(piece) => self.start(seat, piece),
                Act::CallOff(call) => self.call_off(seat, call.stalled),
                Act::Finish => process.engine.leaving = true,
                Act::Meet(_) => self.meet(seat),
                Act::Committed(step) => process.engine.committed = process.engine.committed.max(step),
                Act::Leave(code) => {
                    if let Some(session) = session {
                        self.say(session, Said::Leaving(Leaving {}));
                    }
                    return self.exit(seat, code);
                }
                Act::Exit(code) => return self.exit(seat, code),
            }
        }
        if let Some(at) = self.processes.get(&seat).and_then(|process| process.duty.wakes()) {
            self.errand(seat, at.saturating_sub(self.now), Errand::Wake);
        }
    }

    fn utter(&mut self, seat: usize, session: Option<u64>, said: Said) {
        let broken =
            session.and_then(|session| self.streams.get(&session)).is_none_or(|stream| stream.broken);
        let ends = matches!(said, Said::Done(_) | Said::Failed(_));
        if broken && ends && self.weather.strikes(self.now, Point::Unsaid) {
            if let Some(process) = self.processes.get_mut(&seat) {
                process.duty.unsaid(said);
            }
            return self.lose_stream(seat);
        }
        if let Some(session) = session {
            self.say(session, said);
        }
    }

    /// The process ends by itself.
    fn exit(&mut self, seat: usize, code: i32) {
        let known =
            [exit::DONE, exit::STOPPED, exit::PREEMPTED, exit::MEMBERSHIP, exit::NO_PROGRESS, exit::MISMATCH];
        uphold(Invariant::RunsEnd, known.contains(&code), || format!("w{seat} ends with {code}"));
        self.tell(|| format!("w{seat} ends with code {code}"));
        self.die(seat, true);
    }

    /// The process is killed from outside. A row that it was at alone would be taken for the killer if that happened often.
    pub(super) fn kill(&mut self, seat: usize, heard: bool) {
        let piece = self.processes.get(&seat).and_then(|process| process.engine.piece.as_ref());
        let within = piece.filter(|piece| piece.rows().nth(1).is_some()).map(|piece| piece.epoch);
        if let Some(epoch) = within.filter(|_| self.rng.chance(0.5)) {
            self.fell.insert(seat, Fell { epoch, row: None });
        }
        self.die(seat, heard);
    }

    /// The process is gone, and another takes its seat. `heard`: its machine still closes its stream.
    pub(super) fn die(&mut self, seat: usize, heard: bool) {
        let Some(process) = self.processes.remove(&seat) else { return };
        if let Some(session) = process.session {
            if heard {
                self.send_up(session, Up::End);
            }
            if let Some(stream) = self.streams.get_mut(&session) {
                stream.broken = true;
            }
        }
        if let Some(piece) = process.engine.piece {
            self.break_gang(piece.epoch, Some(seat), "connection reset");
        }
        let pause = 100 + self.rng.below(2_000);
        self.after(pause, Event::Spawn { seat });
    }

    /// The engine begins.
    fn start(&mut self, seat: usize, piece: Piece) {
        let (epoch, first) = (piece.epoch, piece.first(&self.store));
        let train = piece.past.is_some();
        let Some(process) = self.processes.get_mut(&seat) else { return };
        process.engine = Engine { piece: Some(piece), ..Engine::default() };
        let Some(first) = first else {
            let said = failed(epoch, "bytes that are not those of the plan", (false, false), exit::DIGEST);
            return self.errand(seat, 5, Errand::Back { epoch, said });
        };
        if train {
            return self.join(seat);
        }
        let slow = self.weather.strikes(self.now, Point::Straggles);
        let harm = self.harm(seat);
        let takes = if slow { 3_000 + self.rng.below(15_000) } else { 50 + self.rng.below(800) };
        if let Some(harm) = harm {
            self.errand(seat, takes / 2, Errand::Suffer { epoch, harm });
        } else if self.weather.strikes(self.now, Point::WorkFails) {
            let said = failed(epoch, "out of memory", (true, false), 0);
            self.errand(seat, takes / 2, Errand::Back { epoch, said });
        } else if self.weather.strikes(self.now, Point::EngineHangs) {
            self.processes.entry(seat).and_modify(|process| process.engine.hung = true);
        } else {
            self.processes.entry(seat).and_modify(|it| it.engine.slow = slow.then_some(self.now));
            self.errand(seat, takes, Errand::Finish { epoch, first });
        }
    }

    /// What the first harmful row of its work does to a worker.
    fn harm(&self, seat: usize) -> Option<Harm> {
        let piece = self.processes.get(&seat)?.engine.piece.as_ref()?;
        let poison = self.scene.poison.get(&piece.key)?;
        piece.rows().find_map(|row| poison.get(&row).copied())
    }

    /// A row harms whoever computes it.
    fn suffer(&mut self, seat: usize, epoch: u64, harm: Harm) {
        let Some(process) = self.processes.get(&seat) else { return };
        let Some(piece) = process.engine.piece.as_ref().filter(|piece| piece.epoch == epoch) else { return };
        let row = piece.alone();
        self.tell(|| format!("a row of epoch {epoch} harms w{seat}: {harm:?}, {row:?}"));
        self.report.harmed += 1;
        if harm == Harm::Kills {
            self.fell.insert(seat, Fell { epoch, row });
            return self.die(seat, true);
        }
        if harm == Harm::Hangs {
            self.processes.entry(seat).and_modify(|process| process.engine.hung = true);
            return;
        }
        let Said::Failed(said) = failed(epoch, "a row fails", (harm == Harm::Fails, false), 0) else {
            return;
        };
        self.errand(seat, 0, Errand::Back { epoch, said: Said::Failed(Failed { row, ..said }) });
    }

    /// The engine has made what it was told, and says so a moment later.
    fn finish(&mut self, seat: usize, epoch: u64, first: Key) {
        let torn = self.coordinator.is_over(epoch);
        let Some(process) = self.processes.get_mut(&seat) else { return };
        let Some(piece) = process.engine.piece.clone().filter(|piece| piece.epoch == epoch) else { return };
        process.engine.progress += 1;
        let whole = piece.shard.map_or(first, |shard| scene::part(first, shard.index as usize, &piece.skip));
        // What is made in an epoch that is over is worth nothing, and must not matter.
        self.made(seat, &piece, if torn { scene::mix(whole, "torn") } else { whole });
    }

    /// A stage's files are made: durable, then told.
    pub(super) fn made(&mut self, seat: usize, piece: &Piece, value: Key) {
        let epoch = piece.epoch;
        let (files, facts) = match piece.trial {
            Some(_) => Default::default(),
            None => (piece.put(&mut self.store, value), piece.facts(self.scene.stage(piece.key))),
        };
        let pause = self.rng.below(100);
        self.errand(seat, pause, Errand::Back { epoch, said: Said::Done(Done { epoch, files, facts }) });
    }

    /// Who was called off for not getting on ends itself in a moment, and the next process in its seat finds its note. A row
    /// that it was at alone would be taken for the reason if a process hung often by itself.
    fn leave_note(&mut self, seat: usize, piece: &Piece) {
        let harmed = self.harm(seat) == Some(Harm::Hangs);
        if harmed || piece.rows().nth(1).is_some() && self.rng.chance(0.5) {
            self.fell.insert(seat, Fell { epoch: piece.epoch, row: piece.alone() });
        }
    }

    /// The engine is to come back. Most do at once, some late, some only when they have finished.
    fn call_off(&mut self, seat: usize, stalled: bool) {
        let Some(process) = self.processes.get_mut(&seat) else { return };
        let Some(piece) = process.engine.piece.clone() else { return };
        if process.engine.hung {
            if stalled {
                self.leave_note(seat, &piece);
            }
            return;
        }
        let stubborn = self.weather.strikes(self.now, Point::Stubborn);
        if !stubborn {
            let pause = if self.rng.chance(0.05) { 1_500 } else { self.rng.below(400) };
            let said = failed(piece.epoch, "called off", (true, true), 0);
            self.errand(seat, pause, Errand::Back { epoch: piece.epoch, said });
        }
        if piece.past.is_some() {
            self.break_gang(piece.epoch, Some(seat), "a peer was called off");
        }
    }
}

/// What an engine says that failed: whether it is worth another try, and whether a peer is at fault.
pub(super) fn failed(epoch: u64, message: &str, (retry, membership): (bool, bool), code: i32) -> Said {
    let code = code.unsigned_abs();
    Said::Failed(Failed { epoch, message: message.to_owned(), retry, membership, code, row: None })
}
