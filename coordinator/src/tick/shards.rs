//! Shards: ranges of rows, leased one by one to whoever is free, kept once finished.

use fulcrum_common::{
    plan::{Infer, Stage, Work},
    protocol,
};

use super::{faults, gangs, results};
use crate::{
    action::{Decisions, Product, Record},
    input::{Class, Failure},
    state::{Faults, Shard, ShardState, StageState, State},
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
    let size = shard as u64;
    // No rows are one empty shard: its worker writes the empty file that readers expect.
    let count = rows.div_ceil(size).max(1);
    let mut kept = std::mem::take(&mut entry.kept);
    let class = kept.values().next().map(|product| product.class.clone());
    kept.retain(|_, product| class.as_ref() == Some(&product.class));
    let shards: Vec<Shard> = (0..count)
        .map(|index| Shard {
            start: index * size,
            end: rows.min((index + 1) * size),
            state: kept.get(&index).cloned().map_or(ShardState::Pending, ShardState::Done),
            faults: Faults::default(),
        })
        .collect();
    let finished = shards.iter().filter(|shard| matches!(shard.state, ShardState::Done(_))).count();
    out.because(format!("{:?} is ready: {count} shards, {finished} finished before", entry.stage.name));
    entry.since = state.now;
    entry.classless = None;
    entry.state = StageState::Shards(shards);
    results::record(state, stage, out);
    gather(state, stage, out);
}

/// Rows of the part that an infer stage reads.
fn rows(state: &State, stage: &Stage) -> Result<u64, String> {
    let Work::Infer(infer) = &stage.spec.work else { return Err("it has no shards".to_owned()) };
    let key = stage.spec.input("data").map_err(|error| error.to_string())?;
    let fact = infer.part.fact();
    let facts = state.manifest(key).map(|manifest| &manifest.facts);
    let rows = facts.and_then(|facts| facts.get(&fact)).copied();
    let rows = rows.ok_or_else(|| format!("its data {} has no fact {fact:?}", key.short()))?;
    if infer.shard == 0 || rows.div_ceil(infer.shard as u64) > MAX_SHARDS {
        let size = infer.shard;
        return Err(format!(
            "{rows} rows in shards of {size} are over {MAX_SHARDS} shards: raise `shard` under [infer], or --shard"
        ));
    }
    Ok(rows)
}

/// The class whose workers make the stage's shards: a stage's bytes come from equals only. None while
/// no shard is given out or finished.
pub(super) fn class(state: &State, stage: usize) -> Option<Class> {
    let StageState::Shards(shards) = &state.stages[stage].state else { return None };
    shards.iter().find_map(|shard| match &shard.state {
        ShardState::Pending => None,
        ShardState::Leased { seat, .. } => state.workers.get(seat).map(|worker| worker.hello.class()),
        ShardState::Done(product) => Some(product.class.clone()),
    })
}

/// Gives the finished shards up, so that workers of another class can make them all.
pub(super) fn forget(state: &mut State, stage: usize, out: &mut Decisions) {
    let entry = &mut state.stages[stage];
    let StageState::Shards(shards) = &mut entry.state else { return };
    for shard in shards.iter_mut().filter(|shard| matches!(shard.state, ShardState::Done(_))) {
        shard.state = ShardState::Pending;
    }
    entry.classless = None;
    out.because(format!(
        "{:?} begins anew: nobody like those that made its shards is here",
        entry.stage.name
    ));
    out.record(Record::ShardsDropped { key: entry.stage.key });
}

/// Leases the first pending shard to a worker; false where none is pending.
pub(super) fn lease(state: &mut State, stage: usize, seat: &str, out: &mut Decisions) -> bool {
    let pending = |shard: &Shard| shard.state == ShardState::Pending;
    let StageState::Shards(shards) = &state.stages[stage].state else { return false };
    let Some(index) = shards.iter().position(pending) else { return false };
    let epoch = state.take_epoch();
    let entry = &mut state.stages[stage];
    let StageState::Shards(shards) = &mut entry.state else { return false };
    let shard = &mut shards[index];
    shard.state = ShardState::Leased { epoch, seat: seat.to_owned() };
    let range = protocol::Shard { index: index as u64, start: shard.start, end: shard.end };
    entry.attempts += 1;
    let (key, name) = (entry.stage.key, &entry.stage.name);
    out.because(format!("epoch {epoch}: shard {index} of {name:?} goes to {seat}"));
    let members = vec![seat.to_owned()];
    out.record(Record::EpochBegan { epoch, key, shard: Some(range.index), members });
    gangs::assign(state, seat, epoch, stage, (0, 1), Some(range), out);
    true
}

/// A worker finished a shard.
pub(super) fn done(state: &mut State, stage: usize, index: usize, product: Product, out: &mut Decisions) {
    let entry = &mut state.stages[stage];
    let StageState::Shards(shards) = &mut entry.state else { return };
    results::end(product.epoch, "done", "shard finished", out);
    out.record(Record::Shard { key: entry.stage.key, index: index as u64, product: product.clone() });
    shards[index].state = ShardState::Done(product);
    gather(state, stage, out);
}

/// A worker failed on a shard whose epoch's end is recorded already.
pub(super) fn failed(state: &mut State, stage: usize, index: usize, failure: &Failure, out: &mut Decisions) {
    let entry = &mut state.stages[stage];
    let StageState::Shards(shards) = &mut entry.state else { return };
    let shard = &mut shards[index];
    shard.state = ShardState::Pending;
    let message = format!("shard {index}: {}", failure.message);
    entry.message.clone_from(&message);
    match shard.faults.count(failure) {
        Some(code) => faults::fatal(state, stage, code, &message, out),
        None => {
            out.because(format!(
                "shard {index} of {:?} will be tried again: {}",
                entry.stage.name, failure.message
            ));
            results::record(state, stage, out);
        }
    }
}

/// Once every shard is finished, the stage is: files in the order of shards, facts summed.
fn gather(state: &mut State, stage: usize, out: &mut Decisions) {
    let StageState::Shards(shards) = &state.stages[stage].state else { return };
    if shards.iter().any(|shard| !matches!(shard.state, ShardState::Done(_))) {
        return;
    }
    let mut whole = Product::default();
    for shard in shards {
        let ShardState::Done(product) = &shard.state else { continue };
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
    let StageState::Shards(shards) = &mut state.stages[stage].state else { return };
    let mut leases = Vec::new();
    for shard in shards {
        if let ShardState::Leased { epoch, seat } = &shard.state {
            leases.push((*epoch, seat.clone()));
            shard.state = ShardState::Pending;
        }
    }
    for (epoch, seat) in leases {
        results::end(epoch, "aborted", reason, out);
        gangs::give_up(state, &seat, epoch, reason, out);
    }
}
