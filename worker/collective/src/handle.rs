//! Operations under way.

use std::fmt::{self, Debug};

use crate::Error;

/// What a back-end hands out for an operation under way.
pub trait Pending: Send {
    /// Blocks until the operation is done.
    ///
    /// # Errors
    /// Why it failed.
    fn wait(self: Box<Self>) -> Result<(), Error>;
}

impl<F: FnOnce() -> Result<(), Error> + Send> Pending for F {
    fn wait(self: Box<Self>) -> Result<(), Error> {
        self()
    }
}

/// An operation under way. Its tensors must not be touched before [`Handle::wait`] has returned. If it is
/// dropped instead, the operation goes on unseen.
#[must_use = "an operation is done only after wait"]
pub struct Handle(Option<Box<dyn Pending>>);

impl Handle {
    /// An operation that is done already.
    pub fn done() -> Self {
        Self(None)
    }

    /// An operation that is done when `pending` says so.
    pub fn new(pending: impl Pending + 'static) -> Self {
        Self(Some(Box::new(pending)))
    }

    /// Blocks until the operation is done, and its tensors hold the result.
    ///
    /// # Errors
    /// If a member is gone, silent for longer than the gang's timeout, or aborted. The contents of the
    /// tensors are then undefined.
    pub fn wait(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), Pending::wait)
    }
}

impl Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Handle(pending)" } else { "Handle(done)" })
    }
}
