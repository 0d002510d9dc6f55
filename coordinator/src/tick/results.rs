//! What comes of assignments: done, failed, committed.
//!
//! A result counts only while its epoch is the one its stage or shard waits for. Everything else is late:
//! it frees the worker and changes nothing more.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::{
    Key,
    invariant::{Invariant, uphold},
    plan::{CORRUPTED, Work},
    store::{File, Manifest},
};

use super::{copies, faults, gangs, progress, shards};
use crate::{
    action::{Action, Decisions, Product, Record},
    input::Failure,
    state::{Owner, StageState, State, Worker, WorkerState},
};

/// Milliseconds between two attempts to commit where the store cannot be written.
pub(super) const COMMIT_PAUSE_MS: u64 = 5_000;

/// A worker finished its part of an assignment.
pub(super) fn done(
    state: &mut State,
    seat: &str,
    epoch: u64,
    files: Vec<File>,
    facts: BTreeMap<String, u64>,
    out: &mut Decisions,
) {
    let owner = state.owner(epoch, seat);
    if let Some(Owner::Rank { stage, rank: 0 } | Owner::Shard { stage, .. }) = owner
        && let Some(stray) = files.iter().find(|file| !lies_in(file, state.stages[stage].stage.key, epoch))
    {
        let message = format!("{seat} made {:?} at {:?}, not in epoch {epoch}", stray.name, stray.path);
        let failure = Failure { message, retry: true, ..Failure::default() };
        return failed(state, seat, epoch, failure, out);
    }
    free(state, seat, epoch);
    let class = state.workers.get(seat).map(|worker| worker.class().clone()).unwrap_or_default();
    let product = Product { epoch, class, files, facts };
    match owner {
        Some(Owner::Rank { rank: 0, .. }) => copies::back(state, epoch, 0, Some(product), out),
        Some(Owner::Rank { rank, .. }) => copies::back(state, epoch, rank, None, out),
        Some(Owner::Shard { stage, index }) => shards::done(state, stage, index, product, out),
        None if product.files.is_empty() => {}
        None => out.because(format!("ignored what {seat} made in epoch {epoch}: the epoch is over")),
    }
}

/// Rank 0 has made the stage's files, and nobody held anything else.
pub(super) fn gang_done(state: &mut State, stage: usize, epoch: u64, product: Product, out: &mut Decisions) {
    let current = matches!(state.stages[stage].state(), StageState::Gang(gang) if gang.epoch == epoch);
    uphold(Invariant::CurrentEpochCounts, current, || format!("epoch {epoch} is finished"));
    end(epoch, "done", "finished by rank 0", out);
    // Whatever the others still do is of no use any more.
    gangs::dissolve(state, stage, "rank 0 has finished the stage", out);
    finish(state, stage, product, out);
}

/// Whether the file lies where an attempt puts it. The bytes of another attempt are not what this one made.
fn lies_in(file: &File, key: Key, epoch: u64) -> bool {
    file.path == format!("artifacts/{key}/{epoch}/{}", file.name)
}

/// A worker failed, or was lost, in its part of an assignment.
pub(super) fn failed(state: &mut State, seat: &str, epoch: u64, failure: Failure, out: &mut Decisions) {
    free(state, seat, epoch);
    broke(state, seat, epoch, &failure, out);
}

/// The part of a worker in an assignment came to nothing, whatever the worker does now.
pub(super) fn broke(state: &mut State, seat: &str, epoch: u64, failure: &Failure, out: &mut Decisions) {
    match state.owner(epoch, seat) {
        Some(Owner::Rank { stage, .. }) => {
            let gang = state.gang(epoch).cloned();
            end(epoch, "failed", &failure.message, out);
            gangs::dissolve(state, stage, &failure.message, out);
            state.agenda.gang_ended(stage, epoch, failure.membership);
            let vain = gang.and_then(|gang| progress::ended(state, stage, &gang, &failure.message));
            faults::stage(state, stage, failure, vain, out);
        }
        Some(Owner::Shard { stage, index }) => {
            end(epoch, "failed", &failure.message, out);
            shards::failed(state, stage, (index, epoch), failure, out);
        }
        None => faults::late(state, epoch, failure, out),
    }
}

/// The worker has answered for that epoch.
fn free(state: &mut State, seat: &str, epoch: u64) {
    let does = state.workers.get(seat).map(Worker::state);
    if matches!(does, Some(WorkerState::Working(e) | WorkerState::Aborting(e)) if e == epoch) {
        state.workers.turn(seat, WorkerState::Idle);
    }
}

pub(super) fn end(epoch: u64, outcome: &'static str, reason: &str, out: &mut Decisions) {
    out.record(Record::EpochEnded { epoch, outcome, reason: reason.to_owned() });
}

/// A stage's files are all there: its manifest goes to the store.
pub(super) fn finish(state: &mut State, stage: usize, product: Product, out: &mut Decisions) {
    let entry = &mut state.stages[stage];
    let mut names = BTreeSet::new();
    if let Some(twice) = product.files.iter().find(|file| !names.insert(&file.name)) {
        let message = format!("two of its files are called {:?}", twice.name);
        return faults::fatal(state, stage, 0, &message, out);
    }
    let manifest = Manifest {
        key: entry.stage.key,
        name: entry.stage.name.clone(),
        epoch: product.epoch,
        files: product.files,
        facts: product.facts.into_iter().chain(corrupted(&entry.named)).collect(),
        spec: entry.stage.spec.clone(),
    };
    out.because(format!(
        "{:?} is made in epoch {}, {} files",
        manifest.name,
        manifest.epoch,
        manifest.files.len()
    ));
    entry.message.clear();
    entry.recommit = None;
    state.turn(stage, StageState::Committing(Box::new(manifest.clone())));
    record(state, stage, out);
    out.actions.push(Action::Commit(Box::new(manifest)));
}

/// How often workers were found to hold corrupted weights, as facts of what came of it all the same.
fn corrupted(named: &BTreeMap<String, u64>) -> impl Iterator<Item = (String, u64)> {
    named.iter().map(|(seat, count)| (format!("{CORRUPTED}{seat}"), *count))
}

/// A manifest stands in the store.
pub(super) fn committed(state: &mut State, manifest: &Manifest, out: &mut Decisions) {
    let Some(stage) = committing(state, manifest.key) else {
        return out.because(format!("ignored a commit of {}: nobody waits for it", manifest.key.short()));
    };
    let entry = &mut state.stages[stage];
    entry.message = entry.note();
    entry.recommit = None;
    out.because(format!("{:?} is done", entry.stage.name));
    if matches!(entry.stage.spec.work, Work::Infer(_)) {
        out.record(Record::ShardsDropped { key: entry.stage.key });
    }
    if matches!(entry.stage.spec.work, Work::Train(_)) {
        entry.checkpoints.clear();
        out.actions.push(Action::Forget(entry.stage.key));
    }
    state.complete(stage, manifest);
    record(state, stage, out);
}

/// The store could not be written: no space, no permission. The files are as they should be, and wait.
pub(super) fn held_up(state: &mut State, key: Key, message: &str, out: &mut Decisions) {
    let Some(stage) = committing(state, key) else { return };
    let entry = &mut state.stages[stage];
    entry.recommit = Some(state.now.saturating_add(COMMIT_PAUSE_MS));
    state.agenda.hold_up(stage);
    let message = format!("commit failed, the files are kept and it is tried again: {message}");
    if entry.message != message {
        out.because(format!("{:?}: {message}", entry.stage.name));
        entry.message = message;
        record(state, stage, out);
    }
}

/// Tries again the commits whose pause is over.
pub(super) fn recommit(state: &mut State, out: &mut Decisions) {
    for stage in state.agenda.held_up() {
        let entry = &mut state.stages[*stage];
        if let StageState::Committing(manifest) = entry.state()
            && entry.recommit.is_some_and(|at| at <= state.now)
        {
            out.actions.push(Action::Commit(manifest.clone()));
            entry.recommit = None;
        }
    }
}

/// The store refused a manifest: the files are not what was said. They are made again.
pub(super) fn spoiled(state: &mut State, key: Key, message: &str, out: &mut Decisions) {
    let Some(stage) = committing(state, key) else { return };
    state.stages[stage].kept.clear();
    state.turn(stage, StageState::Waiting);
    out.record(Record::ShardsDropped { key });
    let message = format!("commit failed: {message}");
    let failure = Failure { message, retry: true, ..Failure::default() };
    faults::stage(state, stage, &failure, None, out);
}

fn committing(state: &State, key: Key) -> Option<usize> {
    let stage = state.agenda.place(key)?;
    matches!(state.stages[stage].state(), StageState::Committing(_)).then_some(stage)
}

/// Writes the stage's state to the journal.
pub(super) fn record(state: &State, stage: usize, out: &mut Decisions) {
    let entry = &state.stages[stage];
    let pending = match entry.state() {
        StageState::Committing(manifest) => Some(manifest.clone()),
        _ => None,
    };
    out.record(Record::Stage {
        key: entry.stage.key,
        state: entry.state().word(),
        attempts: entry.attempts,
        message: entry.message.clone(),
        pending,
    });
}
