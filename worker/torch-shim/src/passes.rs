//! What a block computes between its matrix products, in one pass over the numbers forwards and one backwards, where libtorch
//! composes it of many. In f32 on the CPU; elsewhere as libtorch does.
//!
//! They panic where libtorch refuses, with its words, as the operations of tch do.
//!
//! Shape suffixes: b rows, t tokens, n heads, h width of a head, r half of the part of a head that is rotated.

use tch::Tensor;

use crate::{nodes::computed, sys};

/// `silu(gate) * up`, number by number.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn gated(gate: &Tensor, up: &Tensor) -> Tensor {
    // SAFETY: both tensors are alive.
    computed(|out| unsafe { sys::fulcrum_gated(gate.as_ptr(), up.as_ptr(), out) })
}

/// `x / sqrt(mean(x^2) + epsilon) * weight`, over the last dimension.
///
/// # Panics
/// If the weight is not as long as the last dimension.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Tensor {
    // SAFETY: both tensors are alive.
    computed(|out| unsafe { sys::fulcrum_rms_norm(x.as_ptr(), weight.as_ptr(), epsilon, out) })
}

/// Heads `[b, n, t, h]` whose first r dimensions are turned against the next r by angles of which cosine and sine are
/// given, f32 `[b, 1, t, r]` or `[1, 1, t, r]`. No gradient goes into the angles.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn rotated(x_bnth: &Tensor, cosine_b1tr: &Tensor, sine_b1tr: &Tensor) -> Tensor {
    let (x, angles) = (x_bnth.size(), cosine_b1tr.size());
    let fits = match (x.as_slice(), angles.as_slice()) {
        (&[b, _, t, h], &[rows, 1, tokens, r]) => (rows == b || rows == 1) && tokens == t && 2 * r <= h,
        _ => false,
    };
    assert!(fits && sine_b1tr.size() == angles, "heads {x:?} cannot be rotated by angles {angles:?}");
    let [x, cosine, sine] = [x_bnth, cosine_b1tr, sine_b1tr].map(Tensor::as_ptr);
    // SAFETY: the tensors are alive, and of shapes that fit.
    computed(|out| unsafe { sys::fulcrum_rotated(x, cosine, sine, out) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn waves(shape: &[i64], speed: f64) -> Tensor {
        let count: i64 = shape.iter().product();
        ((Tensor::arange(count, (Kind::Float, Device::Cpu)) * speed).sin() * 3.0).view(shape)
    }

    /// What is made of the leaves and the gradients that it leaves in them.
    fn with_gradients(leaves: &[Tensor], make: impl Fn(&[Tensor]) -> Tensor) -> Vec<Tensor> {
        let leaves: Vec<_> = leaves.iter().map(|leaf| leaf.copy().set_requires_grad(true)).collect();
        let made = make(&leaves);
        // No two numbers of the result count alike.
        (&made * waves(&made.size(), 0.37)).sum(Kind::Float).backward();
        let gradients = leaves.iter().map(Tensor::grad);
        let unrecorded = tch::no_grad(|| make(&leaves));
        assert!(!unrecorded.requires_grad());
        gradients.chain([made.detach(), unrecorded]).collect()
    }

    fn alike(found: &[Tensor], expected: &[Tensor]) {
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(found.size(), expected.size());
            let scale = expected.abs().max().double_value(&[]).max(1.0);
            let error = (found - expected).abs().max().double_value(&[]) / scale;
            assert!(error < 2e-6, "{at}: {error}");
        }
    }

    fn same(leaves: &[Tensor], own: impl Fn(&[Tensor]) -> Tensor, composed: impl Fn(&[Tensor]) -> Tensor) {
        alike(&with_gradients(leaves, own), &with_gradients(leaves, composed));
    }

    /// As libtorch's operations give it.
    fn turned(x: &Tensor, cosine: &Tensor, sine: &Tensor) -> Tensor {
        let (half, width) = (cosine.size()[3], x.size()[3]);
        let (first, second) = (x.narrow(3, 0, half), x.narrow(3, half, half));
        let rest = x.narrow(3, 2 * half, width - 2 * half);
        Tensor::cat(&[&first * cosine - &second * sine, &second * cosine + &first * sine, rest], 3)
    }

    #[test]
    fn a_gate_is_silu_times_the_rest() {
        // More numbers than a chunk has, and not a whole number of vectors.
        for shape in [[3, 7], [5, 7001]] {
            let leaves = [waves(&shape, 0.7), waves(&shape, 1.3)];
            same(&leaves, |l| gated(&l[0], &l[1]), |l| l[0].silu() * &l[1]);
            same(&leaves, |l| gated(&l[0].tr(), &l[1].tr()), |l| l[0].tr().silu() * l[1].tr());
        }
        let far = Tensor::from_slice(&[-1e4f32, -88.5, -1e-30, 0.0, 89.0, 1e4]);
        let found = gated(&far, &far.ones_like());
        assert!(found.allclose(&far.silu(), 1e-6, 1e-33, false), "{found}");
        let broken =
            gated(&Tensor::from_slice(&[f32::NAN, f32::INFINITY]), &Tensor::from_slice(&[1f32, 1.0]));
        assert_eq!(Vec::<bool>::try_from(broken.isfinite()).unwrap(), [false, false]);
    }

    #[test]
    fn a_norm_is_that_of_libtorch() {
        for (rows, width) in [(1, 5), (40, 33), (37, 768)] {
            let leaves = [waves(&[rows, width], 0.7), waves(&[width], 1.3)];
            same(&leaves, |l| rms_norm(&l[0], &l[1], 1e-5), |l| l[0].rms_norm([width], Some(&l[1]), 1e-5));
        }
        let (x, weight) = (waves(&[4, 8], 0.7).set_requires_grad(true), waves(&[8], 0.3));
        rms_norm(&x, &weight, 1e-5).sum(Kind::Float).backward();
        assert!(x.grad().defined() && !weight.grad().defined());
    }

    #[test]
    fn heads_are_turned_wherever_they_lie_and_their_rest_is_not() {
        let (b, n, t, h) = (2, 3, 5, 12);
        for (rows, r) in [(b, 6), (1, 4)] {
            let angles = waves(&[rows, 1, t, r], 0.11);
            let (cosine, sine) = (angles.cos(), angles.sin());
            for laid in [false, true] {
                let leaves = [if laid { waves(&[b, t, n, h], 0.7) } else { waves(&[b, n, t, h], 0.7) }];
                let heads = |x: &Tensor| if laid { x.transpose(1, 2) } else { x.shallow_clone() };
                let own = |l: &[Tensor]| rotated(&heads(&l[0]), &cosine, &sine);
                same(&leaves, own, |l| turned(&heads(&l[0]), &cosine, &sine));
            }
        }
    }

    #[test]
    fn narrow_numbers_take_the_way_of_libtorch() {
        let narrow = |x: Tensor| x.to_kind(Kind::BFloat16);
        let (x, y) = (narrow(waves(&[4, 8], 0.7)), narrow(waves(&[4, 8], 0.3)));
        assert_eq!(gated(&x, &y), x.silu() * &y);
        let weight = narrow(waves(&[8], 0.3));
        assert_eq!(rms_norm(&x, &weight, 1e-5), x.rms_norm([8], Some(&weight), 1e-5));
        let (heads, angles) = (x.view([1, 2, 2, 8]), waves(&[1, 1, 2, 4], 0.11));
        let parts = turned(&heads, &narrow(angles.cos()), &narrow(angles.sin()));
        assert_eq!(rotated(&heads, &angles.cos(), &angles.sin()), parts);
    }

    #[test]
    #[should_panic(expected = "cannot be rotated by angles")]
    fn angles_of_other_tokens_are_refused() {
        let angles = waves(&[1, 1, 3, 2], 0.1);
        let _ = rotated(&waves(&[1, 2, 4, 8], 0.1), &angles, &angles);
    }
}
