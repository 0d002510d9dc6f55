//! Leases: a worker not heard of for [`LEASE_MS`] is lost, and one that is heard of and does not get on loses its work.

use fulcrum_common::protocol::LEASE_MS;

use super::{gangs, membership, poison, results};
use crate::{action::Decisions, input::Failure, state::State};

/// Milliseconds between two looks for those who do not get on, at most.
const LOOKS_MS: u64 = 10_000;

/// Moves the clock. Where the coordinator itself was away for long (a stopped process, a sleeping machine, a slow
/// disk), silence tells nothing about the workers: their leases start anew.
pub(super) fn forgive_absence(state: &mut State, now: u64, out: &mut Decisions) {
    let away = now.saturating_sub(state.now);
    state.now = now.max(state.now);
    if away > u64::from(LEASE_MS) / 2 && state.workers.seats() > 0 {
        out.because(format!("renewed all leases: the coordinator itself was away for {away} ms"));
        state.workers.hear_all(state.now);
    }
}

/// The worker has been heard of.
pub(super) fn renew(state: &mut State, seat: &str) {
    state.workers.hear(seat, state.now);
}

/// Takes the work of workers back that live and do not get on: one that hangs is not heard to be lost. Whoever cannot
/// give it up ends itself, and the next process in its seat finds in which rows that was.
pub(super) fn expire_work(state: &mut State, out: &mut Decisions) {
    if state.stall == 0 || state.now < state.next_stall {
        return;
    }
    let patience =
        |state: &State, epoch| poison::patience(state, epoch).unwrap_or(state.stall).min(state.stall);
    while let Some((seat, epoch, most)) = state.workers.stalled(state.now, |epoch| patience(state, epoch)) {
        let message = format!("{seat} has not got on for {most} ms");
        gangs::give_up_stalled(state, &seat, epoch, &message, out);
        let failure = Failure::membership(message);
        results::broke(state, &seat, epoch, &failure, out);
    }
    state.next_stall = state.now.saturating_add((state.stall / 8).min(LOOKS_MS));
}

/// Loses the workers whose leases ran out.
pub(super) fn expire(state: &mut State, out: &mut Decisions) {
    for (seat, silence) in state.workers.expired(state.now) {
        membership::lose(state, &seat, &format!("not heard of for {silence} ms"), out);
    }
}
