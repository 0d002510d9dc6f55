//! How the gradients of slots add up to that of a step: in place, in a wider type, or exactly.
//!
//! Sums of floating-point numbers depend on their order, so on how many ranks add. *Exact* sums do not: each slot's
//! gradient is rounded to a multiple of a fixed quantum, and whole numbers add up to the same in any order, over any
//! number of ranks, by whatever algorithm a collective has.

use tch::{Kind, Tensor};

use crate::Error;

/// Bits of the quantum: 2^-44, about 6e-14. Adam's epsilon hides far larger errors.
const QUANTUM: i32 = 44;
/// Bits that a sum may have, its sign aside.
const WIDTH: i32 = 62;

/// How slots add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adding {
    /// Backward passes add f32 in place.
    InPlace,
    /// Backward passes leave bf16, which is added in f32.
    Widened,
    /// Whole numbers of quanta are added; the order does not matter.
    Exact,
}

impl Adding {
    /// For a model that computes in `compute`.
    pub(crate) fn new(compute: Kind, exact: bool) -> Self {
        match (exact, compute) {
            (true, _) => Self::Exact,
            (false, Kind::Float) => Self::InPlace,
            (false, _) => Self::Widened,
        }
    }

    /// The type of a sum.
    pub(crate) fn kind(self) -> Kind {
        if self == Self::Exact { Kind::Int64 } else { Kind::Float }
    }

    /// A slot's gradient as it is added, and as it travels: of the type of a sum, and of the same shape.
    pub(crate) fn term(self, slot: &Tensor) -> Result<Tensor, Error> {
        let slot = slot.f_to_kind(Kind::Float)?;
        Ok(match self {
            Self::InPlace | Self::Widened => slot,
            // Scaling by a power of two is exact, and so is every whole number that f32 holds.
            Self::Exact => slot.f_mul_scalar(2f64.powi(QUANTUM))?.f_round_()?.f_to_kind(Kind::Int64)?,
        })
    }

    /// A sum as f32.
    pub(crate) fn value(self, sum: &Tensor) -> Result<Tensor, Error> {
        let sum = sum.f_to_kind(Kind::Float)?;
        Ok(match self {
            Self::InPlace | Self::Widened => sum,
            Self::Exact => sum.f_mul_scalar(2f64.powi(-QUANTUM))?,
        })
    }
}

/// The largest magnitude of what slots added, so that numbers that an exact sum cannot hold are found.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    seen: Vec<Tensor>,
}

impl Peak {
    pub(crate) fn see(&mut self, slot: &Tensor) -> Result<(), Error> {
        let (low, high) = slot.f_aminmax(None, false)?;
        self.seen.push(high.f_maximum(&low.f_neg()?)?.f_to_kind(Kind::Float)?);
        Ok(())
    }

    /// Whether exact sums of `slots` slots hold all that was seen, and forgets it.
    pub(crate) fn is_held(&mut self, slots: usize) -> Result<bool, Error> {
        let limit = 2f64.powi(WIDTH - QUANTUM) / slots.max(1) as f64;
        let seen = std::mem::take(&mut self.seen);
        if seen.is_empty() {
            return Ok(true);
        }
        // The largest of numbers of which one is NaN is NaN, and that is below nothing.
        Ok(Tensor::f_stack(&seen, 0)?.f_max()?.f_double_value(&[])? < limit)
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::rng::Rng;

    use super::*;

    fn gradient(seed: u64) -> Tensor {
        let mut rng = Rng::new(seed, "gradient", 0);
        let numbers: Vec<f32> = (0..1000)
            .map(|_| ((rng.uniform() - 0.5) * 10f64.powf(rng.uniform() * 12.0 - 10.0)) as f32)
            .collect();
        Tensor::from_slice(&numbers)
    }

    #[test]
    fn exact_sums_do_not_depend_on_their_order() {
        let terms: Vec<Tensor> = (0..7).map(|seed| Adding::Exact.term(&gradient(seed)).unwrap()).collect();
        let left = terms.iter().fold(terms[0].zeros_like(), |sum, term| sum + term);
        let right = terms.iter().rev().fold(terms[0].zeros_like(), |sum, term| term + sum);
        assert_eq!(left, right);
        let floats = |order: &mut dyn Iterator<Item = u64>| order.map(gradient).sum::<Tensor>();
        assert_ne!(floats(&mut (0..7)), floats(&mut (0..7).rev()), "floating point is not associative");
        let value = Adding::Exact.value(&left).unwrap();
        let wide = (0..7).map(|seed| gradient(seed).to_kind(Kind::Double)).sum::<Tensor>();
        // Beyond the last bit of f32 only quanta are lost.
        let error = (value.to_kind(Kind::Double) - &wide).abs() - wide.abs() * 2f64.powi(-24);
        let error = error.max().double_value(&[]);
        assert!(error < 7.0 * 2f64.powi(-QUANTUM), "{error}");
    }

    #[test]
    fn what_an_exact_sum_cannot_hold_is_seen() {
        let held = |number: f32, slots| {
            let mut peak = Peak::default();
            peak.see(&gradient(1)).unwrap();
            peak.see(&Tensor::from_slice(&[0.5, number])).unwrap();
            (peak.is_held(slots).unwrap(), peak.is_held(slots).unwrap())
        };
        assert_eq!(held(-1000.0, 8), (true, true));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -40_000.0, 40_000.0] {
            assert_eq!(held(wrong, 8), (false, true), "{wrong}: forgotten once told");
        }
        assert_eq!(held(40_000.0, 1), (true, true));
    }

    #[test]
    fn bf16_is_added_in_f32() {
        let adding = Adding::new(Kind::BFloat16, false);
        let term = adding.term(&Tensor::from_slice(&[1.0f32, 0.001]).to_kind(Kind::BFloat16)).unwrap();
        assert_eq!((adding, term.kind()), (Adding::Widened, Kind::Float));
        assert_eq!(Adding::new(Kind::Float, false), Adding::InPlace);
        assert_eq!(Adding::new(Kind::BFloat16, true), Adding::Exact);
    }
}
