//! Where each parameter lies in the flat buffers, and which stretch of them is reduced together.
//!
//! Gradients are born in about the reverse of the order in which parameters were registered, so buckets are
//! filled in that order: the first can travel while the backward pass still runs. Within a bucket the
//! parameters with weight decay come first, so each bucket has one stretch with and one without.

use std::ops::Range;

/// Numbers per bucket, for f32: small first, so that traffic starts early, then enough to hide latency.
const FIRST_BUCKET: usize = 1 << 18;
const BUCKET: usize = 25 << 18;
/// Every parameter starts on a cache line of 64 bytes.
const ALIGN: usize = 16;

/// The plan of the flat buffers. All positions count numbers, not bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// By parameter, in the order of registration.
    pub(crate) places: Vec<Place>,
    /// In the order in which they are reduced.
    pub(crate) buckets: Vec<Bucket>,
    /// Length of a buffer.
    pub(crate) length: usize,
}

/// Where a parameter lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) bucket: usize,
}

/// A stretch of the buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Parameters in it.
    pub(crate) parameters: usize,
    /// With weight decay.
    pub(crate) decayed: Range<usize>,
    /// Without; starts where the other ends.
    pub(crate) plain: Range<usize>,
}

impl Bucket {
    pub(crate) fn range(&self) -> Range<usize> {
        self.decayed.start..self.plain.end
    }
}

impl Layout {
    /// Lays out parameters of these shapes. Matrices decay; vectors (biases, gains of norms) do not.
    pub(crate) fn new(shapes: &[Vec<i64>]) -> Self {
        Self::with_buckets(shapes, FIRST_BUCKET, BUCKET)
    }

    fn with_buckets(shapes: &[Vec<i64>], first: usize, others: usize) -> Self {
        let lengths: Vec<usize> = shapes.iter().map(|shape| shape.iter().product::<i64>() as usize).collect();
        let padded = |parameter: usize| lengths[parameter].next_multiple_of(ALIGN);
        let mut places = vec![Place { start: 0, length: 0, bucket: 0 }; shapes.len()];
        let mut buckets = Vec::new();
        let mut at = 0;
        let mut rest: Vec<usize> = (0..shapes.len()).rev().collect();
        while !rest.is_empty() {
            let limit = if buckets.is_empty() { first } else { others };
            let mut sum = 0;
            let fits = rest.iter().take_while(|&&parameter| {
                sum += padded(parameter);
                sum <= limit
            });
            // A parameter larger than a bucket has one of its own.
            let members: Vec<usize> = rest.drain(..fits.count().max(1)).collect();
            let mut stretch = |decays: bool| {
                let start = at;
                for &parameter in members.iter().filter(|&&member| (shapes[member].len() > 1) == decays) {
                    places[parameter] =
                        Place { start: at, length: lengths[parameter], bucket: buckets.len() };
                    at += padded(parameter);
                }
                start..at
            };
            let (decayed, plain) = (stretch(true), stretch(false));
            buckets.push(Bucket { parameters: members.len(), decayed, plain });
        }
        Self { places, buckets, length: at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_go_backwards_with_the_decayed_parameters_first() {
        // Registered: embedding, bias, matrix, norm.
        let layout = Layout::with_buckets(&[vec![8, 4], vec![5], vec![4, 4], vec![4]], 32, 64);
        let place = |start, length, bucket| Place { start, length, bucket };
        assert_eq!(layout.places, [place(32, 32, 1), place(64, 5, 1), place(0, 16, 0), place(16, 4, 0)]);
        let expected = [
            Bucket { parameters: 2, decayed: 0..16, plain: 16..32 },
            Bucket { parameters: 2, decayed: 32..64, plain: 64..80 },
        ];
        assert_eq!(layout.buckets, expected);
        assert_eq!(layout.length, 80);
    }

    #[test]
    fn a_parameter_larger_than_a_bucket_has_its_own() {
        let layout = Layout::with_buckets(&[vec![3], vec![100, 10], vec![2]], 16, 16);
        let parameters: Vec<_> = layout.buckets.iter().map(|bucket| bucket.parameters).collect();
        assert_eq!(parameters, [1, 1, 1]);
        assert_eq!(layout.length, 16 + 1008 + 16);
    }

    #[test]
    fn nothing_overlaps_and_nothing_is_left_out() {
        let shapes: Vec<Vec<i64>> =
            (1..60).map(|n| if n % 3 == 0 { vec![n] } else { vec![n, n % 7 + 1] }).collect();
        let layout = Layout::with_buckets(&shapes, 100, 700);
        let mut covered = vec![false; layout.length];
        for (place, shape) in layout.places.iter().zip(&shapes) {
            let bucket = &layout.buckets[place.bucket];
            let stretch = if shape.len() > 1 { &bucket.decayed } else { &bucket.plain };
            assert!(stretch.start <= place.start && place.start + place.length <= stretch.end);
            for taken in &mut covered[place.start..place.start + place.length] {
                assert!(!std::mem::replace(taken, true));
            }
        }
        assert_eq!(layout.buckets.iter().map(|bucket| bucket.parameters).sum::<usize>(), shapes.len());
        assert!(layout.buckets.windows(2).all(|pair| pair[0].range().end == pair[1].range().start));
    }
}
