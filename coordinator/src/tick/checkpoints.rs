//! Checkpoints of trainings under way. Every rank of a gang makes its share durable and says so; once all have for a
//! step, the checkpoint is committed. The next gang of the stage goes on from the newest that it can read.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    Key,
    experiment::Cadence,
    invariant::{Invariant, uphold},
    plan::Work,
    protocol::{self, Committed, command::Command},
    store::{Checkpoint, File},
};

use super::{
    copies::{self, Said},
    progress,
};
use crate::{
    action::{Action, Decisions},
    input::Copied,
    state::{Faults, StageState, State},
};

/// Checkpoints that a stage has at most. The last one may prove unreadable.
const KEPT: usize = 2;

/// What a gang is told; nothing where the stage is no training.
pub(super) fn told(state: &State, stage: usize) -> Option<protocol::Checkpoints> {
    let (entry, Cadence { steps, seconds, verify_steps }) = (&state.stages[stage], state.cadence);
    let past = || entry.checkpoints.iter().map(Checkpoint::to_json).collect();
    matches!(entry.stage.spec.work, Work::Train(_)).then(|| protocol::Checkpoints {
        every_steps: steps,
        every_ms: seconds.saturating_mul(1000),
        past: past(),
        compare_steps: verify_steps,
        compare_at: entry.doubt.as_ref().map_or(0, |doubt| doubt.step),
    })
}

/// A rank has made its share of a checkpoint durable.
pub(super) fn share(
    state: &mut State,
    seat: &str,
    (epoch, step): (u64, u64),
    share: (Vec<File>, Option<Copied>),
    out: &mut Decisions,
) {
    let Some((stage, gang)) = state.gang_mut(epoch) else {
        return out.because(format!("ignored a checkpoint of {seat}: epoch {epoch} is over"));
    };
    let Some(rank) = gang.members.iter().position(|member| member == seat) else { return };
    let shares = gang.shares.entry(step).or_default();
    shares.insert(rank, share);
    if shares.len() < gang.members.len() {
        return discard(state, (epoch, step), out);
    }
    let members = gang.members.len();
    // A gang takes its snapshots in order: shares of earlier steps are of checkpoints that will not come about.
    let shares = gang.shares.remove(&step).unwrap_or_default();
    gang.shares.retain(|other, _| *other > step);
    // What a rank keeps is its own part of what all hold: where they disagree, nobody goes on from it.
    let said: Said = shares.iter().filter_map(|(rank, (_, copy))| Some((*rank, (*copy)?))).collect();
    let key = state.stages[stage].stage.key;
    let is_compared = !said.is_empty();
    let agreed = !is_compared || said.len() == members && copies::agree(state, (epoch, step), &said, out);
    if !agreed {
        return out.actions.push(Action::Discard { key, epoch, step });
    }
    let entry = &state.stages[stage];
    uphold(Invariant::WholeCheckpoint, shares.keys().copied().eq(0..members), || {
        format!("{:?}, step {step}: shares of {:?} of {members}", entry.stage.name, shares.keys())
    });
    let files = shares.into_values().flat_map(|(files, _)| files).collect();
    let checkpoint = Checkpoint { key: entry.stage.key, epoch, step, world: members as u64, files };
    if let Err(error) = checkpoint.check() {
        return out.because(format!("ignored a checkpoint of {:?}: {error}", entry.stage.name));
    }
    let kept = entry.checkpoints.iter().take(KEPT - 1).cloned().collect();
    out.actions.push(Action::Keep { checkpoint: Box::new(checkpoint), kept });
}

/// A rank could not: its stage is told, and goes on.
pub(super) fn lacking(
    state: &mut State,
    seat: &str,
    (epoch, step): (u64, u64),
    message: &str,
    out: &mut Decisions,
) {
    let Some((stage, gang)) = state.gang_mut(epoch) else { return };
    let Some(rank) = gang.members.iter().position(|member| member == seat) else { return };
    gang.lacking.entry(step).or_default().insert(rank);
    discard(state, (epoch, step), out);
    let key = state.stages[stage].stage.key;
    failed(state, key, step, &format!("{seat}: {message}"), out);
}

/// Once every rank has said what came of its share, and one has none, the others' make room: on a full disk they would
/// keep the next checkpoint, or the model itself, from being written.
fn discard(state: &mut State, (epoch, step): (u64, u64), out: &mut Decisions) {
    let Some((stage, gang)) = state.gang_mut(epoch) else { return };
    let kept = gang.shares.get(&step).map_or(0, BTreeMap::len);
    let lacking = gang.lacking.get(&step).map_or(0, BTreeSet::len);
    if lacking > 0 && kept + lacking == gang.members.len() {
        gang.lacking.retain(|other, _| *other > step);
        gang.shares.retain(|other, _| *other > step);
        let key = state.stages[stage].stage.key;
        out.actions.push(Action::Discard { key, epoch, step });
    }
}

/// A checkpoint stands in the store.
pub(super) fn kept(state: &mut State, checkpoint: Checkpoint, out: &mut Decisions) {
    let Some(stage) = state.agenda.place(checkpoint.key) else { return };
    let entry = &mut state.stages[stage];
    if entry.state().is_made() {
        // The stage came first: nobody will go on from here.
        return out.actions.push(Action::Forget(checkpoint.key));
    }
    out.because(format!("{:?} can go on from step {}", entry.stage.name, checkpoint.step));
    let farthest = entry.checkpoints.first().map_or(0, |newest| newest.step);
    let forward = checkpoint.step > farthest;
    if forward {
        // What failed before did not keep it from getting on.
        entry.faults = Faults::default();
        if matches!(entry.state(), StageState::Ready | StageState::Gang(_)) {
            entry.message = entry.note();
        }
    }
    let (epoch, step) = (checkpoint.epoch, checkpoint.step);
    entry.checkpoints.insert(0, checkpoint);
    entry.checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.age()));
    entry.checkpoints.truncate(KEPT);
    if forward {
        progress::forward(state, stage, (epoch, step));
    }
    let members = state.gang(epoch).map(|gang| gang.members.clone()).unwrap_or_default();
    for member in members.iter().filter_map(|seat| state.workers.get(seat)) {
        out.send(member.session, Command::Committed(Committed { epoch, step }));
    }
}

/// It does not. Those before it stay, and the training goes on.
pub(super) fn failed(state: &mut State, key: Key, step: u64, message: &str, out: &mut Decisions) {
    let Some(stage) = state.agenda.place(key) else { return };
    let entry = &mut state.stages[stage];
    let message = format!("no checkpoint after step {step}, the one before it stays: {message}");
    out.because(format!("{:?}: {message}", entry.stage.name));
    if matches!(entry.state(), StageState::Ready | StageState::Gang(_)) {
        entry.message = message;
    }
}
