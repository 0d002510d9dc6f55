//! Gradients of leaf tensors: where they are kept, and a call when one has been accumulated.

use std::{
    ffi::{c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use tch::Tensor;

use crate::{Error, sys};

type Closure = Box<dyn Fn() + Send + Sync>;

/// A closure that runs each time a backward pass has accumulated the gradient of a leaf; until it is dropped.
#[derive(Debug)]
#[must_use = "the hook is removed when this is dropped"]
pub struct Hook {
    leaf: Tensor,
}

impl Hook {
    /// Hooks `closure` to `leaf`, in place of an earlier one. It runs on the thread of the backward pass
    /// of the leaf's device, in the middle of the pass: it must be quick. If it panics, the backward pass fails.
    ///
    /// # Errors
    /// If the tensor is not a leaf that requires a gradient.
    pub fn new(leaf: &Tensor, closure: impl Fn() + Send + Sync + 'static) -> Result<Self, Error> {
        check_leaf(leaf)?;
        let boxed: Box<Closure> = Box::new(Box::new(closure));
        let closure = Box::into_raw(boxed).cast::<c_void>();
        // SAFETY: the leaf is alive. The C++ side owns the closure from here on, calls it only through
        // `call`, and hands it to `drop` exactly once.
        sys::check(unsafe {
            sys::fulcrum_set_gradient_hook(leaf.as_ptr(), closure, Some(call), Some(drop_it))
        })?;
        Ok(Self { leaf: leaf.shallow_clone() })
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // SAFETY: the leaf is alive; a null call removes the hook and drops its closure.
        let removed = sys::check(unsafe {
            sys::fulcrum_set_gradient_hook(self.leaf.as_ptr(), ptr::null_mut(), None, None)
        });
        debug_assert!(removed.is_ok(), "libtorch removes hooks without condition: {removed:?}");
    }
}

/// Makes `gradient` the tensor in which backward passes add up the gradient of `leaf`: they add in place, so
/// it may be a view of a larger buffer.
///
/// # Errors
/// If `leaf` is not a leaf that requires a gradient, or `gradient` has another shape, type or device.
pub fn set_gradient(leaf: &Tensor, gradient: &Tensor) -> Result<(), Error> {
    check_leaf(leaf)?;
    let of = |tensor: &Tensor| (tensor.size(), tensor.kind(), tensor.device());
    if of(leaf) != of(gradient) {
        return Err(Error::new(format!("a gradient of {:?} does not fit {:?}", of(gradient), of(leaf))));
    }
    // SAFETY: both tensors are alive; the C++ side takes its own reference.
    sys::check(unsafe { sys::fulcrum_set_gradient(leaf.as_ptr(), gradient.as_ptr()) })
}

/// Lets go of the gradient of `leaf`, and of its place in a larger buffer.
///
/// # Errors
/// If `leaf` is not a leaf that requires a gradient.
pub fn clear_gradient(leaf: &Tensor) -> Result<(), Error> {
    check_leaf(leaf)?;
    // SAFETY: both tensors are alive; an undefined gradient is none.
    sys::check(unsafe { sys::fulcrum_set_gradient(leaf.as_ptr(), Tensor::new().as_ptr()) })
}

pub(crate) fn check_leaf(tensor: &Tensor) -> Result<(), Error> {
    if tensor.requires_grad() && tensor.is_leaf() {
        return Ok(());
    }
    Err(Error::new(format!("a tensor of shape {:?} is not a leaf that requires a gradient", tensor.size())))
}

extern "C" fn call(closure: *mut c_void) -> c_int {
    // SAFETY: the pointer is the box that `Hook::new` gave away, alive until `drop_it`.
    let closure = unsafe { &*closure.cast::<Closure>() };
    c_int::from(catch_unwind(AssertUnwindSafe(closure)).is_err())
}

extern "C" fn drop_it(closure: *mut c_void) {
    // SAFETY: the pointer is the box that `Hook::new` gave away; C++ calls this once.
    let closure = unsafe { Box::from_raw(closure.cast::<Closure>()) };
    // A closure whose captures panic as they are dropped must not unwind into C++.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(closure)));
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tch::{Device, Kind};

    use super::*;

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    #[test]
    fn a_hook_runs_after_the_gradient_is_there_and_until_it_is_dropped() {
        let x = leaf(&[1.0, 2.0]);
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let watched = std::sync::Mutex::new(x.shallow_clone());
        let hook = Hook::new(&x, move || {
            let grad = watched.lock().unwrap().grad();
            assert!(grad.defined(), "the hook runs once the gradient is accumulated");
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        (&x * &x).sum(Kind::Float).backward();
        (&x * 3.0 + &x).sum(Kind::Float).backward();
        assert_eq!(calls.load(Ordering::Relaxed), 2, "once per backward pass, however often x is used");
        drop(hook);
        x.sum(Kind::Float).backward();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        assert_eq!(Arc::strong_count(&calls), 1, "the closure is freed with the hook");
    }

    #[test]
    fn a_panic_in_a_hook_fails_the_backward_pass_and_nothing_else() {
        let x = leaf(&[1.0]);
        let hook = Hook::new(&x, || panic!("on purpose")).unwrap();
        let error = x.sum(Kind::Float).f_backward().unwrap_err();
        assert!(error.to_string().contains("a gradient hook panicked"), "{error}");
        drop(hook);
        x.sum(Kind::Float).backward();
    }

    #[test]
    fn gradients_add_up_in_the_buffer_that_was_set() {
        let buffer = Tensor::zeros([5], (Kind::Float, Device::Cpu));
        let (a, b) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0, 5.0]));
        set_gradient(&a, &buffer.narrow(0, 0, 2)).unwrap();
        set_gradient(&b, &buffer.narrow(0, 2, 3)).unwrap();
        for _ in 0..2 {
            ((&a * &a).sum(Kind::Float) + (&b * 2.0).sum(Kind::Float)).backward();
        }
        assert_eq!(Vec::<f32>::try_from(&buffer).unwrap(), [4.0, 8.0, 4.0, 4.0, 4.0]);
        clear_gradient(&a).unwrap();
        assert!(!a.grad().defined() && b.grad().defined());
        assert!(clear_gradient(&buffer).is_err());
    }

    #[test]
    fn what_is_no_leaf_or_does_not_fit_is_refused() {
        let x = leaf(&[1.0, 2.0]);
        let inner = &x * 2.0;
        let plain = Tensor::from_slice(&[1.0f32]);
        for wrong in [&inner, &plain] {
            assert!(Hook::new(wrong, || ()).unwrap_err().to_string().contains("is not a leaf"));
            assert!(set_gradient(wrong, wrong).is_err());
        }
        for wrong in [Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1.0f64, 2.0])] {
            assert!(set_gradient(&x, &wrong).unwrap_err().to_string().contains("does not fit"));
        }
    }
}
