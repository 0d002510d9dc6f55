//! What ranks hold alike. Those that hold the same weights say a hash of them now and then, and at every checkpoint; where
//! two differ, a bit has flipped in one. The epoch is over then, the training goes on from the last checkpoint at which
//! all agreed, and whoever held something else is named: by the majority or, of two, by what the replay holds. They also
//! say it in the end, and what they made counts once they agreed.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_common::exit;

use super::{faults, gangs, results};
use crate::{
    action::{Decisions, Named, Product, Record},
    input::{Copied, Failure},
    journal::FILE,
    state::{Doubt, Gang, State},
};

/// How often a worker is named before it gets no more work.
pub(crate) const MOST_NAMED: u64 = 3;

/// What ranks said, in the order of ranks.
pub(super) type Said = BTreeMap<usize, Copied>;

/// A rank says what it holds after a step.
pub(super) fn held(
    state: &mut State,
    seat: &str,
    (epoch, step): (u64, u64),
    copy: Copied,
    out: &mut Decisions,
) {
    let Some((_, gang)) = state.gang_mut(epoch) else { return };
    let Some(rank) = gang.members.iter().position(|member| member == seat) else { return };
    let said = gang.held.entry(step).or_default();
    said.insert(rank, copy);
    if said.len() == gang.members.len() {
        let said = gang.held.remove(&step).unwrap_or_default();
        gang.held.retain(|other, _| *other > step);
        if agree(state, (epoch, step), &said, out) {
            settle(state, epoch, out);
        }
    }
}

/// Whether a rank has still to say what it holds after a step for which others have said it.
fn is_open(gang: &Gang) -> bool {
    let silent = |said: &Said| {
        (0..gang.members.len()).any(|rank| !said.contains_key(&rank) && !gang.back.contains(&rank))
    };
    gang.held.values().any(silent)
}

/// A rank has come to the end; `made`: what the first has made. It counts once all hold the same.
pub(super) fn back(state: &mut State, epoch: u64, rank: usize, made: Option<Product>, out: &mut Decisions) {
    let Some((_, gang)) = state.gang_mut(epoch) else { return };
    gang.back.insert(rank);
    if let Some(made) = made {
        gang.made = Some(Box::new(made));
    }
    settle(state, epoch, out);
}

fn settle(state: &mut State, epoch: u64, out: &mut Decisions) {
    let Some((stage, gang)) = state.gang_mut(epoch) else { return };
    if !is_open(gang)
        && let Some(made) = gang.made.take()
    {
        results::gang_done(state, stage, epoch, *made, out);
    }
}

/// Whether all that hold the same said the same. If not, the epoch is over.
pub(super) fn agree(state: &mut State, (epoch, step): (u64, u64), said: &Said, out: &mut Decisions) -> bool {
    let Some((stage, gang)) = state.gang_mut(epoch) else { return false };
    let members = gang.members.clone();
    let strange = strange(said);
    if strange.is_empty() {
        resolve(state, stage, (&members, step), said, out);
        return true;
    }
    let seats: Vec<&String> = strange.ranks.iter().map(|rank| &members[*rank]).collect();
    let seats = seats.into_iter().cloned().collect::<Vec<_>>();
    let who = seats.join(" and ");
    let message = if strange.is_clear {
        format!("silent corruption: {who} held other weights than the rest after step {step}")
    } else {
        let said = members.iter().cloned().zip(said.values().copied()).collect();
        let doubt = Doubt { step, said };
        out.record(Record::Doubt { key: state.stages[stage].stage.key, doubt: Some(doubt.clone()) });
        state.stages[stage].doubt = Some(doubt);
        format!(
            "silent corruption: {who} held different weights after step {step}; a replay tells which is wrong"
        )
    };
    results::end(epoch, "failed", &message, out);
    gangs::dissolve(state, stage, &message, out);
    let failure = Failure::membership(message);
    // Whoever was wrong is named and goes in the end: this is not for the count of epochs in vain.
    faults::stage(state, stage, &failure, None, out);
    if strange.is_clear {
        seats.iter().for_each(|seat| name(state, stage, (seat, step), out));
    }
    false
}

/// Ranks that hold something else.
struct Strange {
    ranks: BTreeSet<usize>,
    /// Whether they are a minority; else all of a group are meant, and one of them is right perhaps.
    is_clear: bool,
}

impl Strange {
    fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }
}

fn strange(said: &Said) -> Strange {
    let mut found = Strange { ranks: BTreeSet::new(), is_clear: true };
    let groups: BTreeSet<u64> = said.values().map(|copy| copy.group).collect();
    for group in groups {
        let ranks: Vec<_> = said.iter().filter(|(_, copy)| copy.group == group).collect();
        let share = |hash| ranks.iter().filter(|(_, copy)| copy.hash == hash).count();
        let most = ranks.iter().map(|(_, copy)| copy.hash).find(|hash| 2 * share(*hash) > ranks.len());
        found.is_clear &= most.is_some();
        found.ranks.extend(ranks.iter().filter(|(_, copy)| Some(copy.hash) != most).map(|(rank, _)| **rank));
    }
    found
}

/// Where an earlier gang disagreed on this step, what all hold now says who was wrong.
fn resolve(
    state: &mut State,
    stage: usize,
    (members, step): (&[String], u64),
    said: &Said,
    out: &mut Decisions,
) {
    let entry = &mut state.stages[stage];
    if entry.doubt.as_ref().is_none_or(|doubt| step < doubt.step) {
        return;
    }
    let key = entry.stage.key;
    out.record(Record::Doubt { key, doubt: None });
    let Some(doubt) = entry.doubt.take().filter(|doubt| doubt.step == step) else { return };
    let now: BTreeMap<u64, u64> = said.values().map(|copy| (copy.group, copy.hash)).collect();
    let wrong = |(_, copy): &&(String, Copied)| now.get(&copy.group) != Some(&copy.hash);
    let named: Vec<String> = doubt.said.iter().filter(wrong).map(|(seat, _)| seat.clone()).collect();
    // Fewer ranks round differently. And once others have learnt from what the wrong one computed, nobody is right any more.
    if doubt.said.len() == members.len() && named.len() < members.len() {
        named.iter().for_each(|seat| name(state, stage, (seat, step), out));
        return;
    }
    let who = doubt.said.iter().map(|(seat, _)| seat.as_str()).collect::<Vec<_>>().join(" or ");
    out.because(format!(
        "{:?}: the replay of step {step} does not tell whether {who} was wrong",
        entry.stage.name
    ));
    *entry.named.entry(who.clone()).or_default() += 1;
    entry.message = entry.note();
    out.record(Record::Named(Named { key, step, who, known: false }));
    results::record(state, stage, out);
}

/// A worker was wrong. One that is wrong too often gets no more work.
fn name(state: &mut State, stage: usize, (seat, step): (&str, u64), out: &mut Decisions) {
    let entry = &mut state.stages[stage];
    *entry.named.entry(seat.to_owned()).or_default() += 1;
    entry.message = entry.note();
    let (stage_name, key) = (entry.stage.name.clone(), entry.stage.key);
    out.record(Record::Named(Named { key, step, who: seat.to_owned(), known: true }));
    let count = state.count(seat);
    out.because(format!(
        "{stage_name:?}: {seat} held corrupted weights after step {step}, time {count} in this run"
    ));
    results::record(state, stage, out);
    if count < MOST_NAMED {
        return;
    }
    state.workers.bench(seat);
    let reason = format!(
        "{seat} is not used any more: it held corrupted weights {count} times; check the memory of its machine \
         (it is used again by a run whose {FILE} is removed: finished stages stay in the store)"
    );
    out.because(reason.clone());
    let world = state.stages[stage].world(state.gang);
    let here =
        state.workers.classes(&BTreeSet::new()).map(|(_, roster)| roster.here.len()).max().unwrap_or(0);
    if here < world && state.stages[stage].fewer(here, state.fewest).is_none() {
        let reason = format!("{reason}, and run without it (`--workers`)");
        faults::fatal(state, stage, exit::NO_PROGRESS, &reason, out);
    }
}
