//! Leases: a worker not heard of for [`LEASE_MS`] is lost.

use fulcrum_common::protocol::LEASE_MS;

use super::membership;
use crate::{
    action::Decisions,
    state::{State, WorkerState},
};

/// Moves the clock. Where the coordinator itself was away for long (a stopped process, a sleeping machine, a slow
/// disk), silence tells nothing about the workers: their leases start anew.
pub(super) fn forgive_absence(state: &mut State, now: u64, out: &mut Decisions) {
    let away = now.saturating_sub(state.now);
    state.now = now.max(state.now);
    if away > u64::from(LEASE_MS) / 2 && !state.workers.is_empty() {
        out.because(format!("renewed all leases: the coordinator itself was away for {away} ms"));
        for worker in state.workers.values_mut() {
            worker.heard = state.now;
        }
    }
}

/// The worker has been heard of.
pub(super) fn renew(state: &mut State, seat: &str) {
    if let Some(worker) = state.workers.get_mut(seat) {
        worker.heard = state.now;
    }
}

/// Loses the workers whose leases ran out.
pub(super) fn expire(state: &mut State, out: &mut Decisions) {
    let silence = |heard: u64| state.now.saturating_sub(heard);
    let expired: Vec<(String, u64)> = state
        .workers
        .iter()
        .filter(|(_, worker)| worker.state != WorkerState::Lost)
        .map(|(seat, worker)| (seat.clone(), silence(worker.heard)))
        .filter(|(_, silence)| *silence >= u64::from(LEASE_MS))
        .collect();
    for (seat, silence) in expired {
        membership::lose(state, &seat, &format!("not heard of for {silence} ms"), out);
    }
}
