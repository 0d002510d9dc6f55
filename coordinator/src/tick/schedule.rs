//! What runs next: stages in plan order, as soon as their inputs stand and workers are free.

use std::collections::BTreeMap;

use fulcrum_common::plan::Work;

use super::{gangs, results, shards};
use crate::{
    action::Decisions,
    state::{Phase, StageState, State, WorkerState},
};

/// Stages whose inputs stand in the store become ready.
pub(super) fn promote(state: &mut State, out: &mut Decisions) {
    for stage in 0..state.stages.len() {
        let entry = &state.stages[stage];
        let made = |key: &fulcrum_common::Key| state.manifest(*key).is_some();
        if state.phase != Phase::Running
            || entry.state != StageState::Waiting
            || !entry.stage.spec.inputs.values().all(made)
        {
            continue;
        }
        if matches!(entry.stage.spec.work, Work::Infer(_)) {
            shards::cut(state, stage, out);
        } else {
            out.because(format!("{:?} is ready", entry.stage.name));
            state.stages[stage].state = StageState::Ready;
            results::record(state, stage, out);
        }
    }
}

/// Gives free workers work. An earlier stage of the plan goes first. A gang whose workers are here but busy holds
/// back everything after it, so that small work cannot keep it from ever forming; a gang whose workers
/// are not here holds back nothing.
pub(super) fn assign(state: &mut State, out: &mut Decisions) {
    if state.phase != Phase::Running {
        return;
    }
    let mut waits = String::new();
    for stage in 0..state.stages.len() {
        match &state.stages[stage].state {
            StageState::Ready => {
                let world = state.stages[stage].world(state.gang);
                if let Some(members) = equals(state, world, |worker| *worker == WorkerState::Idle) {
                    gangs::form(state, stage, members, out);
                    continue;
                }
                let name = &state.stages[stage].stage.name;
                let here = equals(state, world, |_| true).is_some();
                let what = if here { "to be free" } else { "to join" };
                if waits.is_empty() {
                    waits = format!("{name:?} waits for {world} equal workers {what}");
                }
                if here {
                    break;
                }
            }
            StageState::Shards(_) => {
                while let Some(idle) = equals(state, 1, |worker| *worker == WorkerState::Idle) {
                    if !shards::lease(state, stage, &idle[0], out) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    if state.phase == Phase::Running && state.reason != waits {
        if !waits.is_empty() {
            out.because(waits.clone());
        }
        state.reason = waits;
    }
}

/// The first `world` workers of one class in the order of seats, among those that serve and do what `state` allows.
fn equals(state: &State, world: usize, allowed: impl Fn(&WorkerState) -> bool) -> Option<Vec<String>> {
    let mut classes: BTreeMap<(&str, u32), Vec<&String>> = BTreeMap::new();
    for (seat, worker) in &state.workers {
        if worker.serves() && allowed(&worker.state) {
            classes.entry(worker.hello.class()).or_default().push(seat);
        }
    }
    let enough = classes.into_values().find(|seats| seats.len() >= world)?;
    Some(enough.into_iter().take(world).cloned().collect())
}
