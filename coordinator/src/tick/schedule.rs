//! What runs next: stages in plan order, as soon as their inputs stand and workers are free.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::plan::Work;

use super::{faults, gangs, results, shards};
use crate::{
    action::Decisions,
    input::Class,
    size,
    state::{Entry, Phase, Roster, StageState, State},
};

/// Milliseconds for which finished shards wait for a worker of the class that made them while others are free.
pub(super) const CLASS_PATIENCE_MS: u64 = 10_000;

/// Milliseconds for which a training waits for workers that stay away before it goes on with fewer.
pub(super) const SHORT_PATIENCE_MS: u64 = 30_000;

/// Stages whose inputs stand in the store become ready.
pub(super) fn promote(state: &mut State, out: &mut Decisions) {
    while state.phase == Phase::Running
        && let Some(stage) = state.agenda.take_complete()
    {
        let entry = &state.stages[stage];
        if *entry.state() != StageState::Waiting {
            continue;
        }
        let bytes = |key| state.made(key).map(|made| made.manifest.len());
        if let Err(error) = size::check_assignment(&entry.stage, bytes) {
            faults::fatal(state, stage, 0, &error.to_string(), out);
        } else if matches!(entry.stage.spec.work, Work::Infer(_)) {
            shards::cut(state, stage, out);
        } else {
            out.because(format!("{:?} is ready", entry.stage.name));
            state.turn(stage, StageState::Ready);
            results::record(state, stage, out);
        }
    }
}

/// One giving out of work.
#[derive(Default)]
struct Round {
    /// Classes whose workers are held back for a gang.
    held: BTreeSet<Class>,
    /// Sizes of gangs that cannot be had and hold back nobody more.
    hopeless: BTreeSet<usize>,
    /// What stages wait for, by position.
    waits: BTreeMap<usize, String>,
}

/// Gives free workers work. An earlier stage of the plan goes first. A gang whose workers are here but busy holds
/// the workers of their class back from everything after it, so that small work cannot keep it from ever
/// forming; a gang whose workers are not here holds back nobody.
pub(super) fn assign(state: &mut State, out: &mut Decisions) {
    if state.phase != Phase::Running {
        return;
    }
    let (mut round, mut from) = (Round::default(), 0);
    while state.workers.any_idle(&round.held)
        && let Some(stage) = state.agenda.next(from, &round.hopeless)
    {
        consider(state, stage, &mut round, out);
        from = stage + 1;
    }
    for class in wanted(state, from, &round) {
        shards::recall(state, &class, out);
    }
    speculate(state, &round.held, out);
    // Where nobody is free, finished shards do not wait for their class while others are.
    state.classless.retain(|stage, _| *stage < from);
    if state.phase == Phase::Running {
        explain(state, round, from, out);
    }
}

/// Classes whose workers are waited for by the first stage that waits for any.
fn wanted(state: &State, from: usize, round: &Round) -> BTreeSet<Class> {
    let mut wanted = round.held.clone();
    let Some(stage) = state.agenda.next(from, &round.hopeless) else { return wanted };
    let entry = &state.stages[stage];
    let class = match entry.state() {
        StageState::Shards(shards) => shards.class(),
        _ => None,
    };
    let world = if class.is_some() { 1 } else { entry.world(state.gang) };
    let all = state.workers.classes(&round.held).filter(|(_, roster)| roster.here.len() >= world);
    wanted.extend(all.map(|(one, _)| one).filter(|one| class.is_none_or(|class| class == *one)).cloned());
    wanted
}

/// Gives workers for whom nothing else is to do the shards that others have had for long. The first to finish counts.
fn speculate(state: &mut State, held: &BTreeSet<Class>, out: &mut Decisions) {
    if !state.workers.any_idle(held) {
        return;
    }
    for stage in state.agenda.ending().clone() {
        let StageState::Shards(shards) = state.stages[stage].state() else { continue };
        let Some(class) = shards.class().filter(|class| !held.contains(*class)).cloned() else { continue };
        while let Some(seat) = state.workers.first_idle(&class)
            && shards::copy(state, stage, &seat, out)
        {}
    }
}

/// Gives a stage workers, or notes what it waits for.
fn consider(state: &mut State, stage: usize, round: &mut Round, out: &mut Decisions) {
    let wait = match state.stages[stage].state() {
        StageState::Ready => form(state, stage, round, out),
        StageState::Shards(_) => lease(state, stage, &round.held, out),
        _ => None,
    };
    round.waits.extend(wait.map(|wait| (stage, wait)));
}

/// Says what the first stage that waits waits for: one that was considered, one that was not because nobody is free,
/// or one whose manifest the store did not take.
fn explain(state: &mut State, mut round: Round, from: usize, out: &mut Decisions) {
    for stage in
        [state.agenda.next(from, &round.hopeless), state.agenda.next_ready(from)].into_iter().flatten()
    {
        if round.waits.is_empty() {
            consider(state, stage, &mut round, out);
        }
    }
    let held_up = state.agenda.held_up().iter().map(|stage| (*stage, &state.stages[*stage]));
    let message = |entry: &Entry| format!("{:?}: {}", entry.stage.name, entry.message);
    round.waits.extend(held_up.map(|(stage, entry)| (stage, message(entry))).next());
    let reason = round.waits.into_values().next().unwrap_or_default();
    if state.reason != reason {
        if !reason.is_empty() {
            out.because(reason.clone());
        }
        state.reason = reason;
    }
}

/// Forms the stage's gang. Where that cannot be, returns what it waits for.
fn form(state: &mut State, stage: usize, round: &mut Round, out: &mut Decisions) -> Option<String> {
    let world = state.stages[stage].world(state.gang);
    let members = state.workers.classes(&round.held).find_map(|(_, roster)| roster.gang(world));
    if let Some(members) = members.or_else(|| fewer(state, stage, world, &round.held)) {
        state.short.remove(&stage);
        gangs::form(state, stage, members, out);
        return None;
    }
    let enough = |(_, roster): &(&Class, &Roster)| roster.here.len() >= world;
    let busy = state.workers.classes(&round.held).find(enough).map(|(class, _)| class.clone());
    let is_here = busy.is_some() || state.workers.classes(&BTreeSet::new()).any(|class| enough(&class));
    match busy {
        Some(class) => round.held.insert(class),
        None => round.hopeless.insert(world),
    };
    let what = if is_here { "to be free" } else { "to join" };
    let name = &state.stages[stage].stage.name;
    Some(format!("{name:?} waits for {world} equal workers {what}"))
}

/// The members of a smaller gang for a training, once workers have stayed away for long and all that are here are free.
fn fewer(state: &mut State, stage: usize, world: usize, held: &BTreeSet<Class>) -> Option<Vec<String>> {
    let (_, roster) = state.workers.classes(held).max_by_key(|(_, roster)| roster.here.len())?;
    let entry = &state.stages[stage];
    let possible = entry.fewer(roster.here.len(), state.fewest).filter(|fewer| *fewer < world);
    let (Some(fewer), true) = (possible, roster.here.len() < world) else {
        state.short.remove(&stage);
        return None;
    };
    let members = roster.gang(fewer).filter(|_| roster.idle.len() == roster.here.len());
    let since = *state.short.entry(stage).or_insert(state.now);
    members.filter(|_| state.now - since >= SHORT_PATIENCE_MS)
}

/// Leases the stage's pending shards to free workers of one class. Where none of that class is here, returns that
/// it waits for one; not for ever, because the run may go on with other workers than it began with.
fn lease(state: &mut State, stage: usize, held: &BTreeSet<Class>, out: &mut Decisions) -> Option<String> {
    let StageState::Shards(shards) = state.stages[stage].state() else { return None };
    let class = match shards.class() {
        Some(class) if state.workers.of(class).is_some() => class.clone(),
        Some(class) => {
            let wait = format!(
                "{:?} waits for a worker of {class}, as made its shards",
                state.stages[stage].stage.name
            );
            if !state.workers.any_idle(held) {
                state.classless.remove(&stage);
                return Some(wait);
            }
            let since = *state.classless.entry(stage).or_insert(state.now);
            if state.now - since < CLASS_PATIENCE_MS {
                return Some(wait);
            }
            shards::forget(state, stage, out);
            largest(state, held)?
        }
        None => largest(state, held)?,
    };
    state.classless.remove(&stage);
    if !held.contains(&class) {
        while let Some(seat) = state.workers.first_idle(&class)
            && shards::lease(state, stage, &seat, out)
        {}
    }
    None
}

/// The class with the most workers among those that have a free one.
fn largest(state: &State, held: &BTreeSet<Class>) -> Option<Class> {
    let free = || state.workers.classes(held).filter(|(_, roster)| !roster.idle.is_empty());
    let most = free().map(|(_, roster)| roster.here.len()).max()?;
    free().find(|(_, roster)| roster.here.len() == most).map(|(class, _)| class.clone())
}
