//! Faults on purpose: wraps any collective, and makes chosen operations of chosen ranks go wrong.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tch::Tensor;

use crate::{Collective, Error, Handle, Reduction};

/// What goes wrong, where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member it happens to.
    pub rank: usize,
    /// The operation it happens in.
    pub at: At,
    /// What happens.
    pub kind: Kind,
}

/// The address of an operation; both are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The n-th of all operations.
    Operation(usize),
    /// The n-th operation of a training step.
    Step {
        /// The step.
        step: usize,
        /// The operation in it.
        operation: usize,
    },
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It fails at once, and nothing is sent.
    Error,
    /// It is never sent; its wait returns only when this member aborts.
    Hang,
    /// It is sent so much later.
    Delay(Duration),
}

/// Any collective, with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Collective>,
    faults: Vec<Fault>,
    count: Mutex<Count>,
    hang: Arc<Hang>,
}

#[derive(Debug, Default)]
struct Count {
    operation: usize,
    step: Option<usize>,
    in_step: usize,
}

#[derive(Debug, Default)]
struct Hang {
    aborted: Mutex<Option<String>>,
    changed: Condvar,
}

impl Faulty {
    /// `inner`, with those of the `faults` that name its rank.
    pub fn new(inner: Arc<dyn Collective>, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().filter(|fault| fault.rank == inner.rank()).collect();
        Self { inner, faults, count: Mutex::default(), hang: Arc::default() }
    }

    fn start(&self, call: impl FnOnce(&dyn Collective) -> Result<Handle, Error>) -> Result<Handle, Error> {
        let rank = self.rank();
        let (operation, kind) = self.next();
        match kind {
            None => call(&*self.inner),
            Some(Kind::Error) => Err(Error::Injected { operation, rank }),
            Some(Kind::Delay(time)) => {
                thread::sleep(time);
                call(&*self.inner)
            }
            Some(Kind::Hang) => {
                let hang = Arc::clone(&self.hang);
                Ok(Handle::new(move || {
                    let mut aborted = lock(&hang.aborted);
                    loop {
                        if let Some(reason) = aborted.clone() {
                            return Err(Error::Aborted { rank, reason });
                        }
                        aborted = hang.changed.wait(aborted).unwrap_or_else(PoisonError::into_inner);
                    }
                }))
            }
        }
    }

    /// Counts an operation, and finds the fault that is meant for it.
    fn next(&self) -> (usize, Option<Kind>) {
        let mut count = lock(&self.count);
        let here = |fault: &&Fault| match fault.at {
            At::Operation(operation) => operation == count.operation,
            At::Step { step, operation } => count.step == Some(step) && operation == count.in_step,
        };
        let kind = self.faults.iter().find(here).map(|fault| fault.kind);
        let operation = count.operation;
        count.operation += 1;
        count.in_step += 1;
        (operation, kind)
    }
}

/// Nothing here panics with a lock held, so a poisoned lock guards sound data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collective for Faulty {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world(&self) -> usize {
        self.inner.world()
    }

    fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.start(|inner| inner.all_reduce(tensor, op))
    }

    fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.start(|inner| inner.reduce_scatter(output, input, op))
    }

    fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, Error> {
        self.start(|inner| inner.all_gather(output, input))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, Error> {
        self.start(|inner| inner.broadcast(tensor, root))
    }

    fn barrier(&self) -> Result<Handle, Error> {
        self.start(|inner| inner.barrier())
    }

    fn abort(&self, reason: &str) {
        lock(&self.hang.aborted).get_or_insert_with(|| reason.to_owned());
        self.hang.changed.notify_all();
        self.inner.abort(reason);
    }

    fn health(&self) -> Result<(), Error> {
        self.inner.health()
    }

    fn begin_step(&self, step: usize) {
        let mut count = lock(&self.count);
        count.step = Some(step);
        count.in_step = 0;
        self.inner.begin_step(step);
    }
}
