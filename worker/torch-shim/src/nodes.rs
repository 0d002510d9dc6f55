//! Operations with weights whose gradients are added where they are kept: where a leaf has a gradient already (see
//! [`set_gradient`](crate::set_gradient)), the backward pass makes no tensor of the weight's size, and a hook on the
//! leaf runs all the same.
//!
//! They panic where libtorch refuses, with its words, as the operations of tch do.

use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{Error, sys};

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

/// What the C face has made.
fn computed(make: impl FnOnce(*mut *mut C_tensor) -> *mut std::ffi::c_char) -> Tensor {
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
