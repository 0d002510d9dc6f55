//! The shards of one stage: which is leased next, which is worth a second lease, and when all are finished, without
//! looking at each.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
};

use fulcrum_common::invariant::{Invariant, uphold};

use super::{Faults, Search};
use crate::{action::Product, input::Class};

/// Shards whose durations are remembered: the last ones that were finished.
const REMEMBERED: usize = 101;

/// A shard is out for long after at least so many milliseconds, and so many times the usual.
const LONG_MS: u64 = 2_000;
const LONG_TIMES: u64 = 3;

/// Milliseconds that a shard waits at most after a failure.
const LONGEST_PAUSE_MS: u64 = 16_000;

/// Ranges of rows, each pending, leased or finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Shards {
    rows: u64,
    size: u64,
    shards: Vec<Shard>,
    /// Shards from here on were never leased, those that were finished beforehand aside.
    fresh: usize,
    /// Pending shards below `fresh` that may be leased.
    returned: BTreeSet<usize>,
    /// Pending shards below `fresh` that failed: when they may be leased again, and which.
    paused: BTreeSet<(u64, usize)>,
    finished: usize,
    /// Shards that are leased, once or twice.
    leased: usize,
    /// Those that are leased once: since when, and which.
    alone: BTreeSet<(u64, usize)>,
    /// Those that are leased twice.
    copied: BTreeSet<usize>,
    /// Who makes the shards; none while none is leased or finished.
    class: Option<Class>,
    /// Milliseconds that the last finished shards took.
    took: VecDeque<u64>,
}

/// A range of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// Where it is.
    pub state: ShardState,
    pub(crate) faults: Faults,
    /// Workers that died while its rows went through a model.
    pub(crate) falls: u32,
    /// The last search for rows that cannot be computed. While it asks, a lease is of what it asks.
    pub(crate) search: Option<Box<Search>>,
}

/// Where a shard is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ShardState {
    /// Nobody works on it.
    #[default]
    Pending,
    /// A worker has it, or two of which the first counts.
    Leased(Vec<Lease>),
    /// Its files are in the store.
    Done(Box<Product>),
}

/// A worker's hold on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The fencing token.
    pub epoch: u64,
    /// The worker.
    pub seat: String,
    /// When it was given out.
    pub since: u64,
}

impl Shard {
    /// The rows that a search asks for next; none where no search is under way.
    pub(crate) fn asks(&self) -> Option<Range<u64>> {
        self.search.as_ref()?.asks()
    }

    /// Positions of the rows that are left out.
    pub(crate) fn skip(&self) -> Vec<u64> {
        self.search.iter().flat_map(|search| search.found().keys()).copied().collect()
    }
}

impl Shards {
    /// `rows` in shards of `size` rows (at least one), those in `kept` finished if they were made by equals. No rows
    /// are one empty shard: its worker writes the empty file that readers expect. Searches go on where they were.
    pub(crate) fn new(
        rows: u64,
        size: u64,
        kept: BTreeMap<u64, Product>,
        searches: BTreeMap<u64, Search>,
    ) -> Self {
        let count = usize::try_from(rows.div_ceil(size).max(1)).expect("a stage has few shards");
        let mut shards = vec![Shard::default(); count];
        for (index, search) in searches {
            if let Some(shard) = usize::try_from(index).ok().and_then(|index| shards.get_mut(index)) {
                shard.search = Some(Box::new(search));
            }
        }
        let (mut finished, mut class) = (0, None);
        for (index, product) in kept {
            let Some(shard) = usize::try_from(index).ok().and_then(|index| shards.get_mut(index)) else {
                continue;
            };
            if *class.get_or_insert_with(|| product.class.clone()) == product.class {
                shard.state = ShardState::Done(Box::new(product));
                finished += 1;
            }
        }
        Self {
            rows,
            size,
            shards,
            fresh: 0,
            returned: BTreeSet::new(),
            paused: BTreeSet::new(),
            finished,
            leased: 0,
            alone: BTreeSet::new(),
            copied: BTreeSet::new(),
            class,
            took: VecDeque::new(),
        }
    }

    /// The shards in the order of their rows.
    pub fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// How many are finished.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Whether any was leased or finished.
    pub fn is_begun(&self) -> bool {
        self.leased + self.finished > 0
    }

    /// The rows of a shard.
    pub fn range(&self, index: usize) -> Range<u64> {
        let start = index as u64 * self.size;
        start..self.rows.min(start + self.size)
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The class whose workers make the shards: a stage's bytes come from equals only.
    pub(crate) fn class(&self) -> Option<&Class> {
        self.class.as_ref()
    }

    /// Whether a shard is pending.
    pub(crate) fn has_pending(&self) -> bool {
        self.leased + self.finished < self.shards.len()
    }

    /// Whether shards are leased, and none is pending.
    pub(crate) fn is_ending(&self) -> bool {
        self.leased > 0 && !self.has_pending()
    }

    /// Leases the first pending shard that does not pause; none where there is none.
    pub(super) fn lease(&mut self, lease: Lease, class: &Class) -> Option<usize> {
        while let Some((_, index)) = self.paused.first().copied().filter(|(at, _)| *at <= lease.since) {
            self.paused.pop_first();
            self.returned.insert(index);
        }
        let index = self.returned.pop_first().or_else(|| self.next_fresh())?;
        let shard = &self.shards[index];
        uphold(Invariant::OneLeaseholder, shard.state == ShardState::Pending, || {
            format!("epoch {} of {} would be the second at shard {index}", lease.epoch, lease.seat)
        });
        let equal = self.class.as_ref().is_none_or(|mine| mine == class);
        uphold(Invariant::OneClass, equal, || format!("shard {index} goes to {}, {class}", lease.seat));
        // What a search asks is not worth a second worker.
        if self.shards[index].asks().is_none() {
            self.alone.insert((lease.since, index));
        }
        self.shards[index].state = ShardState::Leased(vec![lease]);
        self.leased += 1;
        self.class.get_or_insert_with(|| class.clone());
        Some(index)
    }

    /// Milliseconds that half of the last finished shards took at most; none before one is finished.
    pub(crate) fn usual(&self) -> Option<u64> {
        let mut took = Vec::from(self.took.clone());
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }

    /// The shard that has been out longest, by one lease alone and for long; none before another is finished.
    pub(crate) fn straggler(&self, now: u64) -> Option<usize> {
        let long = (LONG_TIMES * self.usual()?).max(LONG_MS);
        let (since, index) = self.alone.first().copied()?;
        (now.saturating_sub(since) > long).then_some(index)
    }

    /// Leases a straggler a second time.
    pub(super) fn copy(&mut self, index: usize, lease: Lease) {
        let ShardState::Leased(leases) = &mut self.shards[index].state else { return };
        uphold(Invariant::OneLeaseholder, leases.len() == 1 && leases[0].seat != lease.seat, || {
            format!("epoch {} of {} would be the third at shard {index}", lease.epoch, lease.seat)
        });
        if let Some(first) = leases.first() {
            self.alone.remove(&(first.since, index));
        }
        leases.push(lease);
        self.copied.insert(index);
    }

    fn next_fresh(&mut self) -> Option<usize> {
        while self.shards.get(self.fresh)?.state != ShardState::Pending {
            self.fresh += 1;
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }

    /// A leased shard is finished at that time; returns the leases that came too late.
    pub(super) fn finish(&mut self, index: usize, product: Product, now: u64) -> Vec<Lease> {
        let epoch = product.epoch;
        let state = std::mem::replace(&mut self.shards[index].state, ShardState::Done(Box::new(product)));
        let ShardState::Leased(mut leases) = state else { return Vec::new() };
        let mine = leases.iter().position(|lease| lease.epoch == epoch);
        uphold(Invariant::CurrentEpochCounts, mine.is_some(), || {
            format!("shard {index} is finished by epoch {epoch}")
        });
        if let Some(lease) = mine.map(|mine| leases.swap_remove(mine)) {
            self.alone.remove(&(lease.since, index));
            self.took.push_back(now.saturating_sub(lease.since));
            self.took.drain(..self.took.len().saturating_sub(REMEMBERED));
        }
        self.leased -= 1;
        self.finished += 1;
        self.copied.remove(&index);
        leases
    }

    /// A lease is over and nothing came of it. Without another, its shard is pending again.
    pub(super) fn give_back(&mut self, index: usize, epoch: u64) {
        let ShardState::Leased(leases) = &mut self.shards[index].state else { return };
        if let Some(first) = leases.first() {
            self.alone.remove(&(first.since, index));
        }
        leases.retain(|lease| lease.epoch != epoch);
        self.copied.remove(&index);
        if let Some(other) = leases.first() {
            self.alone.insert((other.since, index));
            return;
        }
        self.shards[index].state = ShardState::Pending;
        self.returned.insert(index);
        self.leased -= 1;
        if !self.is_begun() {
            self.class = None;
        }
    }

    /// A pending shard that failed waits: not after its first failure, then longer and longer.
    pub(super) fn pause(&mut self, index: usize, now: u64) {
        let failures = u64::from(self.shards[index].faults.total());
        let pause = (failures.saturating_sub(1).pow(2) * 1_000).min(LONGEST_PAUSE_MS);
        self.hold_back(index, now.saturating_add(pause));
    }

    /// A pending shard waits until then.
    pub(super) fn hold_back(&mut self, index: usize, until: u64) {
        if self.returned.remove(&index) {
            self.paused.insert((until, index));
        }
    }

    /// A shard that waits does so no longer.
    pub(crate) fn hurry(&mut self, index: usize) {
        let paused = self.paused.len();
        self.paused.retain(|(_, other)| *other != index);
        if self.paused.len() < paused {
            self.returned.insert(index);
        }
    }

    /// A shard, to count what happened at it.
    pub(crate) fn shard_mut(&mut self, index: usize) -> &mut Shard {
        &mut self.shards[index]
    }

    /// A shard.
    pub(crate) fn shard(&self, index: usize) -> &Shard {
        &self.shards[index]
    }

    /// What searches have found or are at, by shard.
    pub(crate) fn searches(&self) -> impl Iterator<Item = (usize, &Search)> {
        self.shards.iter().enumerate().filter_map(|(index, shard)| Some((index, shard.search.as_deref()?)))
    }

    /// Whether a worker has a shard under that epoch.
    pub(super) fn is_with(&self, index: usize, epoch: u64, seat: &str) -> bool {
        let ShardState::Leased(leases) = &self.shards[index].state else { return false };
        leases.iter().any(|lease| lease.epoch == epoch && lease.seat == seat)
    }

    /// The second leases.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (usize, &Lease)> {
        self.copied.iter().filter_map(|index| match &self.shards[*index].state {
            ShardState::Leased(leases) => Some((*index, leases.get(1)?)),
            _ => None,
        })
    }

    /// Gives the finished shards up, and what searches have found: other workers may find otherwise.
    pub(super) fn forget(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| !matches!(shard.state, ShardState::Leased(_))) {
            (shard.state, shard.search) = (ShardState::Pending, None);
        }
        let leased = |index: &usize| matches!(self.shards[*index].state, ShardState::Leased(_));
        self.paused.clear();
        self.returned = (0..self.fresh).filter(|index| !leased(index)).collect();
        self.finished = 0;
        if self.leased == 0 {
            self.class = None;
        }
    }

    /// The leases under way, each with its shard.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (usize, &Lease)> {
        let leased = self.shards.iter().enumerate().filter_map(|(index, shard)| match &shard.state {
            ShardState::Leased(leases) => Some((index, leases)),
            _ => None,
        });
        leased.flat_map(|(index, leases)| leases.iter().map(move |lease| (index, lease)))
    }

    /// What the finished shards left, in their order.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Product> {
        self.shards.iter().filter_map(|shard| match &shard.state {
            ShardState::Done(product) => Some(product.as_ref()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(threads: u32) -> Class {
        Class { device: "cpu".into(), threads }
    }

    fn product(epoch: u64, threads: u32) -> Product {
        Product { epoch, class: class(threads), ..Product::default() }
    }

    fn hold(epoch: u64, seat: &str, since: u64) -> Lease {
        Lease { epoch, seat: seat.into(), since }
    }

    #[test]
    fn rows_are_cut_into_ranges_and_none_are_one_empty_shard() {
        let ranges = |rows| {
            let shards = Shards::new(rows, 4, BTreeMap::new(), BTreeMap::new());
            (0..shards.count()).map(|index| shards.range(index)).collect::<Vec<_>>()
        };
        assert_eq!(ranges(10), [0..4, 4..8, 8..10]);
        assert_eq!(ranges(8), [0..4, 4..8]);
        assert_eq!(ranges(0), vec![Range::default()]);
    }

    #[test]
    fn the_first_pending_shard_goes_first_also_after_it_came_back() {
        let mut shards = Shards::new(5, 1, [(1, product(1, 1))].into(), BTreeMap::new());
        let lease = |shards: &mut Shards| shards.lease(hold(9, "w0", 0), &class(1));
        assert_eq!([lease(&mut shards), lease(&mut shards), lease(&mut shards)], [Some(0), Some(2), Some(3)]);
        shards.give_back(2, 9);
        shards.give_back(0, 9);
        assert_eq!([lease(&mut shards), lease(&mut shards), lease(&mut shards)], [Some(0), Some(2), Some(4)]);
        assert_eq!((lease(&mut shards), shards.has_pending()), (None, false));
    }

    #[test]
    fn what_was_finished_before_counts_only_if_equals_made_it() {
        let kept = [(0, product(1, 2)), (1, product(2, 1)), (2, product(3, 2)), (99, product(4, 2))];
        let shards = Shards::new(4, 1, kept.into(), BTreeMap::new());
        assert_eq!((shards.finished(), shards.class()), (2, Some(&class(2))));
        assert_eq!(shards.products().map(|product| product.epoch).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn the_class_is_that_of_whoever_works_or_worked_on_it() {
        let mut shards = Shards::new(2, 1, BTreeMap::new(), BTreeMap::new());
        assert_eq!(shards.class(), None);
        let index = shards.lease(hold(1, "w0", 0), &class(1)).unwrap();
        assert_eq!(shards.class(), Some(&class(1)));
        shards.give_back(index, 1);
        assert_eq!(shards.class(), None);
        let index = shards.lease(hold(2, "w1", 0), &class(2)).unwrap();
        shards.finish(index, product(2, 2), 1);
        assert_eq!((shards.class(), shards.is_begun()), (Some(&class(2)), true));
        shards.forget();
        assert_eq!((shards.class(), shards.is_begun()), (None, false));
        assert_eq!(shards.lease(hold(3, "w0", 0), &class(1)), Some(0));
    }

    #[test]
    fn a_shard_that_fails_again_waits_longer_each_time_while_others_go_on() {
        let mut shards = Shards::new(2, 1, BTreeMap::new(), BTreeMap::new());
        let mut now = 0;
        for pause in [0, 1_000, 4_000, 9_000, LONGEST_PAUSE_MS, LONGEST_PAUSE_MS] {
            assert_eq!(shards.lease(hold(1, "w0", now), &class(1)), Some(0));
            shards.give_back(0, 1);
            shards.shard_mut(0).faults.membership += 1;
            shards.pause(0, now);
            if pause > 0 {
                assert_eq!(shards.lease(hold(2, "w0", now + pause - 1), &class(1)), Some(1), "the other");
                shards.give_back(1, 2);
            }
            now += pause;
        }
    }

    #[test]
    fn a_straggler_is_what_is_out_for_long_next_to_the_others() {
        let mut shards = Shards::new(3, 1, BTreeMap::new(), BTreeMap::new());
        for index in 0..3 {
            shards.lease(hold(index + 1, &format!("w{index}"), 10 * index), &class(1));
        }
        assert_eq!(shards.straggler(1_000_000), None, "nobody knows what is usual");
        assert_eq!(shards.finish(0, product(1, 1), 1_000), []);
        assert_eq!((shards.straggler(3_010), shards.straggler(3_011)), (None, Some(1)));
        shards.copy(1, hold(4, "w0", 3_011));
        assert_eq!(shards.straggler(9_000), Some(2), "one that has two leases is left alone");
        assert_eq!(shards.copies().map(|(index, lease)| (index, lease.epoch)).collect::<Vec<_>>(), [(1, 4)]);
        assert!(shards.is_with(1, 4, "w0") && shards.is_with(1, 2, "w1") && !shards.is_with(1, 2, "w0"));
        assert_eq!(shards.finish(1, product(4, 1), 5_000), [hold(2, "w1", 10)]);
        shards.give_back(2, 3);
        assert_eq!((shards.finished(), shards.has_pending()), (2, true));
    }
}
