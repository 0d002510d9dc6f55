//! What a failure costs: another attempt, or the run.

use fulcrum_common::exit;

use super::{gangs, progress, results, run, shards};
use crate::{
    action::Decisions,
    input::Failure,
    state::{Faults, StageState, State},
};

/// Failures of the work itself, of one stage or one shard, that end the run.
pub(crate) const MAX_WORK_FAULTS: u32 = 3;

/// Losses of workers, at one stage or one shard, that end the run. Many: work that kills its worker each
/// time has to end too, but a flaky cluster is not the work's fault.
pub(crate) const MAX_MEMBERSHIP_FAULTS: u32 = 20;

impl Faults {
    /// Counts one more; the exit code of the run if it is one too many.
    pub(super) fn count(&mut self, failure: &Failure) -> Option<i32> {
        if !failure.retry {
            return Some(failure.exit());
        }
        let (count, most, code) = match failure.membership {
            true => (&mut self.membership, MAX_MEMBERSHIP_FAULTS, exit::NO_PROGRESS),
            false => (&mut self.work, MAX_WORK_FAULTS, failure.exit()),
        };
        *count += 1;
        (*count >= most).then_some(code)
    }
}

/// Counts a failure against a stage whose attempt is over already. `vain`: its training has come no farther for too long.
pub(super) fn stage(
    state: &mut State,
    stage: usize,
    failure: &Failure,
    vain: Option<String>,
    out: &mut Decisions,
) {
    let entry = &mut state.stages[stage];
    entry.message.clone_from(&failure.message);
    match (entry.faults.count(failure), vain) {
        (Some(code), _) => fatal(state, stage, code, &failure.message, out),
        (None, Some(vain)) => fatal(state, stage, exit::STANDSTILL, &vain, out),
        (None, None) => {
            out.because(format!("{:?} will be tried again: {}", entry.stage.name, failure.message));
            results::record(state, stage, out);
        }
    }
}

/// A member of a gang that broke tells a cause after a peer has told its effect: the cause counts, not the effect.
pub(super) fn late(state: &mut State, epoch: u64, failure: &Failure, out: &mut Decisions) {
    if failure.membership {
        return;
    }
    let Some(index) = state.agenda.take_broken(epoch) else {
        return out
            .because(format!("ignored a failure of epoch {epoch}, which is over: {}", failure.message));
    };
    let entry = &mut state.stages[index];
    if matches!(entry.state(), StageState::Waiting | StageState::Ready | StageState::Gang(_)) {
        entry.faults.membership = entry.faults.membership.saturating_sub(1);
        progress::explain(state, index, epoch, &failure.message);
        stage(state, index, failure, None, out);
    }
}

/// The stage cannot be made, and so neither can the run's goal.
pub(super) fn fatal(state: &mut State, stage: usize, code: i32, message: &str, out: &mut Decisions) {
    let reason = format!("stage {:?} failed: {message}", state.stages[stage].stage.name);
    gangs::abort(state, stage, &reason, out);
    shards::abort(state, stage, &reason, out);
    state.turn(stage, StageState::Failed);
    message.clone_into(&mut state.stages[stage].message);
    results::record(state, stage, out);
    run::fail(state, if code == 0 { exit::MISMATCH } else { code }, &reason, out);
}
