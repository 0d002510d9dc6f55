//! Who is here: joining, heartbeats, leaving, losing.

use std::collections::VecDeque;

use fulcrum_common::{
    plan::CODE_VERSION,
    protocol::{Abort, Drain, HEARTBEAT_MS, LEASE_MS, PROTOCOL_VERSION, Refused, Welcome, command::Command},
};

use super::results;
use crate::{
    action::{Decisions, Record},
    input::{Failure, Hello, Progress},
    state::{Phase, State, Worker, WorkerState},
};

/// Seats that a run may have.
pub(crate) const MAX_WORKERS: usize = 1024;

/// Replaced incarnations that are remembered per seat.
const MAX_RETIRED: usize = 64;

/// A worker introduces itself.
pub(super) fn join(state: &mut State, session: u64, hello: Hello, out: &mut Decisions) {
    if let Err(reason) = admit(state, session, &hello) {
        out.because(format!("refused {} of {}: {reason}", hello.seat, hello.host));
        out.send(session, Command::Refused(Refused { reason }));
        out.actions.push(crate::Action::Close { session });
        return;
    }
    let retired = replace(state, &hello, out);
    out.because(format!(
        "{} joined: process {} on {}, {} with {} threads",
        hello.seat, hello.pid, hello.host, hello.device, hello.threads
    ));
    out.record(Record::Joined(hello.clone()));
    out.send(session, Command::Welcome(Welcome { heartbeat_ms: HEARTBEAT_MS, lease_ms: LEASE_MS }));
    let worker = Worker {
        session,
        state: WorkerState::Joining,
        heard: state.now,
        progress: Progress::default(),
        draining: false,
        retired,
        hello,
    };
    let seat = worker.hello.seat.clone();
    if state.workers.len() >= MAX_WORKERS {
        state.workers.retain(|_, worker| worker.state != WorkerState::Lost);
    }
    state.sessions.insert(session, seat.clone());
    state.workers.insert(seat.clone(), worker);
    if state.phase != Phase::Running {
        drain(state, &seat, out);
    }
}

/// Whether the worker may join, and if not, why.
fn admit(state: &State, session: u64, hello: &Hello) -> Result<(), String> {
    if hello.protocol != PROTOCOL_VERSION {
        return Err(format!("it speaks protocol {}, this coordinator {PROTOCOL_VERSION}", hello.protocol));
    }
    if hello.code != CODE_VERSION {
        return Err(format!("its stages are of code version {}, this plan's of {CODE_VERSION}", hello.code));
    }
    if state.sessions.contains_key(&session) {
        return Err("it said hello twice".to_owned());
    }
    match state.workers.get(&hello.seat) {
        Some(worker) if worker.retired.contains(&hello.incarnation) => {
            Err(format!("a newer process has taken seat {}", hello.seat))
        }
        None if live(state) >= MAX_WORKERS => Err(format!("the run has {MAX_WORKERS} workers already")),
        _ => Ok(()),
    }
}

fn live(state: &State) -> usize {
    state.workers.values().filter(|worker| worker.state != WorkerState::Lost).count()
}

/// Clears the seat for the newcomer; returns the incarnations that may not come back.
fn replace(state: &mut State, hello: &Hello, out: &mut Decisions) -> VecDeque<String> {
    let Some(old) = state.workers.get(&hello.seat) else { return VecDeque::new() };
    let (incarnation, alive) = (old.hello.incarnation.clone(), old.state != WorkerState::Lost);
    let same = incarnation == hello.incarnation;
    if alive {
        let reason = if same { "came back on a new stream" } else { "a newer process has taken its seat" };
        if !same {
            out.send(old.session, Command::Refused(Refused { reason: reason.to_owned() }));
        }
        lose(state, &hello.seat, reason, out);
    }
    let mut retired = state.workers.remove(&hello.seat).map(|worker| worker.retired).unwrap_or_default();
    if !same {
        retired.push_back(incarnation);
        if retired.len() > MAX_RETIRED {
            retired.pop_front();
        }
    }
    retired
}

/// A worker says that it lives and what it works on.
pub(super) fn heartbeat(state: &mut State, seat: &str, progress: Progress, out: &mut Decisions) {
    let Some(worker) = state.workers.get_mut(seat) else { return };
    let seen = std::mem::replace(&mut worker.progress, progress).epoch;
    match worker.state {
        WorkerState::Joining if progress.epoch == 0 => worker.state = WorkerState::Idle,
        // It carries an epoch over from before a lost stream or a restarted coordinator.
        WorkerState::Joining | WorkerState::Idle if progress.epoch != 0 => {
            let reason = "the epoch is over";
            worker.state = WorkerState::Aborting(progress.epoch);
            out.because(format!("told {seat} to give up epoch {}: {reason}", progress.epoch));
            let abort = Abort { epoch: progress.epoch, reason: reason.to_owned() };
            out.send(worker.session, Command::Abort(abort));
        }
        WorkerState::Aborting(epoch) if progress.epoch == 0 && seen == epoch => {
            worker.state = WorkerState::Idle
        }
        // A heartbeat without work, sent before the assignment arrived, is no news. One after work was seen is.
        WorkerState::Working(epoch) if progress.epoch == 0 && seen == epoch => {
            let message = format!("{seat} dropped epoch {epoch}");
            let failure = Failure { message, retry: true, membership: true, code: 0 };
            results::failed(state, seat, epoch, failure, out);
        }
        _ => {}
    }
}

/// A worker leaves in good order.
pub(super) fn leave(state: &mut State, seat: &str, out: &mut Decisions) {
    lose(state, seat, "it left", out);
    // The seat of a worker that was lost is kept to be shown; this one is expected to stay away.
    state.workers.remove(seat);
}

/// A stream ended.
pub(super) fn closed(state: &mut State, session: u64, reason: &str, out: &mut Decisions) {
    if let Some(seat) = state.seat_of(session) {
        lose(state, &seat, &format!("its stream ended: {reason}"), out);
    }
}

/// The worker is gone: its work is taken back and its stream closed.
pub(super) fn lose(state: &mut State, seat: &str, reason: &str, out: &mut Decisions) {
    let Some(worker) = state.workers.get_mut(seat) else { return };
    let was = std::mem::replace(&mut worker.state, WorkerState::Lost);
    if was == WorkerState::Lost {
        return;
    }
    let (session, incarnation) = (worker.session, worker.hello.incarnation.clone());
    state.sessions.remove(&session);
    out.because(format!("{seat} is gone: {reason}"));
    let left = Record::Left { seat: seat.to_owned(), incarnation, reason: reason.to_owned() };
    out.record(left);
    out.actions.push(crate::Action::Close { session });
    if let WorkerState::Working(epoch) = was {
        let message = format!("lost {seat}: {reason}");
        let failure = Failure { message, retry: true, membership: true, code: 0 };
        results::failed(state, seat, epoch, failure, out);
    }
}

/// Tells a worker to finish and leave.
pub(super) fn drain(state: &mut State, seat: &str, out: &mut Decisions) {
    let Some(worker) = state.workers.get_mut(seat) else { return };
    if worker.serves() {
        worker.draining = true;
        out.send(worker.session, Command::Drain(Drain {}));
    }
}
