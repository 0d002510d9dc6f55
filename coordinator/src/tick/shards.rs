//! Shards: ranges of rows, leased one by one to whoever is free, kept once finished.

use std::ops::Range;

use fulcrum_common::{
    invariant::{Invariant, uphold},
    plan::{Infer, Stage, Work},
    protocol,
};

use super::{faults, gangs, poison, results};
use crate::{
    action::{Decisions, Product, Record},
    input::{Class, Failure},
    state::{Lease, ShardState, Shards, StageState, State},
};

/// Shards that a stage may have: its manifest travels in one message.
const MAX_SHARDS: u64 = 1 << 14;

/// Cuts an infer stage whose inputs stand in the store into shards. Shards that an earlier coordinator
/// saw finished are finished.
pub(super) fn cut(state: &mut State, stage: usize, out: &mut Decisions) {
    let rows = match rows(state, &state.stages[stage].stage) {
        Ok(rows) => rows,
        Err(message) => return faults::fatal(state, stage, 0, &message, out),
    };
    let entry = &mut state.stages[stage];
    let Work::Infer(Infer { shard, .. }) = entry.stage.spec.work else { return };
    let searches = std::mem::take(&mut entry.searches);
    let shards = Shards::new(rows, shard as u64, std::mem::take(&mut entry.kept), searches);
    let (count, finished) = (shards.count(), shards.finished());
    out.because(format!("{:?} is ready: {count} shards, {finished} finished before", entry.stage.name));
    entry.since = state.now;
    state.turn(stage, StageState::Shards(shards));
    results::record(state, stage, out);
    if finished == count {
        gather(state, stage, out);
    }
}

/// Rows of the part that an infer stage reads.
fn rows(state: &State, stage: &Stage) -> Result<u64, String> {
    let Work::Infer(infer) = &stage.spec.work else { return Err("it has no shards".to_owned()) };
    let key = stage.spec.input("data").map_err(|error| error.to_string())?;
    let fact = infer.part.fact();
    let rows = state.made(key).and_then(|made| made.facts.get(&fact)).copied();
    let rows = rows.ok_or_else(|| format!("its data {} has no fact {fact:?}", key.short()))?;
    if infer.shard == 0 || rows.div_ceil(infer.shard as u64) > MAX_SHARDS {
        let size = infer.shard;
        return Err(format!(
            "{rows} rows in shards of {size} are over {MAX_SHARDS} shards: raise `shard` under [infer], or --shard"
        ));
    }
    Ok(rows)
}

/// Gives the finished shards up, so that workers of another class can make them all.
pub(super) fn forget(state: &mut State, stage: usize, out: &mut Decisions) {
    state.forget_shards(stage);
    let Stage { key, name, .. } = &state.stages[stage].stage;
    out.because(format!("{name:?} begins anew: nobody like those that made its shards is here"));
    out.record(Record::ShardsDropped { key: *key });
}

/// Leases the first pending shard to a worker; false where none is to be had.
pub(super) fn lease(state: &mut State, stage: usize, seat: &str, out: &mut Decisions) -> bool {
    let leased = state.lease_shard(stage, seat);
    leased.is_some_and(|(index, epoch)| give(state, stage, (index, epoch), seat, "", out))
}

/// Leases a shard that has been out for long to a second worker; false where there is none.
pub(super) fn copy(state: &mut State, stage: usize, seat: &str, out: &mut Decisions) -> bool {
    let leased = state.copy_shard(stage, seat);
    let why = ", too: it has been out for long";
    leased.is_some_and(|(index, epoch)| give(state, stage, (index, epoch), seat, why, out))
}

fn give(
    state: &mut State,
    stage: usize,
    (index, epoch): (usize, u64),
    seat: &str,
    why: &str,
    out: &mut Decisions,
) -> bool {
    let entry = &mut state.stages[stage];
    entry.attempts += 1;
    let (key, name) = (entry.stage.key, &entry.stage.name);
    let StageState::Shards(shards) = entry.state() else { return false };
    let Range { start, end } = shards.range(index);
    let shard = protocol::Shard { index: index as u64, start, end };
    let trial = shards.shard(index).asks().map(|rows| protocol::Trial { start: rows.start, end: rows.end });
    let rows = gangs::Rows { shard: Some(shard), skip: shards.shard(index).skip(), trial };
    out.because(match trial {
        Some(rows) => {
            let protocol::Trial { start, end } = rows;
            format!("epoch {epoch}: rows {start}..{end} of shard {index} of {name:?} are tried by {seat}")
        }
        None => format!("epoch {epoch}: shard {index} of {name:?} goes to {seat}{why}"),
    });
    let members = vec![seat.to_owned()];
    out.record(Record::EpochBegan { epoch, key, shard: Some(shard.index), members });
    gangs::assign(state, seat, epoch, stage, (0, 1), rows, out);
    true
}

/// Takes back the second leases of a class of workers, for work that waits for them.
pub(super) fn recall(state: &mut State, class: &Class, out: &mut Decisions) {
    for stage in state.agenda.ending().clone() {
        let StageState::Shards(shards) = state.stages[stage].state() else { continue };
        if shards.class() == Some(class) {
            let copies = shards.copies().map(|(index, lease)| (index, lease.clone())).collect();
            take_back(state, stage, copies, "other work waits for its worker", out);
        }
    }
}

/// A worker finished a shard, or what a search asked of it.
pub(super) fn done(state: &mut State, stage: usize, index: usize, product: Product, out: &mut Decisions) {
    let Some(shard) = state.shards(stage).map(|shards| shards.shard(index)) else { return };
    if shard.asks().is_some() {
        results::end(product.epoch, "done", "the rows can be computed", out);
        state.return_shard(stage, index, product.epoch);
        return poison::answer(state, stage, index, None, out);
    }
    poison::examine(shard, index, &product);
    results::end(product.epoch, "done", "shard finished", out);
    let key = state.stages[stage].stage.key;
    out.record(Record::Shard { key, index: index as u64, product: product.clone() });
    let (late, finished) = state.finish_shard(stage, index, product);
    for Lease { epoch, seat, .. } in late {
        let reason = "another worker was first";
        results::end(epoch, "aborted", reason, out);
        gangs::give_up(state, &seat, epoch, reason, out);
    }
    if finished {
        gather(state, stage, out);
    }
}

/// A worker failed on a shard in an epoch whose end is recorded already.
pub(super) fn failed(
    state: &mut State,
    stage: usize,
    (index, epoch): (usize, u64),
    failure: &Failure,
    out: &mut Decisions,
) {
    if failure.membership {
        poison::lost(state, stage, (index, epoch));
    }
    if state.return_shard(stage, index, epoch).is_none()
        || !failure.membership && poison::explains(state, stage, index, failure, out)
    {
        return;
    }
    let Some(shard) = state.shards_mut(stage).map(|shards| shards.shard_mut(index)) else { return };
    let verdict = shard.faults.count(failure);
    let news = (failure.membership && shard.asks().is_some()).then_some(poison::NEWS_MS);
    let alone = if poison::is_vain(shard) { ", though each of its rows can be computed alone" } else { "" };
    let message = format!("shard {index}: {}{alone}", failure.message);
    let entry = &mut state.stages[stage];
    entry.message.clone_from(&message);
    match verdict {
        Some(code) => faults::fatal(state, stage, code, &message, out),
        None => {
            let name = &entry.stage.name;
            out.because(format!("shard {index} of {name:?} will be tried again: {}", failure.message));
            state.pause_shard(stage, index, news);
            results::record(state, stage, out);
        }
    }
}

/// Every shard is finished, and so is the stage: files in the order of shards, facts summed.
fn gather(state: &mut State, stage: usize, out: &mut Decisions) {
    let StageState::Shards(shards) = state.stages[stage].state() else { return };
    uphold(Invariant::OneResultPerShard, shards.products().count() == shards.count(), || {
        let (found, count) = (shards.products().count(), shards.count());
        format!("{:?} has {found} results of {count} shards", state.stages[stage].stage.name)
    });
    let mut whole = Product::default();
    for product in shards.products() {
        whole.epoch = whole.epoch.max(product.epoch);
        whole.files.extend(product.files.iter().cloned());
        for (fact, value) in &product.facts {
            let sum = whole.facts.entry(fact.clone()).or_default();
            *sum = sum.saturating_add(*value);
        }
    }
    results::finish(state, stage, whole, out);
}

/// Takes all leases back. Finished shards stay finished.
pub(super) fn abort(state: &mut State, stage: usize, reason: &str, out: &mut Decisions) {
    let StageState::Shards(shards) = state.stages[stage].state() else { return };
    let leases = shards.leases().map(|(index, lease)| (index, lease.clone())).collect();
    take_back(state, stage, leases, reason, out);
}

/// Takes the leases of one shard back.
pub(super) fn release(state: &mut State, stage: usize, index: usize, reason: &str, out: &mut Decisions) {
    let Some(shard) = state.shards(stage).map(|shards| shards.shard(index)) else { return };
    if let ShardState::Leased(leases) = &shard.state {
        let leases = leases.iter().map(|lease| (index, lease.clone())).collect();
        take_back(state, stage, leases, reason, out);
    }
}

fn take_back(
    state: &mut State,
    stage: usize,
    leases: Vec<(usize, Lease)>,
    reason: &str,
    out: &mut Decisions,
) {
    for (index, Lease { epoch, seat, .. }) in leases {
        state.return_shard(stage, index, epoch);
        results::end(epoch, "aborted", reason, out);
        gangs::give_up(state, &seat, epoch, reason, out);
    }
}
