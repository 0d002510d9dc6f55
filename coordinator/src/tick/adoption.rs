//! Gangs that outlived the coordinator that formed them. They went on without one; their members come back and say
//! which epoch they are in. A gang of which a member does not come back, or comes back without its epoch, is over.

use super::{gangs, results};
use crate::{
    action::Decisions,
    input::Failure,
    state::{State, WorkerState},
};

/// Milliseconds from the coordinator's start for members to come back: longer than workers pause between two attempts to
/// connect.
pub(super) const PATIENCE_MS: u64 = 10_000;

/// A worker comes with an epoch; whether it is that of a gang that expects it.
pub(super) fn welcome(state: &mut State, seat: &str, epoch: u64, out: &mut Decisions) -> bool {
    let Some(incarnation) = state.workers.get(seat).map(|worker| worker.hello.incarnation.clone()) else {
        return false;
    };
    let Some((stage, gang)) = state.gang_mut(epoch) else { return false };
    if gang.absent.get(seat) != Some(&incarnation) {
        return false;
    }
    gang.absent.remove(seat);
    let whole = gang.absent.is_empty();
    state.workers.turn(seat, WorkerState::Working(epoch));
    let name = &state.stages[stage].stage.name;
    out.because(format!(
        "{seat} is still in epoch {epoch}, {name:?}{}",
        if whole { ": all are" } else { "" }
    ));
    gangs::meet(state, seat, epoch, out);
    true
}

/// A worker is here and in no epoch: a gang that expects its seat is over.
pub(super) fn miss(state: &mut State, seat: &str, out: &mut Decisions) {
    if let Some((_, gang)) = state.gang_of_absent(seat) {
        let epoch = gang.epoch;
        part(state, seat, epoch, &format!("{seat} came back without epoch {epoch}"), out);
    }
}

/// A process takes its seat: a gang that expects another process there is over.
pub(super) fn replace(state: &mut State, seat: &str, out: &mut Decisions) {
    let incarnation = state.workers.get(seat).map(|worker| worker.hello.incarnation.clone());
    if let Some((_, gang)) = state.gang_of_absent(seat)
        && gang.absent.get(seat) != incarnation.as_ref()
    {
        let epoch = gang.epoch;
        part(state, seat, epoch, &format!("another process has come to the seat {seat}"), out);
    }
}

/// Gives up the gangs whose members do not come back in time.
pub(super) fn expire(state: &mut State, out: &mut Decisions) {
    if state.now < PATIENCE_MS {
        return;
    }
    while let Some((seat, epoch)) = state.next_absent() {
        part(state, &seat, epoch, &format!("{seat} did not come back within {PATIENCE_MS} ms"), out);
    }
}

fn part(state: &mut State, seat: &str, epoch: u64, message: &str, out: &mut Decisions) {
    let failure = Failure::membership(message.to_owned());
    results::failed(state, seat, epoch, failure, out);
}
