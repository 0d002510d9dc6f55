//! The workers of a run by seat, and by class those that may be given work.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Index,
};

use fulcrum_common::protocol::LEASE_MS;

use crate::input::{Class, Hello, Progress};

/// A worker and what it does.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its stream.
    pub session: u64,
    /// Who it is.
    pub hello: Hello,
    /// What it last said about its work.
    pub progress: Progress,
    /// When it was last heard of.
    pub heard: u64,
    /// When it was given its work, or last said that it got on with it.
    pub moved: u64,
    /// It has been told to finish and leave.
    pub draining: bool,
    state: WorkerState,
    class: Class,
    /// Incarnations of this seat that were replaced, latest last. They may not come back.
    pub(crate) retired: VecDeque<String>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It has joined and not yet said whether it is free.
    Joining,
    /// It is free.
    Idle,
    /// It has an assignment.
    Working(u64),
    /// It has been told to give up this assignment and has not yet answered.
    Aborting(u64),
    /// Its stream ended or its lease ran out.
    Lost,
}

/// Every seat of a run, those of lost workers too.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    seats: BTreeMap<String, Worker>,
    sessions: BTreeMap<u64, String>,
    classes: BTreeMap<Class, Roster>,
    /// Seats that get no more work.
    benched: BTreeSet<String>,
    /// No lease runs out before.
    first_expiry: u64,
}

/// The workers of one class that may be given work, now or after what they do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// All of them.
    pub(crate) here: BTreeSet<String>,
    /// The free ones.
    pub(crate) idle: BTreeSet<String>,
}

impl WorkerState {
    /// The word people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Idle => "idle",
            Self::Working(_) => "working",
            Self::Aborting(_) => "aborting",
            Self::Lost => "lost",
        }
    }
}

impl Worker {
    /// A worker that has just come, at the other end of a stream.
    pub(crate) fn new(session: u64, hello: Hello, now: u64, retired: VecDeque<String>) -> Self {
        let class = hello.class();
        let (state, progress) = (WorkerState::Joining, Progress::default());
        Self { session, hello, progress, heard: now, moved: now, draining: false, state, class, retired }
    }

    /// What it does.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// Its equals.
    pub(crate) fn class(&self) -> &Class {
        &self.class
    }

    /// Whether it may be given work, now or after what it does.
    fn serves(&self) -> bool {
        self.state != WorkerState::Lost && !self.draining
    }
}

impl Roster {
    /// The first `world` free workers, if there are so many.
    pub(crate) fn gang(&self, world: usize) -> Option<Vec<String>> {
        (self.idle.len() >= world).then(|| self.idle.iter().take(world).cloned().collect())
    }
}

impl Index<&str> for Workers {
    type Output = Worker;

    fn index(&self, seat: &str) -> &Worker {
        &self.seats[seat]
    }
}

impl Workers {
    /// The worker in a seat.
    pub fn get(&self, seat: &str) -> Option<&Worker> {
        self.seats.get(seat)
    }

    /// Every worker in the order of seats, the lost ones too.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.seats.values()
    }

    /// The workers that are not lost.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Worker> {
        self.iter().filter(|worker| worker.state != WorkerState::Lost)
    }

    /// Seats that are taken or were.
    pub fn seats(&self) -> usize {
        self.seats.len()
    }

    /// The seat of the worker at the other end of a stream, unless another stream has taken its place.
    pub(crate) fn seat_of(&self, session: u64) -> Option<&String> {
        self.sessions.get(&session)
    }

    /// Takes a worker into its seat, which is free.
    pub(crate) fn seat(&mut self, worker: Worker) {
        let seat = worker.hello.seat.clone();
        self.sessions.insert(worker.session, seat.clone());
        self.seats.insert(seat.clone(), worker);
        self.enroll(&seat);
    }

    /// Clears a seat.
    pub(crate) fn remove(&mut self, seat: &str) -> Option<Worker> {
        self.strike(seat);
        let worker = self.seats.remove(seat)?;
        self.sessions.remove(&worker.session);
        Some(worker)
    }

    /// Clears the seats of the lost.
    pub(crate) fn remove_lost(&mut self) {
        self.seats.retain(|_, worker| worker.state != WorkerState::Lost);
    }

    /// Changes what a worker does; returns what it did.
    pub(crate) fn turn(&mut self, seat: &str, state: WorkerState) -> Option<WorkerState> {
        self.strike(seat);
        let worker = self.seats.get_mut(seat)?;
        let before = std::mem::replace(&mut worker.state, state);
        if state == WorkerState::Lost {
            self.sessions.remove(&worker.session);
        }
        self.enroll(seat);
        Some(before)
    }

    /// Gives a seat no more work.
    pub(crate) fn bench(&mut self, seat: &str) {
        self.strike(seat);
        self.benched.insert(seat.to_owned());
    }

    /// Whether a seat gets no more work.
    pub(crate) fn is_benched(&self, seat: &str) -> bool {
        self.benched.contains(seat)
    }

    /// Marks a worker that may be given work as leaving; none where it was no such worker.
    pub(crate) fn drain(&mut self, seat: &str) -> Option<&Worker> {
        self.seats.get(seat).filter(|worker| worker.serves())?;
        self.strike(seat);
        let worker = self.seats.get_mut(seat)?;
        worker.draining = true;
        Some(worker)
    }

    /// A worker has been given work, of which it has said nothing yet.
    pub(crate) fn begin(&mut self, seat: &str, now: u64) {
        if let Some(worker) = self.seats.get_mut(seat) {
            (worker.progress, worker.moved) = (Progress::default(), now);
        }
    }

    /// Notes what a worker says of its work; returns what it said before.
    pub(crate) fn report(&mut self, seat: &str, progress: Progress, now: u64) -> Option<Progress> {
        let worker = self.seats.get_mut(seat)?;
        let place = |it: &Progress| (it.epoch, it.step, it.examples);
        if place(&progress) != place(&worker.progress) {
            worker.moved = now;
        }
        Some(std::mem::replace(&mut worker.progress, progress))
    }

    /// The worker has been heard of.
    pub(crate) fn hear(&mut self, seat: &str, now: u64) {
        if let Some(worker) = self.seats.get_mut(seat) {
            worker.heard = now;
        }
    }

    /// As if all had been heard of.
    pub(crate) fn hear_all(&mut self, now: u64) {
        self.seats.values_mut().for_each(|worker| (worker.heard, worker.moved) = (now, now));
    }

    /// The seats whose leases have run out, and for how many milliseconds nothing was heard.
    pub(crate) fn expired(&mut self, now: u64) -> Vec<(String, u64)> {
        let lease = u64::from(LEASE_MS);
        if now < self.first_expiry {
            return Vec::new();
        }
        // Whoever is heard of or joins from now on has a later expiry than this.
        self.first_expiry = self.live().map(|worker| worker.heard).min().unwrap_or(now).saturating_add(lease);
        let silent = self.live().map(|worker| (&worker.hello.seat, now.saturating_sub(worker.heard)));
        silent
            .filter(|(_, silence)| *silence >= lease)
            .map(|(seat, silence)| (seat.clone(), silence))
            .collect()
    }

    /// A worker that has not got on with its work, an epoch, for as many milliseconds as that may take, and those.
    pub(crate) fn stalled(&self, now: u64, most: impl Fn(u64) -> u64) -> Option<(String, u64, u64)> {
        self.live().find_map(|worker| {
            let WorkerState::Working(epoch) = worker.state else { return None };
            let most = most(epoch);
            (now.saturating_sub(worker.moved) >= most).then(|| (worker.hello.seat.clone(), epoch, most))
        })
    }

    /// The workers of a class that may be given work.
    pub(crate) fn of(&self, class: &Class) -> Option<&Roster> {
        self.classes.get(class)
    }

    /// The workers that may be given work, by class, those of the classes in `held` aside.
    pub(crate) fn classes<'a>(
        &'a self,
        held: &'a BTreeSet<Class>,
    ) -> impl Iterator<Item = (&'a Class, &'a Roster)> {
        self.classes.iter().filter(|(class, _)| !held.contains(class))
    }

    /// The first free worker of a class.
    pub(crate) fn first_idle(&self, class: &Class) -> Option<String> {
        self.classes.get(class)?.idle.first().cloned()
    }

    /// Whether a worker is free whose class is not in `held`.
    pub(crate) fn any_idle(&self, held: &BTreeSet<Class>) -> bool {
        self.classes(held).any(|(_, roster)| !roster.idle.is_empty())
    }

    fn enroll(&mut self, seat: &str) {
        if self.benched.contains(seat) {
            return;
        }
        let Some(worker) = self.seats.get(seat).filter(|worker| worker.serves()) else { return };
        if !self.classes.contains_key(&worker.class) {
            self.classes.insert(worker.class.clone(), Roster::default());
        }
        let Some(roster) = self.classes.get_mut(&worker.class) else { return };
        roster.here.insert(seat.to_owned());
        if worker.state == WorkerState::Idle {
            roster.idle.insert(seat.to_owned());
        }
    }

    fn strike(&mut self, seat: &str) {
        let Some(worker) = self.seats.get(seat) else { return };
        let Some(roster) = self.classes.get_mut(&worker.class) else { return };
        roster.idle.remove(seat);
        roster.here.remove(seat);
        if roster.here.is_empty() {
            self.classes.remove(&worker.class);
        }
    }
}

#[cfg(test)]
impl Workers {
    /// Checks that the rosters are what a look at every worker gives.
    pub(crate) fn check(&self) {
        let mut here = BTreeSet::new();
        let serves = |worker: &&Worker| worker.serves() && !self.benched.contains(&worker.hello.seat);
        for worker in self.iter().filter(serves) {
            let seat = worker.hello.seat.as_str();
            let roster = self.of(&worker.class).unwrap_or_else(|| panic!("no roster of {}", worker.class));
            assert!(roster.here.contains(seat), "{seat} serves");
            assert_eq!(roster.idle.contains(seat), worker.state == WorkerState::Idle, "{seat}");
            here.insert(seat);
        }
        assert_eq!(self.classes.values().map(|roster| roster.here.len()).sum::<usize>(), here.len());
        for (session, seat) in &self.sessions {
            let worker = &self[seat.as_str()];
            assert!(worker.session == *session && worker.state != WorkerState::Lost, "stream of {seat}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(seat: &str, session: u64, threads: u32) -> Worker {
        let hello = Hello { seat: seat.into(), device: "cpu".into(), threads, ..Hello::default() };
        Worker::new(session, hello, 0, VecDeque::new())
    }

    /// Two workers of one class and one of another, the second of them free.
    fn three() -> Workers {
        let mut workers = Workers::default();
        for (session, (seat, threads)) in [("w0", 1), ("w1", 1), ("w2", 2)].into_iter().enumerate() {
            workers.seat(worker(seat, session as u64, threads));
        }
        workers.turn("w1", WorkerState::Idle);
        workers
    }

    fn of(workers: &Workers, threads: u32) -> (Vec<&str>, Vec<&str>) {
        let class = Class { device: "cpu".into(), threads };
        match workers.of(&class) {
            Some(Roster { here, idle }) => {
                (here.iter().map(String::as_str).collect(), idle.iter().map(String::as_str).collect())
            }
            None => (vec![], vec![]),
        }
    }

    #[test]
    fn rosters_follow_what_workers_do() {
        let mut workers = three();
        assert_eq!(of(&workers, 1), (vec!["w0", "w1"], vec!["w1"]));
        assert_eq!(of(&workers, 2), (vec!["w2"], vec![]));
        workers.turn("w0", WorkerState::Idle);
        workers.turn("w1", WorkerState::Working(7));
        assert_eq!(of(&workers, 1), (vec!["w0", "w1"], vec!["w0"]));
        workers.turn("w0", WorkerState::Lost);
        assert!(workers.drain("w2").is_some() && workers.drain("w2").is_none());
        assert_eq!((of(&workers, 1), of(&workers, 2)), ((vec!["w1"], vec![]), (vec![], vec![])));
        assert_eq!((workers.seat_of(0), workers.seat_of(1)), (None, Some(&"w1".to_owned())));
        workers.remove("w1");
        assert_eq!((of(&workers, 1), workers.seat_of(1)), ((vec![], vec![]), None));
        workers.remove_lost();
        assert_eq!(workers.seats(), 1);
    }

    #[test]
    fn a_gang_is_formed_of_enough_free_workers_or_not_at_all() {
        let mut workers = three();
        workers.turn("w0", WorkerState::Idle);
        let roster = workers.of(workers["w0"].class()).unwrap();
        assert_eq!(roster.gang(2), Some(vec!["w0".to_owned(), "w1".to_owned()]));
        assert_eq!(roster.gang(3), None);
    }

    #[test]
    fn a_lease_that_runs_out_is_found_although_most_looks_are_spared() {
        let mut workers = three();
        let lease = u64::from(LEASE_MS);
        for now in (0..3 * lease).step_by(50) {
            workers.hear("w0", now);
            workers.hear("w2", now / 1000 * 1000);
            let silent = if now >= lease { vec![("w1".to_owned(), now)] } else { vec![] };
            assert_eq!(workers.expired(now), silent, "at {now}");
        }
    }
}
