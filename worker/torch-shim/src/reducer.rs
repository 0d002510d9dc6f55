//! PyTorch's own sums of gradients over ranks, for tests that hold ours to them.

use std::{
    marker::PhantomData,
    ptr::{self, NonNull},
};

use tch::Tensor;

use crate::{
    Error, Group,
    gradient::check_leaf,
    sys::{self, made, pointers},
};

/// A `c10d::Reducer`, what is inside of DistributedDataParallel: it sums gradients over a group while a backward pass
/// still runs, bucket by bucket.
#[derive(Debug)]
pub struct Reducer<'a> {
    raw: NonNull<sys::Reducer>,
    _group: PhantomData<&'a Group>,
}

impl<'a> Reducer<'a> {
    /// Of these parameters, in buckets of so many bytes, the `first` one apart. The gradients become views of them.
    ///
    /// # Errors
    /// If a parameter is not a leaf that requires a gradient, there is none, or libtorch refuses.
    pub fn new(group: &'a Group, parameters: &[Tensor], first: usize, bytes: usize) -> Result<Self, Error> {
        parameters.iter().try_for_each(check_leaf)?;
        if parameters.is_empty() {
            return Err(Error::new("there are no parameters whose gradients to sum"));
        }
        let size =
            |bytes| i64::try_from(bytes).map_err(|_| Error::new(format!("{bytes} bytes are too many")));
        let (first, bytes) = (size(first)?, size(bytes)?);
        let raw_parameters = pointers(parameters);
        let mut raw = ptr::null_mut();
        // SAFETY: group and parameters are alive, and the list is as long as told; the C++ side takes references of its
        // own to both.
        sys::check(unsafe {
            let parameters = raw_parameters.as_ptr();
            sys::fulcrum_reducer_new(group.raw(), parameters, raw_parameters.len(), first, bytes, &mut raw)
        })?;
        Ok(Self { raw: made(raw), _group: PhantomData })
    }

    /// The next backward pass, which must reach every parameter, leaves the sums over ranks of what it and those before
    /// it added. Other passes only add.
    ///
    /// # Errors
    /// If the last such pass has not ended, or libtorch refuses.
    pub fn prepare(&mut self) -> Result<(), Error> {
        // SAFETY: the reducer is alive, and nobody else uses it now.
        sys::check(unsafe { sys::fulcrum_reducer_prepare(self.raw.as_ptr()) })
    }
}

impl Drop for Reducer<'_> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the C face and is freed once; its hooks go with it.
        unsafe { sys::fulcrum_reducer_free(self.raw.as_ptr()) }
    }
}
