//! What runs next: stages in plan order, as soon as their inputs stand and workers are free.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::plan::Work;

use super::{faults, gangs, results, shards};
use crate::{
    action::Decisions,
    input::Class,
    size,
    state::{Phase, StageState, State, Worker, WorkerState},
};

/// Milliseconds for which finished shards wait for a worker of the class that made them while others are free.
pub(super) const CLASS_PATIENCE_MS: u64 = 10_000;

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
        if let Err(error) = size::check_assignment(&entry.stage, |key| state.manifest(key)) {
            faults::fatal(state, stage, 0, &error.to_string(), out);
        } else if matches!(entry.stage.spec.work, Work::Infer(_)) {
            shards::cut(state, stage, out);
        } else {
            out.because(format!("{:?} is ready", entry.stage.name));
            state.stages[stage].state = StageState::Ready;
            results::record(state, stage, out);
        }
    }
}

/// Gives free workers work. An earlier stage of the plan goes first. A gang whose workers are here but busy holds
/// the workers of their class back from everything after it, so that small work cannot keep it from ever
/// forming; a gang whose workers are not here holds back nobody.
pub(super) fn assign(state: &mut State, out: &mut Decisions) {
    if state.phase != Phase::Running {
        return;
    }
    let mut held = BTreeSet::new();
    let mut waits = Vec::new();
    for stage in 0..state.stages.len() {
        match &state.stages[stage].state {
            StageState::Ready => waits.extend(form(state, stage, &mut held, out)),
            StageState::Shards(_) => waits.extend(lease(state, stage, &held, out)),
            StageState::Committing(_) if !state.stages[stage].message.is_empty() => {
                let entry = &state.stages[stage];
                waits.push(format!("{:?}: {}", entry.stage.name, entry.message));
            }
            _ => {}
        }
    }
    let reason = waits.into_iter().next().unwrap_or_default();
    if state.phase == Phase::Running && state.reason != reason {
        if !reason.is_empty() {
            out.because(reason.clone());
        }
        state.reason = reason;
    }
}

/// Forms the stage's gang. Where that cannot be, returns what it waits for.
fn form(state: &mut State, stage: usize, held: &mut BTreeSet<Class>, out: &mut Decisions) -> Option<String> {
    let world = state.stages[stage].world(state.gang);
    let enough = |seats: &Vec<String>| seats.len() >= world;
    if let Some(members) = classes(state, held, is_idle).into_values().find(enough) {
        gangs::form(state, stage, members.into_iter().take(world).collect(), out);
        return None;
    }
    let here: Vec<Class> = classes(state, &BTreeSet::new(), |_| true)
        .into_iter()
        .filter(|(_, seats)| enough(seats))
        .map(|(class, _)| class)
        .collect();
    let what = if here.is_empty() { "to join" } else { "to be free" };
    held.extend(here.into_iter().find(|class| !held.contains(class)));
    let name = &state.stages[stage].stage.name;
    Some(format!("{name:?} waits for {world} equal workers {what}"))
}

/// Leases the stage's pending shards to free workers of one class. Where none of that class is here, returns that
/// it waits for one; not for ever, because the run may go on with other workers than it began with.
fn lease(state: &mut State, stage: usize, held: &BTreeSet<Class>, out: &mut Decisions) -> Option<String> {
    let other = largest(state, held);
    let class = match shards::class(state, stage) {
        Some(class) if state.workers.values().any(|worker| worker.is_of(&class)) => class,
        Some(class) => {
            let (entry, now) = (&mut state.stages[stage], state.now);
            entry.classless = if other.is_some() { entry.classless.or(Some(now)) } else { None };
            if entry.classless.is_none_or(|since| now - since < CLASS_PATIENCE_MS) {
                return Some(format!(
                    "{:?} waits for a worker of {class}, as made its shards",
                    entry.stage.name
                ));
            }
            shards::forget(state, stage, out);
            other?
        }
        None => other?,
    };
    state.stages[stage].classless = None;
    for seat in classes(state, held, is_idle).remove(&class).unwrap_or_default() {
        if !shards::lease(state, stage, &seat, out) {
            break;
        }
    }
    None
}

/// The class with the most workers among those that have a free one.
fn largest(state: &State, held: &BTreeSet<Class>) -> Option<Class> {
    let idle = classes(state, held, is_idle);
    let mut all = classes(state, held, |_| true);
    all.retain(|class, _| idle.contains_key(class));
    let most = all.values().map(Vec::len).max()?;
    all.into_iter().find(|(_, seats)| seats.len() == most).map(|(class, _)| class)
}

fn is_idle(worker: &Worker) -> bool {
    worker.state == WorkerState::Idle
}

/// Seats by class, in their order, of the workers that serve, are not held back, and are `allowed`.
fn classes(
    state: &State,
    held: &BTreeSet<Class>,
    allowed: impl Fn(&Worker) -> bool,
) -> BTreeMap<Class, Vec<String>> {
    let mut classes: BTreeMap<Class, Vec<String>> = BTreeMap::new();
    for (seat, worker) in state.workers.iter().filter(|(_, worker)| worker.serves() && allowed(worker)) {
        let class = worker.hello.class();
        if !held.contains(&class) {
            classes.entry(class).or_default().push(seat.clone());
        }
    }
    classes
}
