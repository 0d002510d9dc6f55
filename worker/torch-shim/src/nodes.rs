//! Operations with weights whose gradients are added where they are kept: where a leaf has a gradient already (see
//! [`set_gradient`](crate::set_gradient)), the backward pass makes no tensor of the weight's size, and a hook on the
//! leaf runs all the same.
//!
//! They panic where libtorch refuses, with its words, as the operations of tch do.

use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{Error, sys};

/// Numbers of logits that are made at a time: 64 MiB in f32. Matrix products are no faster with more.
const STRETCH: i64 = 1 << 24;

/// `x W^T + b` over the last dimension, for `weight` `[out, in]`.
///
/// # Panics
/// If shapes, types or devices do not fit each other.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let bias = bias.map_or(ptr::null(), Tensor::as_ptr);
    // SAFETY: the tensors are alive, and a null bias is none.
    computed(|out| unsafe { sys::fulcrum_linear(x.as_ptr(), weight.as_ptr(), bias, out) })
}

/// The rows of `table` `[rows, width]` that `ids` name: `[..]` to `[.., width]`.
///
/// # Panics
/// If the ids are no whole numbers below the number of rows.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Tensor {
    // SAFETY: both tensors are alive.
    computed(|out| unsafe { sys::fulcrum_embedding(table.as_ptr(), ids.as_ptr(), out) })
}

/// The cross-entropy of next-token logits that are never whole in memory: the sum over n of
/// `-ln softmax(x_n W^T + b)[target_n]`, f32, for states `x` `[n, d]`, `weight` `[v, d]`, `bias` `[v]` and `targets` i64 `[n]`.
/// With a `cap` c the logits z are c tanh(z / c).
///
/// The sum has to be multiplied by `factor` and by nothing else before its backward pass, and to have one at most: with
/// gradients on, this call has added to those that are kept already.
///
/// # Panics
/// If shapes, types or devices do not fit each other, or a target is none of the rows of `weight`.
pub fn cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    targets: &Tensor,
    cap: Option<f64>,
    factor: f64,
) -> Tensor {
    in_stretches(x, weight, bias, targets, cap, factor, STRETCH)
}

/// [`cross_entropy`], with so many numbers of logits at a time.
fn in_stretches(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    targets: &Tensor,
    cap: Option<f64>,
    factor: f64,
    numbers: i64,
) -> Tensor {
    let (bias, cap) = (bias.map_or(ptr::null(), Tensor::as_ptr), cap.unwrap_or(0.0));
    let [x, weight, targets] = [x, weight, targets].map(Tensor::as_ptr);
    // SAFETY: the tensors are alive, and a null bias is none.
    computed(|out| unsafe { sys::fulcrum_cross_entropy(x, weight, bias, targets, cap, factor, numbers, out) })
}

/// What the C face has made.
pub(crate) fn computed(make: impl FnOnce(*mut *mut C_tensor) -> *mut std::ffi::c_char) -> Tensor {
    let mut out = ptr::null_mut();
    let made: Result<(), Error> = sys::check(make(&mut out));
    match made {
        // SAFETY: without a message the C face has made a tensor, which is handed over here, once.
        Ok(()) => unsafe { Tensor::from_ptr(sys::made(out).as_ptr()) },
        Err(error) => panic!("libtorch: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tch::{Device, Kind};

    use super::*;
    use crate::{Hook, set_gradient};

    fn waves(shape: &[i64], speed: f32) -> Tensor {
        let numbers: Vec<f32> =
            (0..shape.iter().product::<i64>()).map(|i| (i as f32 * speed).sin()).collect();
        Tensor::from_slice(&numbers).view(shape)
    }

    fn leaf(shape: &[i64], speed: f32) -> Tensor {
        waves(shape, speed).set_requires_grad(true)
    }

    /// The gradients that a loss of what `make` makes of the leaves leaves in them, twice over.
    fn gradients(leaves: &[Tensor], keep: bool, make: impl Fn(&[Tensor]) -> Tensor) -> Vec<Tensor> {
        let leaves: Vec<_> = leaves.iter().map(|leaf| leaf.detach().set_requires_grad(true)).collect();
        if keep {
            leaves.iter().for_each(|leaf| set_gradient(leaf, &leaf.detach().zeros_like()).unwrap());
        }
        for _ in 0..2 {
            let y = make(&leaves);
            (&y * waves(&y.size(), 0.3)).sum(Kind::Float).backward();
        }
        leaves.iter().map(Tensor::grad).collect()
    }

    #[track_caller]
    fn alike(found: &[Tensor], expected: &[Tensor]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.allclose(expected, 1e-5, 1e-6, false), "{found} is not {expected}");
        }
    }

    #[test]
    fn a_linear_map_has_the_gradients_of_libtorch() {
        let leaves = [leaf(&[2, 3, 4], 0.7), leaf(&[5, 4], 0.9), leaf(&[5], 1.1)];
        let own = |l: &[Tensor]| linear(&l[0], &l[1], Some(&l[2]));
        assert!(own(&leaves).equal(&leaves[0].linear(&leaves[1], Some(&leaves[2]))));
        for keep in [false, true] {
            let expected = gradients(&leaves, keep, |l| l[0].linear(&l[1], Some(&l[2])));
            alike(&gradients(&leaves, keep, own), &expected);
            let without = gradients(&leaves[..2], keep, |l| linear(&l[0], &l[1], None));
            alike(&without, &gradients(&leaves[..2], keep, |l| l[0].linear(&l[1], None::<Tensor>)));
        }
    }

    #[test]
    fn an_embedding_has_the_gradients_of_libtorch() {
        let ids = Tensor::from_slice(&[1i64, 4, 1, 0, 1, 4]).view([2, 3]);
        let leaves = [leaf(&[6, 4], 0.7)];
        assert!(embedding(&leaves[0], &ids).equal(&leaves[0].index_select(0, &ids.view(-1)).view([2, 3, 4])));
        for keep in [false, true] {
            let expected = gradients(&leaves, keep, |l| Tensor::embedding(&l[0], &ids, -1, false, false));
            alike(&gradients(&leaves, keep, |l| embedding(&l[0], &ids)), &expected);
        }
    }

    #[test]
    fn a_table_that_is_read_and_multiplied_by_takes_both_gradients() {
        let ids = Tensor::from_slice(&[1i64, 4, 1]);
        let leaves = [leaf(&[6, 4], 0.7)];
        for keep in [false, true] {
            let expected =
                gradients(&leaves, keep, |l| l[0].index_select(0, &ids).linear(&l[0], None::<Tensor>));
            alike(&gradients(&leaves, keep, |l| linear(&embedding(&l[0], &ids), &l[0], None)), &expected);
        }
    }

    /// The same as [`cross_entropy`] with whole logits.
    fn plainly(l: &[Tensor], targets: &Tensor, cap: Option<f64>) -> Tensor {
        let z = l[0].linear(&l[1], l.get(2));
        let z = cap.map_or(z.shallow_clone(), |cap| (z / cap).tanh() * cap);
        z.cross_entropy_loss(targets, None::<Tensor>, tch::Reduction::Sum, -100, 0.0)
    }

    #[test]
    fn a_cross_entropy_in_stretches_is_that_of_whole_logits() {
        let (rows, words, stretch) = (11, 9, 4 * 9);
        let targets = (Tensor::arange(rows, (Kind::Int64, Device::Cpu)) * 7).remainder(words);
        let leaves = [leaf(&[rows, 4], 0.7), leaf(&[words, 4], 0.9), leaf(&[words], 1.1)];
        let factor = 0.25;
        for (given, cap) in [(2, None), (3, None), (3, Some(0.5))] {
            let own = |l: &[Tensor]| in_stretches(&l[0], &l[1], l.get(2), &targets, cap, factor, stretch);
            let (found, expected) = (own(&leaves[..given]), plainly(&leaves[..given], &targets, cap));
            assert!(found.allclose(&expected, 1e-5, 0.0, false), "{found} is not {expected}");
            for keep in [false, true] {
                let leaves: Vec<_> =
                    leaves[..given].iter().map(|leaf| leaf.detach().set_requires_grad(true)).collect();
                let other: Vec<_> = leaves.iter().map(|leaf| leaf.detach().set_requires_grad(true)).collect();
                if keep {
                    leaves.iter().for_each(|leaf| set_gradient(leaf, &leaf.detach().zeros_like()).unwrap());
                }
                for _ in 0..2 {
                    (own(&leaves) * factor).backward();
                    (plainly(&other, &targets, cap) * factor).backward();
                }
                let gradients = |leaves: &[Tensor]| leaves.iter().map(Tensor::grad).collect::<Vec<_>>();
                alike(&gradients(&leaves), &gradients(&other));
            }
        }
    }

    #[test]
    fn a_cross_entropy_without_a_graph_adds_to_no_gradient() {
        let weight = leaf(&[5, 4], 0.9);
        let kept = Tensor::zeros([5, 4], (Kind::Float, Device::Cpu));
        set_gradient(&weight, &kept).unwrap();
        let targets = Tensor::from_slice(&[1i64, 4]);
        let x = waves(&[2, 4], 0.7);
        assert!(!tch::no_grad(|| cross_entropy(&x, &weight, None, &targets, None, 1.0)).requires_grad());
        assert_eq!(kept.abs().max().double_value(&[]), 0.0);
        assert!(!cross_entropy(&x, &weight.detach(), None, &targets, None, 1.0).requires_grad());
    }

    #[test]
    fn a_cross_entropy_that_is_multiplied_by_something_else_is_refused() {
        let (x, weight) = (leaf(&[2, 4], 0.7), leaf(&[5, 4], 0.9));
        let sum = cross_entropy(&x, &weight, None, &Tensor::from_slice(&[1i64, 4]), None, 0.5);
        let error = (sum * 0.25).f_backward().unwrap_err().to_string();
        assert!(error.contains("was to be multiplied by 0.5 was multiplied by 0.25"), "{error}");
    }

    #[test]
    fn the_gradient_stays_where_it_is_kept_and_the_hook_runs_once_it_is_there() {
        let buffer = Tensor::zeros([44], (Kind::Float, Device::Cpu));
        let (table, weight) = (leaf(&[6, 4], 0.7), leaf(&[5, 4], 0.9));
        set_gradient(&table, &buffer.narrow(0, 0, 24).view([6, 4])).unwrap();
        set_gradient(&weight, &buffer.narrow(0, 24, 20).view([5, 4])).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let hooks: Vec<_> = [(0, 24), (24, 20)]
            .into_iter()
            .zip([&table, &weight])
            .map(|((start, length), leaf)| {
                let (part, calls) =
                    (std::sync::Mutex::new(buffer.narrow(0, start, length)), Arc::clone(&calls));
                Hook::new(leaf, move || {
                    assert!(part.lock().unwrap().abs().max().double_value(&[]) > 0.0);
                    calls.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let ids = Tensor::from_slice(&[5i64, 2]);
        linear(&embedding(&table, &ids), &weight, None).sum(Kind::Float).backward();
        assert_eq!(calls.load(Ordering::Relaxed), hooks.len());
        assert_eq!(table.grad().data_ptr(), buffer.data_ptr());
    }

    #[test]
    fn what_is_frozen_takes_none() {
        let (x, weight) = (leaf(&[2, 4], 0.7), waves(&[5, 4], 0.9));
        linear(&x, &weight, None).sum(Kind::Float).backward();
        assert!(x.grad().defined() && !weight.requires_grad());
        let trained = leaf(&[5, 4], 0.9);
        assert!(!tch::no_grad(|| linear(&x, &trained, None)).requires_grad());
    }

    #[test]
    #[should_panic(expected = "libtorch: mat1 and mat2 shapes cannot be multiplied")]
    fn shapes_that_do_not_fit_are_refused_in_the_words_of_libtorch() {
        let _ = linear(&leaf(&[2, 3], 0.7), &leaf(&[5, 4], 0.9), None);
    }
}
