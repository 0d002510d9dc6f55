//! The deciding: what happened and what time it is go in, what to do and why come out.
//!
//! One file per concern, each over the whole [`State`]:
//! [`membership`] who is here, [`leases`] who is still here, [`adoption`] who was here before this coordinator, [`results`] what came of an assignment,
//! [`faults`] what a failure costs, [`progress`] whether trainings get on, [`checkpoints`] what trainings keep, [`copies`] what their ranks hold alike, [`gangs`] and [`shards`] the two ways to run a stage, [`poison`] which rows cannot be computed,
//! [`schedule`] what runs next, [`run`] when it is over, [`order`] what holds of every decision.

mod adoption;
pub(crate) mod checkpoints;
mod copies;
mod faults;
mod gangs;
mod leases;
mod membership;
mod order;
pub(crate) mod poison;
mod progress;
mod results;
mod run;
mod schedule;
mod shards;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use copies::MOST_NAMED;
pub(crate) use membership::MAX_WORKERS;

use crate::{
    action::Decisions,
    input::{Event, Input},
    state::State,
};

/// Decides. `now` is in milliseconds since the coordinator's start and never falls.
///
/// Every decision is in the returned value: the caller writes its records, then takes its other actions.
pub fn tick(state: &mut State, now: u64, inputs: impl IntoIterator<Item = Input>) -> Decisions {
    let mut out = Decisions::default();
    leases::forgive_absence(state, now, &mut out);
    for input in inputs {
        apply(state, input, &mut out);
    }
    leases::expire(state, &mut out);
    leases::expire_work(state, &mut out);
    adoption::expire(state, &mut out);
    results::recommit(state, &mut out);
    schedule::promote(state, &mut out);
    schedule::assign(state, &mut out);
    run::settle(state, &mut out);
    order::examine(state, &out);
    out
}

fn apply(state: &mut State, input: Input, out: &mut Decisions) {
    match input {
        Input::Worker { session, event: Event::Hello(hello) } => membership::join(state, session, hello, out),
        Input::Worker { session, event } => match state.workers.seat_of(session).cloned() {
            Some(seat) => hear(state, &seat, event, out),
            None => out.because(format!("ignored a message of the closed stream {session}")),
        },
        Input::Closed { session, reason } => membership::closed(state, session, &reason, out),
        Input::Committed(manifest) => results::committed(state, &manifest, out),
        Input::CommitFailed { key, message, damaged: true } => results::spoiled(state, key, &message, out),
        Input::CommitFailed { key, message, damaged: false } => results::held_up(state, key, &message, out),
        Input::Kept(checkpoint) => checkpoints::kept(state, *checkpoint, out),
        Input::KeepFailed { checkpoint, message } => {
            checkpoints::failed(state, checkpoint.key, checkpoint.step, &message, out)
        }
        Input::Stop => run::stop(state, out),
    }
}

fn hear(state: &mut State, seat: &str, event: Event, out: &mut Decisions) {
    leases::renew(state, seat);
    match event {
        Event::Hello(_) => out.because(format!("ignored a second hello of {seat}")),
        Event::Heartbeat(progress) => membership::heartbeat(state, seat, progress, out),
        Event::Rendezvous { epoch, address } => gangs::rendezvous(state, seat, epoch, address, out),
        Event::Done { epoch, files, facts } => results::done(state, seat, epoch, files, facts, out),
        Event::Failed { epoch, failure } => results::failed(state, seat, epoch, failure, out),
        Event::Kept { epoch, step, files, copy } => {
            checkpoints::share(state, seat, (epoch, step), (files, copy), out)
        }
        Event::Held { epoch, step, copy } => copies::held(state, seat, (epoch, step), copy, out),
        Event::NotKept { epoch, step, message } => {
            checkpoints::lacking(state, seat, (epoch, step), &message, out)
        }
        Event::Leaving => membership::leave(state, seat, out),
    }
}
