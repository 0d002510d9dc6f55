//! Rows that cannot be computed: they are looked for, named and left out, so that every other row has its result.
//!
//! [`Search`] asks; here its questions become assignments, and what comes of those becomes answers. A worker that is lost
//! tells nothing of its rows: it may have been the network. The next process in its seat finds noted whether the one
//! before it died while rows went through a model, and only that is held against the rows.

use fulcrum_common::{
    exit,
    invariant::{Invariant, uphold},
    plan::{Infer, Work, rows_left_out},
};

use super::{faults, results, shards};
use crate::{
    action::{Decisions, Product, Record},
    input::{Failure, Fell},
    state::{Lost, Poison, Search, Shard, ShardState, State, Strike, Verdict},
};

/// Failures of a shard, or deaths within its rows, from which on its rows are suspected.
const SUSPECT: u32 = 2;

/// Milliseconds that what a search asks waits for the next process in the seat of the worker that was lost with it.
pub(super) const NEWS_MS: u64 = 5_000;

/// A question may stand still for at least so many milliseconds, and for so many times what a whole shard usually takes.
const STILL_MS: u64 = 60_000;
const STILL_TIMES: u64 = 10;

/// Rows that named in one line are enough.
const NAMED: usize = 20;

/// Most rows of the stage that may be left out.
fn limit(state: &State, stage: usize) -> usize {
    match state.stages[stage].stage.spec.work {
        Work::Infer(Infer { poison_rows, .. }) => poison_rows,
        _ => 0,
    }
}

/// Milliseconds for which who answers a question in that epoch may stand still, where other shards tell what is usual. A row
/// that never ends costs the stage's whole patience twice, until it is suspected, and not once for every question.
pub(super) fn patience(state: &State, epoch: u64) -> Option<u64> {
    let (stage, index) = state.shard_of(epoch)?;
    let shards = state.shards(stage)?;
    shards.shard(index).asks()?;
    Some((STILL_TIMES * shards.usual()?).max(STILL_MS))
}

/// A worker is lost with a shard: who comes after it may say where it was.
pub(super) fn lost(state: &mut State, stage: usize, (index, epoch): (usize, u64)) {
    let Some(shard) = state.shards(stage).map(|shards| shards.shard(index)) else { return };
    let ShardState::Leased(leases) = &shard.state else { return };
    let Some(lease) = leases.iter().find(|lease| lease.epoch == epoch) else { return };
    let (seat, asked) = (lease.seat.clone(), shard.asks());
    state.lost.insert(seat, Lost { epoch, stage, index, asked });
}

/// The process before this one in its seat died while rows went through a model.
pub(super) fn fell(state: &mut State, seat: &str, fell: Fell, out: &mut Decisions) {
    if state.lost.get(seat).is_none_or(|lost| lost.epoch != fell.epoch) {
        return;
    }
    let Some(Lost { stage, index, asked, .. }) = state.lost.remove(seat) else { return };
    let Some(shard) = state.shards_mut(stage).map(|shards| shards.shard_mut(index)) else { return };
    if matches!(shard.state, ShardState::Done(_)) || shard.asks() != asked {
        return;
    }
    shard.faults.membership = shard.faults.membership.saturating_sub(1);
    let what = fell.row.map_or("its rows were".to_owned(), |row| format!("row {row} was"));
    let message = format!("{seat} ended in epoch {} while {what} computed", fell.epoch);
    out.because(message.clone());
    let failure = Failure { message, retry: true, row: fell.row, ..Failure::default() };
    if asked.is_some() {
        return answer(state, stage, index, Some(&failure), out);
    }
    shard.falls += 1;
    if shard.falls >= SUSPECT && may_search(state, stage, index) {
        begin(state, stage, index, &failure, out);
    }
}

/// A shard failed by its own fault. Whether that is a matter of its rows, and has been taken as one.
pub(super) fn explains(
    state: &mut State,
    stage: usize,
    index: usize,
    failure: &Failure,
    out: &mut Decisions,
) -> bool {
    let Some(shard) = state.shards(stage).map(|shards| shards.shard(index)) else { return false };
    let Some(rows) = shard.asks() else {
        let suspect = !failure.retry || shard.faults.work + 1 >= SUSPECT;
        // Bytes that are not what the plan names are so for every row.
        let begins = suspect && failure.code != exit::DIGEST && may_search(state, stage, index);
        if begins {
            begin(state, stage, index, failure, out);
        }
        return begins;
    };
    // Who fails in a row that is alone names it: else it was before the row, or after it.
    let tells = rows.end - rows.start > 1 || rows.end > rows.start && failure.row.is_some();
    if tells {
        answer(state, stage, index, Some(failure), out);
    }
    tells
}

fn may_search(state: &State, stage: usize, index: usize) -> bool {
    let vain = state.shards(stage).is_some_and(|shards| is_vain(shards.shard(index)));
    limit(state, stage) > 0 && !vain
}

/// Whether every row of a shard that failed was found to be fine.
pub(super) fn is_vain(shard: &Shard) -> bool {
    shard.search.as_ref().is_some_and(|search| search.is_vain())
}

fn begin(state: &mut State, stage: usize, index: usize, failure: &Failure, out: &mut Decisions) {
    let name = state.stages[stage].stage.name.clone();
    let Some(shards) = state.shards_mut(stage) else { return };
    let (rows, probe) = (shards.range(index), shards.finished() == 0);
    let shard = shards.shard_mut(index);
    shard.search = Some(Box::new(Search::begin(rows, shard.search.as_deref(), probe)));
    (shard.faults.work, shard.falls) = (0, 0);
    let message = format!("shard {index}: {}", failure.message);
    out.because(format!("which rows of shard {index} of {name:?} fail is looked for: {}", failure.message));
    state.stages[stage].message = message;
    ask_anew(state, stage, index, "its rows are suspected", out);
}

/// What a search asked of a shard is answered: the rows are fine, or `failure`.
pub(super) fn answer(
    state: &mut State,
    stage: usize,
    index: usize,
    failure: Option<&Failure>,
    out: &mut Decisions,
) {
    let name = state.stages[stage].stage.name.clone();
    let Some(shard) = state.shards_mut(stage).map(|shards| shards.shard_mut(index)) else { return };
    let Some(search) = shard.search.as_deref_mut() else { return };
    let before = search.found().len();
    let verdict = match failure {
        None => search.fine(),
        Some(failure) => search.failed(strike(failure)),
    };
    let (found, vain) = (search.found().len(), search.is_vain());
    if verdict == Verdict::Over {
        // Where no row is at fault, the next failure is the last.
        shard.faults.work = if vain { faults::MAX_WORK_FAULTS - 1 } else { 0 };
        out.because(format!("of shard {index} of {name:?} {found} rows are left out"));
    }
    ask_anew(state, stage, index, "what it is at has been answered", out);
    let Some(failure) = failure else { return };
    let message = if verdict == Verdict::AllAlike {
        format!("shard {index}: every row that was tried alone fails: {}", failure.message)
    } else if found > before && all_found(state, stage).count() > limit(state, stage) {
        too_many(state, stage, &failure.message)
    } else {
        return;
    };
    start_over(state, stage, out);
    faults::fatal(state, stage, failure.exit(), &message, out);
}

/// The run ends over its rows. Whoever runs it again may have mended what condemned them: nothing is held against them.
fn start_over(state: &mut State, stage: usize, out: &mut Decisions) {
    let key = state.stages[stage].stage.key;
    let Some(shards) = state.shards_mut(stage) else { return };
    let searched: Vec<usize> = shards.searches().map(|(index, _)| index).collect();
    for index in searched {
        let shard = shards.shard_mut(index);
        if !matches!(shard.state, ShardState::Done(_)) {
            shard.search = None;
            out.record(Record::Search { key, index: index as u64, search: None });
        }
    }
}

fn strike(failure: &Failure) -> Strike {
    let poison = Poison { row: failure.row, why: failure.message.clone() };
    Strike { poison, surely: !failure.retry }
}

/// What a shard's workers were at is asked no more: its leases are over, what is known now is written down.
fn ask_anew(state: &mut State, stage: usize, index: usize, reason: &str, out: &mut Decisions) {
    shards::release(state, stage, index, reason, out);
    let key = state.stages[stage].stage.key;
    let Some(shards) = state.shards_mut(stage) else { return };
    shards.hurry(index);
    let search = shards.shard(index).search.clone();
    out.record(Record::Search { key, index: index as u64, search });
    results::record(state, stage, out);
}

/// Rows of the stage that cannot be computed, as far as is known: position, and what is known of it.
fn all_found(state: &State, stage: usize) -> impl Iterator<Item = (&u64, &Poison)> {
    let searches = state.shards(stage).into_iter().flat_map(|shards| shards.searches());
    searches.flat_map(|(_, search)| search.found())
}

fn too_many(state: &State, stage: usize, last: &str) -> String {
    let limit = limit(state, stage);
    let name = |(position, poison): (&u64, &Poison)| match poison.row {
        Some(row) => row.to_string(),
        None => format!("the one at position {position}"),
    };
    let rows: Vec<_> = all_found(state, stage).map(name).collect();
    format!(
        "rows {} cannot be computed, the last because: {last}; poison_rows under [infer] lets {limit} be left out",
        rows.join(", ")
    )
}

/// Checks that what a shard lacks is what was found.
pub(super) fn examine(shard: &Shard, index: usize, product: &Product) {
    let left_out = rows_left_out(&product.facts);
    let found = shard.search.iter().flat_map(|search| search.found().values());
    let (count, rows) = (found.clone().count(), found.filter_map(|poison| poison.row));
    let holds = left_out
        .as_ref()
        .is_ok_and(|left_out| left_out.len() == count && rows.clone().all(|row| left_out.contains(&row)));
    uphold(Invariant::OnlyPoisonLeftOut, holds, || {
        format!("shard {index} lacks {left_out:?}, and of {count} rows it is known that they fail")
    });
}

/// What people should know of the rows of a stage: which are left out, and which shards are searched.
pub(crate) fn note(state: &State, stage: usize) -> String {
    let entry = &state.stages[stage];
    let known = match (state.shards(stage), state.made(entry.stage.key)) {
        (Some(_), _) => all_found(state, stage).filter_map(|(_, poison)| poison.row).collect(),
        (None, Some(made)) if matches!(entry.stage.spec.work, Work::Infer(_)) => {
            rows_left_out(&made.facts).unwrap_or_default().into_iter().collect()
        }
        _ => Vec::new(),
    };
    let mut parts = Vec::new();
    if !known.is_empty() {
        let more = known.len().saturating_sub(NAMED);
        let named: Vec<_> = known.iter().take(NAMED).map(i64::to_string).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("rows that cannot be computed are left out: {}{more}", named.join(", ")));
    }
    let searches = state.shards(stage).into_iter().flat_map(|shards| shards.searches());
    for (index, search) in searches.filter(|(_, search)| search.asks().is_some()) {
        let answers = search.answers();
        parts
            .push(format!("rows of shard {index} that cannot be computed are looked for, {answers} answers"));
    }
    parts.join("; ")
}

/// Questions about rows of a stage that were answered.
pub(crate) fn answers(state: &State, stage: usize) -> u64 {
    let searches = state.shards(stage).into_iter().flat_map(|shards| shards.searches());
    searches.map(|(_, search)| search.answers()).sum()
}
