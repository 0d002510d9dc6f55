//! Gloo process groups: members that met in a store, and their operations.
//!
//! Operations are asynchronous and in place. libtorch ends the process over some tensors that do not fit,
//! so all are checked here first.

use std::{
    ffi::{c_char, c_int},
    net::IpAddr,
    ptr::{self, NonNull},
    time::Duration,
};

use tch::{Device, Tensor};

use crate::{
    Error, Store, check,
    sys::{self, c_string, made, millis},
};

/// Where a group's connections go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// The interface that has this address.
    Address(IpAddr),
    /// The interface of this name, e.g. `eth0`.
    Name(String),
}

/// How values of different ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean; floating point only.
    Mean,
    /// The largest.
    Max,
}

impl Reduction {
    fn code(self) -> c_int {
        match self {
            Self::Sum => 0,
            Self::Mean => 1,
            Self::Max => 2,
        }
    }
}

/// A member's end of a Gloo process group. Dropping it while an operation is in flight aborts the group;
/// else it leaves in order, and the others go on without it.
#[derive(Debug)]
pub struct Group {
    raw: NonNull<sys::Group>,
    rank: usize,
    world: usize,
}

// SAFETY: the C++ side starts operations and aborts under a mutex, and its threads guard their queue.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    /// Connects with all other members that meet under `name` in the store. Every operation of the group
    /// fails after `timeout`.
    ///
    /// # Errors
    /// If not all `world` members come within `timeout`, or the interface does not exist.
    pub fn new(
        store: &Store,
        name: &str,
        interface: &Interface,
        rank: usize,
        world: usize,
        timeout: Duration,
    ) -> Result<Self, Error> {
        if rank >= world {
            return Err(Error::new(format!("rank {rank} is not below the world size of {world}")));
        }
        let small = |value: usize| {
            c_int::try_from(value).map_err(|_| Error::new(format!("a world of {world} is too large")))
        };
        let (address, is_interface) = match interface {
            Interface::Address(address) => (c_string(&address.to_string())?, false),
            Interface::Name(name) => (c_string(name)?, true),
        };
        let name = c_string(name)?;
        let (c_rank, c_world) = (small(rank)?, small(world)?);
        let mut raw = ptr::null_mut();
        // SAFETY: the store is alive, the strings and the out pointer outlive the call.
        sys::check(unsafe {
            sys::fulcrum_gloo_new(
                store.raw(),
                name.as_ptr(),
                address.as_ptr(),
                is_interface,
                c_rank,
                c_world,
                millis(timeout),
                &mut raw,
            )
        })?;
        Ok(Self { raw: made(raw), rank, world })
    }

    /// This member's number.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of members.
    pub fn world(&self) -> usize {
        self.world
    }

    pub(crate) fn raw(&self) -> *mut sys::Group {
        self.raw.as_ptr()
    }

    /// Reduces `tensor` over all members, in place.
    ///
    /// # Errors
    /// If the tensor is not a contiguous one of a supported type on the CPU.
    pub fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Work, Error> {
        check::carried(tensor, Some(op))?;
        on_cpu(tensor)?;
        // SAFETY: group and tensor are alive; the C++ side takes its own reference to the tensor.
        Work::start(|out| unsafe {
            sys::fulcrum_gloo_all_reduce(self.raw.as_ptr(), tensor.as_ptr(), op.code(), out)
        })
    }

    /// Reduces `input` over all members and leaves the share of this rank in `output`.
    ///
    /// # Errors
    /// As [`Group::all_reduce`], or if `input` is not `world` times as long as `output`.
    pub fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Work, Error> {
        check::carried(output, Some(op))?;
        check::share(output, input, self.world)?;
        on_cpu(output).and(on_cpu(input))?;
        // SAFETY: as for all_reduce.
        Work::start(|out| unsafe {
            sys::fulcrum_gloo_reduce_scatter(
                self.raw.as_ptr(),
                output.as_ptr(),
                input.as_ptr(),
                op.code(),
                out,
            )
        })
    }

    /// Collects the `input` of all members in `output`, in the order of their ranks.
    ///
    /// # Errors
    /// As [`Group::all_reduce`], or if `output` is not `world` times as long as `input`.
    pub fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Work, Error> {
        check::share(input, output, self.world)?;
        on_cpu(output).and(on_cpu(input))?;
        // SAFETY: as for all_reduce.
        Work::start(|out| unsafe {
            sys::fulcrum_gloo_all_gather(self.raw.as_ptr(), output.as_ptr(), input.as_ptr(), out)
        })
    }

    /// Copies the `tensor` of rank `root` to all others.
    ///
    /// # Errors
    /// As [`Group::all_reduce`], or if there is no such rank.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Work, Error> {
        check::carried(tensor, None)?;
        on_cpu(tensor)?;
        check::root(root, self.world)?;
        // SAFETY: as for all_reduce; a root below the world size fits an int.
        Work::start(|out| unsafe {
            sys::fulcrum_gloo_broadcast(self.raw.as_ptr(), tensor.as_ptr(), root as c_int, out)
        })
    }

    /// Is done once every member has come here, with all its earlier operations done.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn barrier(&self) -> Result<Work, Error> {
        // SAFETY: the group is alive.
        Work::start(|out| unsafe { sys::fulcrum_gloo_barrier(self.raw.as_ptr(), out) })
    }

    /// Breaks the connections: every operation in flight fails, here and at the peers, and every later
    /// one too.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn abort(&self) -> Result<(), Error> {
        // SAFETY: the group is alive.
        sys::check(unsafe { sys::fulcrum_gloo_abort(self.raw.as_ptr()) })
    }

    /// Whether the group was aborted, or a peer is gone without leaving in order. Then it stays so.
    pub fn is_broken(&self) -> bool {
        // SAFETY: the group is alive.
        unsafe { sys::fulcrum_gloo_broken(self.raw.as_ptr()) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the C face and is freed once; operations hold what they use.
        unsafe { sys::fulcrum_gloo_free(self.raw.as_ptr()) }
    }
}

/// An operation under way. It goes on when this is dropped, and keeps its tensors alive.
#[derive(Debug)]
#[must_use = "an operation is done only after wait"]
pub struct Work {
    raw: NonNull<sys::Work>,
}

// SAFETY: c10d works guard their state with a mutex.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

impl Work {
    fn start(call: impl FnOnce(*mut *mut sys::Work) -> *mut c_char) -> Result<Self, Error> {
        let mut raw = ptr::null_mut();
        sys::check(call(&mut raw))?;
        Ok(Self { raw: made(raw) })
    }

    /// Waits until the operation is done; without a time, for as long as the group's timeout lets it run.
    ///
    /// # Errors
    /// If it failed, or is not done within `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        // SAFETY: the work is alive.
        sys::check(unsafe { sys::fulcrum_work_wait(self.raw.as_ptr(), timeout.map_or(-1, millis)) })
    }

    /// Whether the operation has ended, well or not.
    pub fn is_done(&self) -> bool {
        // SAFETY: the work is alive.
        unsafe { sys::fulcrum_work_done(self.raw.as_ptr()) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the C face and is freed once; the group holds what still runs.
        unsafe { sys::fulcrum_work_free(self.raw.as_ptr()) }
    }
}

fn on_cpu(tensor: &Tensor) -> Result<(), Error> {
    match tensor.device() {
        Device::Cpu => Ok(()),
        other => Err(Error::new(format!("gloo works on the cpu, not on {other:?}"))),
    }
}
