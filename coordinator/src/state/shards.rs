//! The shards of one stage: which is leased next, and when all are finished, without looking at each.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use fulcrum_common::invariant::{Invariant, uphold};

use super::Faults;
use crate::{action::Product, input::Class};

/// Ranges of rows, each pending, leased or finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Shards {
    rows: u64,
    size: u64,
    shards: Vec<Shard>,
    /// Shards from here on were never leased, those that were finished beforehand aside.
    fresh: usize,
    /// Pending shards below `fresh`.
    returned: BTreeSet<usize>,
    finished: usize,
    leased: usize,
    /// Who makes the shards; none while none is leased or finished.
    class: Option<Class>,
}

/// A range of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// Where it is.
    pub state: ShardState,
    pub(crate) faults: Faults,
}

/// Where a shard is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ShardState {
    /// Nobody works on it.
    #[default]
    Pending,
    /// A worker has it.
    Leased {
        /// The fencing token.
        epoch: u64,
        /// The worker.
        seat: String,
    },
    /// Its files are in the store.
    Done(Box<Product>),
}

impl Shards {
    /// `rows` in shards of `size` rows (at least one), those in `kept` finished if they were made by equals. No rows
    /// are one empty shard: its worker writes the empty file that readers expect.
    pub(crate) fn new(rows: u64, size: u64, kept: BTreeMap<u64, Product>) -> Self {
        let count = usize::try_from(rows.div_ceil(size).max(1)).expect("a stage has few shards");
        let mut shards = vec![Shard::default(); count];
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
        Self { rows, size, shards, fresh: 0, returned: BTreeSet::new(), finished, leased: 0, class }
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

    /// Leases the first pending shard; none where none is pending.
    pub(super) fn lease(&mut self, epoch: u64, seat: &str, class: &Class) -> Option<usize> {
        let index = self.returned.pop_first().or_else(|| self.next_fresh())?;
        let shard = &self.shards[index];
        uphold(Invariant::OneLeaseholder, shard.state == ShardState::Pending, || {
            format!("epoch {epoch} of {seat} would be the second at shard {index}")
        });
        let equal = self.class.as_ref().is_none_or(|mine| mine == class);
        uphold(Invariant::OneClass, equal, || format!("shard {index} goes to {seat}, {class}"));
        self.shards[index].state = ShardState::Leased { epoch, seat: seat.to_owned() };
        self.leased += 1;
        self.class.get_or_insert_with(|| class.clone());
        Some(index)
    }

    fn next_fresh(&mut self) -> Option<usize> {
        while self.shards.get(self.fresh)?.state != ShardState::Pending {
            self.fresh += 1;
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }

    /// A leased shard is finished.
    pub(super) fn finish(&mut self, index: usize, product: Product) {
        let epoch = product.epoch;
        let waits =
            matches!(self.shards[index].state, ShardState::Leased { epoch: mine, .. } if mine == epoch);
        uphold(Invariant::CurrentEpochCounts, waits, || {
            format!("shard {index} is finished by epoch {epoch}")
        });
        self.shards[index].state = ShardState::Done(Box::new(product));
        self.leased -= 1;
        self.finished += 1;
    }

    /// A leased shard is pending again.
    pub(super) fn give_back(&mut self, index: usize) {
        self.returned.insert(index);
        self.leased -= 1;
        if !self.is_begun() {
            self.class = None;
        }
        self.shards[index].state = ShardState::Pending;
    }

    /// The failures at a shard.
    pub(super) fn faults(&mut self, index: usize) -> &mut Faults {
        &mut self.shards[index].faults
    }

    /// Whether a worker has a shard's lease.
    pub(super) fn is_with(&self, index: usize, worker: &str) -> bool {
        matches!(&self.shards[index].state, ShardState::Leased { seat, .. } if seat == worker)
    }

    /// Gives the finished shards up.
    pub(super) fn forget(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| matches!(shard.state, ShardState::Done(_))) {
            shard.state = ShardState::Pending;
        }
        let leased = |index: &usize| matches!(self.shards[*index].state, ShardState::Leased { .. });
        self.returned = (0..self.fresh).filter(|index| !leased(index)).collect();
        self.finished = 0;
        if self.leased == 0 {
            self.class = None;
        }
    }

    /// The leases under way: shard, epoch, seat.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (usize, u64, &str)> {
        self.shards.iter().enumerate().filter_map(|(index, shard)| match &shard.state {
            ShardState::Leased { epoch, seat } => Some((index, *epoch, seat.as_str())),
            _ => None,
        })
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

    #[test]
    fn rows_are_cut_into_ranges_and_none_are_one_empty_shard() {
        let ranges = |rows| {
            let shards = Shards::new(rows, 4, BTreeMap::new());
            (0..shards.count()).map(|index| shards.range(index)).collect::<Vec<_>>()
        };
        assert_eq!(ranges(10), [0..4, 4..8, 8..10]);
        assert_eq!(ranges(8), [0..4, 4..8]);
        assert_eq!(ranges(0), vec![Range::default()]);
    }

    #[test]
    fn the_first_pending_shard_goes_first_also_after_it_came_back() {
        let mut shards = Shards::new(5, 1, [(1, product(1, 1))].into());
        let lease = |shards: &mut Shards| shards.lease(9, "w0", &class(1));
        assert_eq!([lease(&mut shards), lease(&mut shards), lease(&mut shards)], [Some(0), Some(2), Some(3)]);
        shards.give_back(2);
        shards.give_back(0);
        assert_eq!([lease(&mut shards), lease(&mut shards), lease(&mut shards)], [Some(0), Some(2), Some(4)]);
        assert_eq!((lease(&mut shards), shards.has_pending()), (None, false));
    }

    #[test]
    fn what_was_finished_before_counts_only_if_equals_made_it() {
        let kept = [(0, product(1, 2)), (1, product(2, 1)), (2, product(3, 2)), (99, product(4, 2))];
        let shards = Shards::new(4, 1, kept.into());
        assert_eq!((shards.finished(), shards.class()), (2, Some(&class(2))));
        assert_eq!(shards.products().map(|product| product.epoch).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn the_class_is_that_of_whoever_works_or_worked_on_it() {
        let mut shards = Shards::new(2, 1, BTreeMap::new());
        assert_eq!(shards.class(), None);
        let index = shards.lease(1, "w0", &class(1)).unwrap();
        assert_eq!(shards.class(), Some(&class(1)));
        shards.give_back(index);
        assert_eq!(shards.class(), None);
        let index = shards.lease(2, "w1", &class(2)).unwrap();
        shards.finish(index, product(2, 2));
        assert_eq!((shards.class(), shards.is_begun()), (Some(&class(2)), true));
        shards.forget();
        assert_eq!((shards.class(), shards.is_begun()), (None, false));
        assert_eq!(shards.lease(3, "w0", &class(1)), Some(0));
    }
}
