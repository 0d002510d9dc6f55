//! Whether trainings get on. Epochs in which one comes no farther than ever before, one after the other, end the run:
//! what kills its workers, or is killed more often than it keeps a checkpoint, would go on so for ever.

use fulcrum_common::plan::Work;

use crate::state::{Gang, State, Vain};

/// Epochs without a step forward that end the run.
pub(crate) const MAX_VAIN: usize = 3;

/// A member of a gang says how many steps of its training are done.
pub(super) fn reported(state: &mut State, epoch: u64, step: u64) {
    if step == 0 {
        return;
    }
    let Some((stage, _)) = state.gang_mut(epoch) else { return };
    if step > state.stages[stage].farthest {
        forward(state, stage, (epoch, step));
    }
}

/// A training has come farther than ever before, in steps or in checkpoints, through what was done in this epoch.
pub(super) fn forward(state: &mut State, stage: usize, (epoch, step): (u64, u64)) {
    let farthest = &mut state.stages[stage].farthest;
    *farthest = step.max(*farthest);
    state.vain.remove(&stage);
    if let Some((_, gang)) = state.gang_mut(epoch) {
        gang.advanced = true;
    }
}

/// A gang's epoch has ended without a result. Where it is one too many that came no farther, says so.
///
/// An epoch counts once the gang could meet: who is lost before that has not tried.
pub(super) fn ended(state: &mut State, stage: usize, gang: &Gang, reason: &str) -> Option<String> {
    let began = gang.meeting.is_some() || gang.members.len() == 1;
    let trains = matches!(state.stages[stage].stage.spec.work, Work::Train(_));
    if !trains || !began || gang.advanced || !gang.absent.is_empty() {
        return None;
    }
    let vain = state.vain.entry(stage).or_default();
    vain.push(Vain { epoch: gang.epoch, members: gang.members.clone(), reason: reason.to_owned() });
    if vain.len() < MAX_VAIN {
        return None;
    }
    let told: Vec<String> = vain.iter().map(|it| format!("epoch {}: {}", it.epoch, it.reason)).collect();
    let farthest = state.stages[stage].farthest;
    Some(format!("no step beyond {farthest} in {MAX_VAIN} epochs: {}", told.join("; ")))
}

/// A worker leaves in good order: the epoch that ended with it says nothing about its training.
pub(super) fn excuse(state: &mut State, seat: &str) {
    for vain in state.vain.values_mut() {
        vain.pop_if(|last| last.members.iter().any(|member| member == seat));
    }
    state.vain.retain(|_, vain| !vain.is_empty());
}

/// The true cause of an epoch's end became known later.
pub(super) fn explain(state: &mut State, stage: usize, epoch: u64, reason: &str) {
    let last = state.vain.get_mut(&stage).and_then(|vain| vain.last_mut());
    if let Some(last) = last.filter(|last| last.epoch == epoch) {
        reason.clone_into(&mut last.reason);
    }
}
