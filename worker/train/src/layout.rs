//! Where each parameter lies in the flat buffers, and which stretch of them is reduced together.
//!
//! Gradients are born in about the reverse of the order in which parameters were registered, so buckets are
//! filled in that order: the first can travel while the backward pass still runs. Within a bucket the
//! parameters with weight decay come first, so each bucket has one stretch with and one without.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::{Error, optimizer::Piece};

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

/// What is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) length: usize,
    /// Whether weight decay applies.
    pub(crate) decays: bool,
}

/// Where a parameter lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) bucket: usize,
}

impl Place {
    /// The parameter's part of a buffer.
    pub(crate) fn view(&self, flat: &Tensor) -> Tensor {
        flat.narrow(0, self.start as i64, self.length as i64)
    }
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
    /// Lays out the members in the order of registration.
    pub(crate) fn new(members: &[Member]) -> Self {
        Self::with_buckets(members, FIRST_BUCKET, BUCKET)
    }

    fn with_buckets(all: &[Member], first: usize, others: usize) -> Self {
        let padded = |parameter: usize| all[parameter].length.next_multiple_of(ALIGN);
        let mut places = vec![Place { start: 0, length: 0, bucket: 0 }; all.len()];
        let mut buckets = Vec::new();
        let mut at = 0;
        let mut rest: Vec<usize> = (0..all.len()).rev().collect();
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
                for &parameter in members.iter().filter(|&&member| all[member].decays == decays) {
                    let length = all[parameter].length;
                    places[parameter] = Place { start: at, length, bucket: buckets.len() };
                    at += padded(parameter);
                }
                start..at
            };
            let (decayed, plain) = (stretch(true), stretch(false));
            buckets.push(Bucket { parameters: members.len(), decayed, plain });
        }
        Self { places, buckets, length: at }
    }

    /// A buffer of zeros.
    pub(crate) fn buffer(&self, device: Device) -> Result<Tensor, Error> {
        Ok(Tensor::f_zeros([self.length as i64], (Kind::Float, device))?)
    }

    /// Moves the parameters into a flat buffer, of which each becomes a view.
    pub(crate) fn gather(&self, parameters: &[Tensor], device: Device) -> Result<Tensor, Error> {
        let flat = self.buffer(device)?;
        tch::no_grad(|| {
            for (parameter, place) in parameters.iter().zip(&self.places) {
                let mut view = place.view(&flat).f_view_as(parameter)?;
                view.f_copy_(parameter)?;
                parameter.shallow_clone().set_data(&view);
            }
            Ok(flat)
        })
    }

    /// The buffers as pieces of an optimizer. They are the fewest there are for a rule that takes any, and else the
    /// `parameters`, which are views of `flat` already.
    pub(crate) fn pieces(
        &self,
        elementwise: bool,
        parameters: &[Tensor],
        flat: &Tensor,
        gradients: &Tensor,
    ) -> Vec<Piece> {
        if elementwise { self.stretches(flat, gradients) } else { self.wholes(parameters, gradients) }
    }

    fn wholes(&self, parameters: &[Tensor], gradients: &Tensor) -> Vec<Piece> {
        let piece = |(parameter, place): (&Tensor, &Place)| Piece {
            parameter: parameter.detach(),
            gradient: place.view(gradients).view_as(parameter),
            decays: self.buckets[place.bucket].decayed.contains(&place.start),
        };
        parameters.iter().zip(&self.places).map(piece).collect()
    }

    fn stretches(&self, parameters: &Tensor, gradients: &Tensor) -> Vec<Piece> {
        let both = |bucket: &Bucket| [(bucket.decayed.clone(), true), (bucket.plain.clone(), false)];
        let stretches = self.buckets.iter().flat_map(both).filter(|(range, _)| !range.is_empty());
        let piece = |(range, decays): (Range<usize>, bool)| {
            let cut = |flat: &Tensor| flat.narrow(0, range.start as i64, range.len() as i64);
            Piece { parameter: cut(parameters), gradient: cut(gradients), decays }
        };
        stretches.map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(shapes: &[Vec<i64>]) -> Vec<Member> {
        let member = |shape: &Vec<i64>| {
            let length = shape.iter().product::<i64>() as usize;
            Member { length, decays: shape.len() > 1 }
        };
        shapes.iter().map(member).collect()
    }

    #[test]
    fn buckets_go_backwards_with_the_decayed_parameters_first() {
        // Registered: embedding, bias, matrix, norm.
        let layout = Layout::with_buckets(&members(&[vec![8, 4], vec![5], vec![4, 4], vec![4]]), 32, 64);
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
        let layout = Layout::with_buckets(&members(&[vec![3], vec![100, 10], vec![2]]), 16, 16);
        let parameters: Vec<_> = layout.buckets.iter().map(|bucket| bucket.parameters).collect();
        assert_eq!(parameters, [1, 1, 1]);
        assert_eq!(layout.length, 16 + 1008 + 16);
    }

    #[test]
    fn nothing_overlaps_and_nothing_is_left_out() {
        let shapes: Vec<Vec<i64>> =
            (1..60).map(|n| if n % 3 == 0 { vec![n] } else { vec![n, n % 7 + 1] }).collect();
        let members = members(&shapes);
        let layout = Layout::with_buckets(&members, 100, 700);
        let mut covered = vec![false; layout.length];
        for (place, member) in layout.places.iter().zip(&members) {
            let bucket = &layout.buckets[place.bucket];
            let stretch = if member.decays { &bucket.decayed } else { &bucket.plain };
            assert!(stretch.start <= place.start && place.start + place.length <= stretch.end);
            for taken in &mut covered[place.start..place.start + place.length] {
                assert!(!std::mem::replace(taken, true));
            }
        }
        assert_eq!(layout.buckets.iter().map(|bucket| bucket.parameters).sum::<usize>(), shapes.len());
        assert!(layout.buckets.windows(2).all(|pair| pair[0].range().end == pair[1].range().start));
    }

    #[test]
    fn parameters_become_views_of_the_buffer_and_pieces_cover_it() {
        let fill = |shape: &[i64], value: f64| Tensor::full(shape, value, (Kind::Float, Device::Cpu));
        let parameters = [fill(&[4, 4], 1.0), fill(&[3], 2.0), fill(&[2, 8], 3.0)];
        let layout = Layout::new(&members(&parameters.each_ref().map(Tensor::size)));
        let flat = layout.gather(&parameters, Device::Cpu).unwrap();
        assert_eq!(flat.sum(Kind::Float).double_value(&[]), 16.0 + 6.0 + 48.0);
        for elementwise in [true, false] {
            let gradients = layout.buffer(Device::Cpu).unwrap();
            for mut piece in layout.pieces(elementwise, &parameters, &flat, &gradients) {
                assert_eq!(piece.parameter.size(), piece.gradient.size());
                let _ = piece.parameter.fill_(f64::from(u8::from(piece.decays)));
                let _ = piece.gradient.fill_(1.0);
            }
            let left = parameters.iter().map(|parameter| parameter.mean(Kind::Float).double_value(&[]));
            assert_eq!(left.collect::<Vec<_>>(), [1.0, 0.0, 1.0]);
            let of_parameters = layout.places.iter().map(|place| place.view(&gradients));
            assert!(of_parameters.into_iter().all(|view| view.min().double_value(&[]) == 1.0));
        }
    }
}
