//! Gangs: workers in lockstep under one epoch. One lost member ends the epoch for all.

use std::collections::HashMap;

use fulcrum_common::{
    invariant::{Invariant, uphold},
    plan::Stage,
    protocol::{self, Abort, Assignment, command::Command},
};

use super::{checkpoints, results};
use crate::{
    action::{Decisions, Record},
    state::{Gang, Phase, StageState, State, Worker, WorkerState},
};

/// Gives a stage to workers, rank by rank, under a new epoch.
pub(super) fn form(state: &mut State, stage: usize, members: Vec<String>, out: &mut Decisions) {
    let epoch = state.take_epoch();
    let entry = &mut state.stages[stage];
    entry.attempts += 1;
    entry.since = state.now;
    let fewer = if members.len() < entry.world(state.gang) { ", fewer than it was meant for" } else { "" };
    out.because(format!("epoch {epoch}: {:?} goes to {}{fewer}", entry.stage.name, members.join(", ")));
    let key = entry.stage.key;
    let class = |seat: &String| state.workers.get(seat).map(Worker::class);
    uphold(Invariant::OneClass, members.iter().all(|seat| class(seat) == class(&members[0])), || {
        format!("epoch {epoch} goes to {members:?}")
    });
    out.record(Record::EpochBegan { epoch, key, shard: None, members: members.clone() });
    state.turn(stage, StageState::Gang(Gang::new(epoch, members.clone())));
    results::record(state, stage, out);
    for (rank, seat) in members.iter().enumerate() {
        let place = (rank as u32, members.len() as u32);
        assign(state, seat, epoch, stage, place, Rows::default(), out);
    }
}

/// The rows that a worker is given, where it is given rows.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) shard: Option<protocol::Shard>,
    /// Positions of those that are left out.
    pub(super) skip: Vec<u64>,
    pub(super) trial: Option<protocol::Trial>,
}

/// Tells one worker its part of an epoch that has begun.
pub(super) fn assign(
    state: &mut State,
    seat: &str,
    epoch: u64,
    stage: usize,
    (rank, world): (u32, u32),
    rows: Rows,
    out: &mut Decisions,
) {
    let checkpoints = checkpoints::told(state, stage);
    let stage = &state.stages[stage].stage;
    let inputs = inputs(state, stage);
    uphold(Invariant::InputsStand, inputs.len() == stage.spec.inputs.len(), || {
        format!("{:?} has {} of its inputs", stage.name, inputs.len())
    });
    uphold(Invariant::OverIsOver, state.phase == Phase::Running, || format!("{:?} is given out", stage.name));
    let stage = serde_json::to_string(stage).expect("a stage is plain data");
    if let Some(was) = state.workers.turn(seat, WorkerState::Working(epoch)) {
        uphold(Invariant::OneAssignment, was == WorkerState::Idle, || {
            format!("{seat} is given epoch {epoch} and is {}", was.word())
        });
        state.workers.begin(seat, state.now);
        let Rows { shard, skip, trial } = rows;
        let assignment = Assignment { epoch, stage, rank, world, shard, inputs, checkpoints, skip, trial };
        out.send(state.workers[seat].session, Command::Assignment(assignment));
    }
}

/// The manifests that the stage reads, by role.
fn inputs(state: &State, stage: &Stage) -> HashMap<String, String> {
    let inputs = stage.spec.inputs.iter();
    inputs.filter_map(|(role, key)| Some((role.clone(), state.made(*key)?.manifest.clone()))).collect()
}

/// Rank 0 tells where the gang meets; the others hear it.
pub(super) fn rendezvous(state: &mut State, seat: &str, epoch: u64, address: String, out: &mut Decisions) {
    let Some((_, gang)) = state.gang_mut(epoch) else {
        return out.because(format!("ignored a meeting place of {seat}: epoch {epoch} is over"));
    };
    if gang.members.first().is_none_or(|first| first != seat) {
        return out.because(format!("ignored a meeting place of {seat}: it is not rank 0 of epoch {epoch}"));
    }
    gang.meeting = Some(address);
    for other in gang.members.clone().iter().skip(1) {
        meet(state, other, epoch, out);
    }
}

/// Tells a member where its gang meets, if that is known.
pub(super) fn meet(state: &State, seat: &str, epoch: u64, out: &mut Decisions) {
    let meeting = state.gang(epoch).and_then(|gang| gang.meeting.clone());
    if let (Some(address), Some(worker)) = (meeting, state.workers.get(seat)) {
        out.send(worker.session, Command::Rendezvous(protocol::Rendezvous { epoch, address }));
    }
}

/// Ends the epoch of a gang whose end is recorded already: the survivors hear of it, the stage is ready again.
pub(super) fn dissolve(state: &mut State, stage: usize, reason: &str, out: &mut Decisions) {
    let StageState::Gang(gang) = state.stages[stage].state() else { return };
    let gang = gang.clone();
    state.turn(stage, StageState::Ready);
    for seat in &gang.members {
        give_up(state, seat, gang.epoch, reason, out);
    }
}

/// [`dissolve`] for an epoch that the coordinator ends by itself.
pub(super) fn abort(state: &mut State, stage: usize, reason: &str, out: &mut Decisions) {
    if let StageState::Gang(gang) = state.stages[stage].state() {
        results::end(gang.epoch, "aborted", reason, out);
        dissolve(state, stage, reason, out);
        results::record(state, stage, out);
    }
}

/// Tells a worker to give up an epoch, if it still works on it.
pub(super) fn give_up(state: &mut State, seat: &str, epoch: u64, reason: &str, out: &mut Decisions) {
    let reason = reason.to_owned();
    call_off(state, seat, Abort { epoch, reason, stalled: false }, out);
}

/// The same for a worker that lives and does not get on.
pub(super) fn give_up_stalled(state: &mut State, seat: &str, epoch: u64, reason: &str, out: &mut Decisions) {
    let reason = reason.to_owned();
    call_off(state, seat, Abort { epoch, reason, stalled: true }, out);
}

fn call_off(state: &mut State, seat: &str, abort: Abort, out: &mut Decisions) {
    let epoch = abort.epoch;
    if let Some(worker) = state.workers.get(seat)
        && worker.state() == WorkerState::Working(epoch)
    {
        out.send(worker.session, Command::Abort(abort));
        state.workers.turn(seat, WorkerState::Aborting(epoch));
    }
}
