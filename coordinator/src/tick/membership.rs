//! Who is here: joining, heartbeats, leaving, losing.

use std::collections::VecDeque;

use fulcrum_common::{
    plan::CODE_VERSION,
    protocol::{Abort, Drain, HEARTBEAT_MS, LEASE_MS, PROTOCOL_VERSION, Refused, Welcome, command::Command},
};

use super::{adoption, poison, progress, results};
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
    if state.workers.seats() >= MAX_WORKERS {
        state.workers.remove_lost();
    }
    let (seat, fell) = (hello.seat.clone(), hello.fell);
    state.workers.seat(Worker::new(session, hello, state.now, retired));
    if state.workers.is_benched(&seat) {
        out.because(format!("{seat} gets no work: it held corrupted weights too often in this run"));
    }
    if let Some(fell) = fell {
        poison::fell(state, &seat, fell, out);
    }
    adoption::replace(state, &seat, out);
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
    if let Some(build) = state.build.filter(|build| hello.build != Some(*build)) {
        let its = hello.build.map_or_else(|| "unknown".to_owned(), |build| build.short());
        let way_out = "have the same fulcrum-worker on every machine";
        return Err(format!("its program is build {its}, the run's is {}: {way_out}", build.short()));
    }
    if state.store.is_some_and(|store| hello.store != Some(store)) {
        let way_out = "all machines must see one folder or bucket";
        return Err(format!("its store is not the run's, though it may have the same name: {way_out}"));
    }
    if state.workers.seat_of(session).is_some() {
        return Err("it said hello twice".to_owned());
    }
    match state.workers.get(&hello.seat) {
        Some(worker) if worker.retired.contains(&hello.incarnation) => {
            Err(format!("a newer process has taken seat {}", hello.seat))
        }
        None if state.workers.live().count() >= MAX_WORKERS => {
            Err(format!("the run has {MAX_WORKERS} workers already"))
        }
        _ => Ok(()),
    }
}

/// Clears the seat for the newcomer; returns the incarnations that may not come back.
fn replace(state: &mut State, hello: &Hello, out: &mut Decisions) -> VecDeque<String> {
    let Some(old) = state.workers.get(&hello.seat) else { return VecDeque::new() };
    let (incarnation, alive) = (old.hello.incarnation.clone(), old.state() != WorkerState::Lost);
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
    let Some(seen) = state.workers.report(seat, progress, state.now).map(|before| before.epoch) else {
        return;
    };
    progress::reported(state, progress.epoch, progress.step);
    let Worker { session, .. } = state.workers[seat];
    match state.workers[seat].state() {
        WorkerState::Joining if progress.epoch == 0 => {
            state.workers.turn(seat, WorkerState::Idle);
            adoption::miss(state, seat, out);
        }
        WorkerState::Joining if adoption::welcome(state, seat, progress.epoch, out) => {}
        // It carries an epoch over from before a lost stream or a restarted coordinator.
        WorkerState::Joining | WorkerState::Idle if progress.epoch != 0 => {
            let reason = "the epoch is over";
            state.workers.turn(seat, WorkerState::Aborting(progress.epoch));
            out.because(format!("told {seat} to give up epoch {}: {reason}", progress.epoch));
            let abort = Abort { epoch: progress.epoch, reason: reason.to_owned(), stalled: false };
            out.send(session, Command::Abort(abort));
        }
        WorkerState::Aborting(epoch) if progress.epoch == 0 && seen == epoch => {
            state.workers.turn(seat, WorkerState::Idle);
        }
        // A heartbeat without work, sent before the assignment arrived, is no news. One after work was seen is.
        WorkerState::Working(epoch) if progress.epoch == 0 && seen == epoch => {
            let message = format!("{seat} dropped epoch {epoch}");
            let failure = Failure::membership(message);
            results::failed(state, seat, epoch, failure, out);
        }
        _ => {}
    }
}

/// A worker leaves in good order.
pub(super) fn leave(state: &mut State, seat: &str, out: &mut Decisions) {
    lose(state, seat, "it left", out);
    progress::excuse(state, seat);
    // The seat of a worker that was lost is kept to be shown; this one is expected to stay away.
    state.workers.remove(seat);
}

/// A stream ended.
pub(super) fn closed(state: &mut State, session: u64, reason: &str, out: &mut Decisions) {
    if let Some(seat) = state.workers.seat_of(session).cloned() {
        lose(state, &seat, &format!("its stream ended: {reason}"), out);
    }
}

/// The worker is gone: its work is taken back and its stream closed.
pub(super) fn lose(state: &mut State, seat: &str, reason: &str, out: &mut Decisions) {
    let Some(was) = state.workers.turn(seat, WorkerState::Lost) else { return };
    if was == WorkerState::Lost {
        return;
    }
    let worker = &state.workers[seat];
    let (session, incarnation) = (worker.session, worker.hello.incarnation.clone());
    out.because(format!("{seat} is gone: {reason}"));
    let left = Record::Left { seat: seat.to_owned(), incarnation, reason: reason.to_owned() };
    out.record(left);
    out.actions.push(crate::Action::Close { session });
    if let WorkerState::Working(epoch) = was {
        let message = format!("lost {seat}: {reason}");
        let failure = Failure::membership(message);
        results::failed(state, seat, epoch, failure, out);
    }
}

/// Tells a worker to finish and leave.
pub(super) fn drain(state: &mut State, seat: &str, out: &mut Decisions) {
    let stopped = state.phase == Phase::Stopping;
    if let Some(worker) = state.workers.drain(seat) {
        out.send(worker.session, Command::Drain(Drain { stopped }));
    }
}
