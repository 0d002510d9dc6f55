//! Where each parameter lies in the flat buffers: which segment of them moves as one, and which share of a segment is
//! a rank's own.
//!
//! Where every rank keeps all weights, segments are buckets of gradients. Gradients are born in about the reverse of
//! the order in which parameters were registered, so buckets are filled in that order: the first can travel while the
//! backward pass still runs. Where weights come and go by block, a block is a segment, and what is outside of the
//! blocks is one.
//!
//! Within a segment the parameters with weight decay come first. All positions count numbers, not bytes.

use std::ops::Range;

/// Numbers per bucket, for f32: small first, so that traffic starts early, then enough to hide latency.
const FIRST_BUCKET: usize = 1 << 18;
const BUCKET: usize = 25 << 18;
/// Every parameter, and every share, starts on a cache line of 64 bytes.
const ALIGN: usize = 16;

/// A parameter as the layout sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) shape: Vec<i64>,
    /// Whether weight decay applies to it.
    pub(crate) decays: bool,
    /// The block that it belongs to.
    pub(crate) block: Option<usize>,
}

impl Extent {
    /// How many numbers it has.
    pub(crate) fn length(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
}

/// The plan of the flat buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// By parameter, in the order of registration.
    pub(crate) places: Vec<Place>,
    /// Buckets in the order in which they are reduced; or what is outside of the blocks, then the blocks in order.
    pub(crate) segments: Vec<Segment>,
    /// How many ranks share a segment.
    pub(crate) shards: usize,
    /// Length of a whole buffer; a rank's own is as many times shorter as there are shards.
    pub(crate) length: usize,
}

/// Where a parameter lies in the whole buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) segment: usize,
}

/// What moves as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Parameters in it, in the order in which they lie.
    pub(crate) members: Vec<usize>,
    /// Where it lies in the whole buffer; its length is a multiple of the shards.
    pub(crate) range: Range<usize>,
    /// Up to where parameters decay.
    pub(crate) decayed: usize,
}

/// A stretch of a rank's own buffers, all of it decaying or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) segment: usize,
    /// In the rank's own buffer.
    pub(crate) own: Range<usize>,
    pub(crate) decays: bool,
}

/// The part of a parameter that lies in a rank's own buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The parameter, in the order of registration.
    pub(crate) parameter: usize,
    /// Which of its numbers.
    pub(crate) numbers: Range<usize>,
    pub(crate) segment: usize,
    /// Where the first of them lies in the rank's own buffer.
    pub(crate) own: usize,
    pub(crate) decays: bool,
}

impl Fragment {
    /// What of it lies in a stretch of the rank's own buffer.
    pub(crate) fn within(&self, stretch: &Range<usize>) -> Option<Self> {
        let (from, to) = (self.own.max(stretch.start), (self.own + self.numbers.len()).min(stretch.end));
        let numbers = |from: usize, to: usize| {
            let before = self.numbers.start;
            before + from - self.own..before + to - self.own
        };
        (from < to).then(|| Self { numbers: numbers(from, to), own: from, ..self.clone() })
    }
}

impl Layout {
    /// Buckets for ranks that keep all weights and share their updates among `shards`.
    pub(crate) fn in_buckets(extents: &[Extent], shards: usize) -> Self {
        Self::bucketed(extents, shards, FIRST_BUCKET, BUCKET)
    }

    fn bucketed(extents: &[Extent], shards: usize, first: usize, others: usize) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut filled = 0;
        for parameter in (0..extents.len()).rev() {
            let padded = extents[parameter].length().next_multiple_of(ALIGN);
            let limit = if groups.len() == 1 { first } else { others };
            match groups.last_mut() {
                // A parameter larger than a bucket has one of its own.
                Some(group) if filled + padded <= limit => group.push(parameter),
                _ => {
                    groups.push(vec![parameter]);
                    filled = 0;
                }
            }
            filled += padded;
        }
        Self::new(extents, groups, shards)
    }

    /// What is outside of the blocks, then each of the `blocks`; weights and updates are shared among `shards`.
    pub(crate) fn by_block(extents: &[Extent], blocks: usize, shards: usize) -> Self {
        let of = |block| (0..extents.len()).filter(|&at| extents[at].block == block).collect();
        let groups = std::iter::once(None).chain((0..blocks).map(Some)).map(of).collect();
        Self::new(extents, groups, shards)
    }

    fn new(extents: &[Extent], groups: Vec<Vec<usize>>, shards: usize) -> Self {
        let mut places = vec![Place { start: 0, length: 0, segment: 0 }; extents.len()];
        let mut segments = Vec::with_capacity(groups.len());
        let mut at = 0;
        for mut members in groups {
            members.sort_by_key(|&member| !extents[member].decays);
            let (start, mut decayed) = (at, at);
            for &member in &members {
                let (length, decays) = (extents[member].length(), extents[member].decays);
                places[member] = Place { start: at, length, segment: segments.len() };
                at += length.next_multiple_of(ALIGN);
                if decays {
                    decayed = at;
                }
            }
            at = start + (at - start).next_multiple_of(shards * ALIGN);
            segments.push(Segment { members, range: start..at, decayed });
        }
        Self { places, segments, shards, length: at }
    }

    /// Where the share of a segment lies in the buffers of the rank that owns it.
    pub(crate) fn own(&self, segment: &Segment) -> Range<usize> {
        segment.range.start / self.shards..segment.range.end / self.shards
    }

    /// The share of `rank` in the whole buffer.
    pub(crate) fn share(&self, segment: &Segment, rank: usize) -> Range<usize> {
        let length = segment.range.len() / self.shards;
        let start = segment.range.start + rank * length;
        start..start + length
    }

    /// What a rank updates, longest stretches that decay alike.
    pub(crate) fn stretches(&self, rank: usize) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            let (share, own) = (self.share(segment, rank), self.own(segment).start);
            let middle = segment.decayed.clamp(share.start, share.end);
            let mine = |part: Range<usize>| own + part.start - share.start..own + part.end - share.start;
            for (part, decays) in [(share.start..middle, true), (middle..share.end, false)] {
                if !part.is_empty() {
                    stretches.push(Stretch { segment: at, own: mine(part), decays });
                }
            }
        }
        stretches
    }

    /// The parts of parameters that a rank owns, in the order in which they lie.
    pub(crate) fn fragments(&self, rank: usize) -> Vec<Fragment> {
        let of = |(at, segment): (usize, &Segment)| {
            let (share, own) = (self.share(segment, rank), self.own(segment).start);
            let fragment = |&parameter: &usize| {
                let Place { start, length, .. } = self.places[parameter];
                let (from, to) = (start.max(share.start), (start + length).min(share.end));
                (from < to).then(|| Fragment {
                    parameter,
                    numbers: from - start..to - start,
                    segment: at,
                    own: own + from - share.start,
                    decays: start < segment.decayed,
                })
            };
            segment.members.iter().filter_map(fragment).collect::<Vec<_>>()
        };
        self.segments.iter().enumerate().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(length: usize, decays: bool, block: Option<usize>) -> Extent {
        Extent { shape: vec![length as i64], decays, block }
    }

    #[test]
    fn buckets_go_backwards_with_the_decayed_parameters_first() {
        // Registered: embedding, bias, matrix, norm.
        let extents =
            [(32, true), (5, false), (16, true), (4, false)].map(|(n, decays)| extent(n, decays, None));
        let layout = Layout::bucketed(&extents, 1, 32, 64);
        let place = |start, length, segment| Place { start, length, segment };
        assert_eq!(layout.places, [place(32, 32, 1), place(64, 5, 1), place(0, 16, 0), place(16, 4, 0)]);
        let segment =
            |members: &[usize], range, decayed| Segment { members: members.to_vec(), range, decayed };
        assert_eq!(layout.segments, [segment(&[2, 3], 0..32, 16), segment(&[0, 1], 32..80, 64)]);
        let whole = [(0, 0..16, true), (0, 16..32, false), (1, 32..64, true), (1, 64..80, false)];
        let whole = whole.map(|(segment, own, decays)| Stretch { segment, own, decays });
        assert_eq!(layout.stretches(0), whole);
    }

    #[test]
    fn a_parameter_larger_than_a_bucket_has_its_own() {
        let extents = [extent(3, false, None), extent(1000, true, None), extent(2, false, None)];
        let layout = Layout::bucketed(&extents, 1, 16, 16);
        let members: Vec<_> = layout.segments.iter().map(|segment| segment.members.clone()).collect();
        assert_eq!(members, [[2], [1], [0]]);
        assert_eq!(layout.length, 16 + 1008 + 16);
    }

    #[test]
    fn by_block_what_is_outside_comes_first() {
        let extents = [(None, 4), (Some(0), 20), (Some(0), 3), (Some(1), 7), (None, 9)]
            .map(|(block, length)| extent(length, true, block));
        let layout = Layout::by_block(&extents, 2, 2);
        let members: Vec<_> = layout.segments.iter().map(|segment| segment.members.clone()).collect();
        assert_eq!(members, [vec![0, 4], vec![1, 2], vec![3]]);
        assert!(layout.segments.iter().all(|segment| segment.range.len() % 32 == 0));
    }

    fn extents() -> impl Strategy<Value = Vec<Extent>> {
        let extent = (1usize..300, any::<bool>(), prop::option::of(0usize..4));
        let extent = extent.prop_map(|(length, decays, block)| super::tests::extent(length, decays, block));
        prop::collection::vec(extent, 1..20)
    }

    proptest! {
        #[test]
        fn every_number_is_owned_once_whatever_the_shards(
            extents in extents(), shards in 1usize..6, blocks in any::<bool>()
        ) {
            let layout = match blocks {
                true => Layout::by_block(&extents, 4, shards),
                false => Layout::bucketed(&extents, shards, 100, 500),
            };
            let mut owners: Vec<Vec<usize>> = extents.iter().map(|extent| vec![0; extent.length()]).collect();
            for rank in 0..shards {
                let stretches = layout.stretches(rank);
                prop_assert!(stretches.windows(2).all(|pair| pair[0].own.end <= pair[1].own.start));
                for Fragment { parameter, numbers, own, decays, .. } in layout.fragments(rank) {
                    owners[parameter][numbers.clone()].iter_mut().for_each(|owned| *owned += 1);
                    let own = own..own + numbers.len();
                    let holds = |stretch: &&Stretch| stretch.own.start <= own.start && own.end <= stretch.own.end;
                    let stretch = stretches.iter().find(holds);
                    prop_assert_eq!(stretch.map(|stretch| stretch.decays), Some(decays));
                    prop_assert_eq!(decays, extents[parameter].decays);
                }
            }
            prop_assert!(owners.iter().flatten().all(|&owned| owned == 1));
        }
    }
}
