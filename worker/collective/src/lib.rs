//! One trait for collective communication, and what stands behind it: [`Solo`] for a world of one, [`Gloo`]
//! for processes on CPUs, [`Nccl`] for processes on GPUs; [`Recorded`] wraps any other and writes down what it does, and
//! [`Faulty`] wraps any other and injects faults.
//!
//! Operations are asynchronous: they start in the order of the calls, which must be the same on every rank,
//! and end when [`Handle::wait`] returns. For the same world size and the same inputs they leave the same
//! bytes, run after run.

mod end;
mod error;
mod faulty;
mod gloo;
mod handle;
mod nccl;
mod options;
mod recorded;
mod solo;

use std::fmt::Debug;

use tch::Tensor;

pub use error::Error;
pub use faulty::{At, Fault, Faulty, Kind};
pub use fulcrum_torch_shim::{Interface, Reduction, Store};
pub use gloo::Gloo;
pub use handle::{Handle, Pending};
pub use nccl::{Nccl, choose_interface, nccl_release, share_device};
pub use options::Options;
pub use recorded::Recorded;
pub use solo::Solo;

/// A member's end of a gang's communication.
///
/// Tensors must be contiguous. Types: f32, f64, f16, bf16, i64, i32, i8, u8. Calls fail at once when the
/// tensors do not fit ([`Error::Refused`], and nothing was sent), and when the gang is broken.
pub trait Collective: Debug + Send + Sync {
    /// This member's number, from 0.
    fn rank(&self) -> usize;

    /// The number of members.
    fn world(&self) -> usize;

    /// Reduces `tensor` over all members, in place.
    ///
    /// # Errors
    /// See the trait.
    fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, Error>;

    /// Reduces `input` over all members and leaves this rank's share, the `rank`-th of `world` equal parts,
    /// in `output`, which may be that very part of `input`.
    ///
    /// # Errors
    /// See the trait; also if `input` is not `world` times as long as `output`.
    fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, Error>;

    /// Collects the `input` of all members in `output`, in the order of their ranks. The input may be this rank's
    /// part of the output.
    ///
    /// # Errors
    /// See the trait; also if `output` is not `world` times as long as `input`.
    fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, Error>;

    /// Copies the `tensor` of rank `root` to all others.
    ///
    /// # Errors
    /// See the trait; also if there is no such rank.
    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, Error>;

    /// Is done once every member has come here.
    ///
    /// # Errors
    /// See the trait.
    fn barrier(&self) -> Result<Handle, Error>;

    /// Breaks the gang: everything in flight fails, here and on the other members, and so does everything
    /// later. The first reason stands.
    fn abort(&self, reason: &str);

    /// Whether the gang is whole, as far as this member knows.
    ///
    /// # Errors
    /// Why it is not.
    fn health(&self) -> Result<(), Error>;

    /// Says which training step the next operations belong to, for those who address by step.
    fn begin_step(&self, _step: usize) {}
}
