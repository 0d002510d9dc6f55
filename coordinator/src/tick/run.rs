//! When the run is over, and how.

use super::{gangs, membership, shards};
use crate::{
    action::{Decisions, Record},
    state::{Phase, State},
};

/// The run is done once its last stage stands in the store.
pub(super) fn settle(state: &mut State, out: &mut Decisions) {
    let goal = state.stages.last().is_none_or(|entry| entry.state().is_made());
    if goal && matches!(state.phase, Phase::Running | Phase::Stopping) {
        enter(state, Phase::Done, "every stage is in the store", out);
    }
}

/// A stage failed for good. What else runs is given up: its finished stages and shards are kept.
pub(super) fn fail(state: &mut State, code: i32, reason: &str, out: &mut Decisions) {
    if matches!(state.phase, Phase::Running | Phase::Stopping) {
        abort_all(state, reason, out);
        enter(state, Phase::Failed(code), reason, out);
    }
}

/// Asked once, what runs is finished; asked again, it is given up.
pub(super) fn stop(state: &mut State, out: &mut Decisions) {
    match state.phase {
        Phase::Running => enter(state, Phase::Stopping, "asked to stop", out),
        Phase::Stopping => abort_all(state, "asked to stop at once", out),
        Phase::Done | Phase::Failed(_) => {}
    }
}

fn abort_all(state: &mut State, reason: &str, out: &mut Decisions) {
    for stage in 0..state.stages.len() {
        gangs::abort(state, stage, reason, out);
        shards::abort(state, stage, reason, out);
    }
}

/// Leaves the present phase: nothing more is started, all workers are told to finish and leave.
fn enter(state: &mut State, phase: Phase, reason: &str, out: &mut Decisions) {
    state.phase = phase;
    reason.clone_into(&mut state.reason);
    state.ended = Some(state.now);
    out.because(format!("the run is {}: {reason}", phase.word()));
    out.record(Record::Phase { phase: phase.word(), reason: reason.to_owned() });
    let seats: Vec<String> = state.workers.iter().map(|worker| worker.hello.seat.clone()).collect();
    for seat in seats {
        membership::drain(state, &seat, out);
    }
}
