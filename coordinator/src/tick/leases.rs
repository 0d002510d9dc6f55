//! Leases: a worker not heard of for [`LEASE_MS`] is lost.

use fulcrum_common::protocol::LEASE_MS;

use super::membership;
use crate::{action::Decisions, state::State};

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

/// Loses the workers whose leases ran out.
pub(super) fn expire(state: &mut State, out: &mut Decisions) {
    for (seat, silence) in state.workers.expired(state.now) {
        membership::lose(state, &seat, &format!("not heard of for {silence} ms"), out);
    }
}
