//! NCCL between processes with a GPU each.
//!
//! An operation waits, on a stream of its own, for what torch has computed so far, and runs beside what torch
//! computes next. [`Handle::wait`](crate::Handle::wait) returns once the device has finished it, so that what an
//! aborted operation leaves behind is never taken for a result.
//!
//! The members also form a Gloo gang. It carries tensors of the CPU, and it is how a member that dies or aborts is
//! noticed at once: NCCL itself does not tell.

mod communicator;
mod cuda;
mod environment;
mod library;
mod runner;
mod wire;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fulcrum_torch_shim::check;
use tch::{Device, Kind, Tensor};

use self::{
    communicator::{Call, Communicator, Seat, Transfer},
    cuda::Event,
    library::{Id, Library},
    runner::{Common, Runner},
    wire::{data_type, reduction},
};
use crate::{Collective, Error, Gloo, Handle, Options, Reduction, Store, end::End};

pub use environment::{choose_interface, share_device};

/// The release of NCCL that gangs use on this machine.
///
/// # Errors
/// [`Error::NoNccl`] where there is none, or one that does not fit.
pub fn nccl_release() -> Result<String, Error> {
    Library::open().and_then(Library::release).map_err(Error::NoNccl)
}

/// A member's end of a gang that talks over NCCL.
pub struct Nccl {
    host: Arc<Gloo>,
    ordinal: usize,
    device: cuda::Device,
    runner: Runner<Call>,
    end: Arc<End>,
    /// What a barrier reduces.
    token: Mutex<Tensor>,
}

impl Nccl {
    /// Meets the other members in `store`, which need not live longer than this call. This one computes on the
    /// `ordinal`-th CUDA device, and libtorch's CUDA half is open.
    ///
    /// # Errors
    /// [`Error::NoNccl`] where this machine lacks the library, the driver or the device;
    /// [`Error::Meet`] if not all come within the timeout.
    pub fn new(store: &Store, options: &Options, ordinal: usize) -> Result<Self, Error> {
        let library = Library::open().map_err(Error::NoNccl)?;
        let device = cuda::Device::open(ordinal).map_err(Error::NoNccl)?;
        let seat = seat(options)?;
        let host = Options { name: format!("{}/host", options.name), ..options.clone() };
        let host = Arc::new(Gloo::new(store, &host)?);
        let missed = |reason: String| {
            host.abort(&reason);
            options.missed(reason)
        };
        let id = share_id(library, store, options).map_err(missed)?;
        let end = Arc::new(End::default());
        let (rank, timeout) = (options.rank, options.timeout);
        let common = Common { rank, timeout, end: Arc::clone(&end), others: Arc::clone(&host) as _ };
        let runner =
            Runner::start(common, move |patience| Communicator::join(library, device, id, seat, patience));
        let runner = runner.map_err(missed)?;
        let token = Tensor::f_zeros([1], (Kind::Int, Device::Cuda(ordinal)));
        let token = token.map_err(|error| Error::NoNccl(error.to_string()))?;
        tracing::debug!(rank, world = options.world, ordinal, "NCCL gang formed");
        Ok(Self { host, ordinal, device, runner, end, token: Mutex::new(token) })
    }

    /// Starts what `transfer` says, if the tensors `fit`. `tensors` are input and output, or the one that is both.
    fn start(
        &self,
        operation: &'static str,
        fits: Result<(), fulcrum_torch_shim::Error>,
        tensors: &[&Tensor],
        transfer: Transfer,
    ) -> Result<Handle, Error> {
        self.health()?;
        let refused = |reason: String| Error::Refused { operation, reason };
        fits.map_err(|error| refused(error.to_string()))?;
        let [input, .., output] = [tensors[0], tensors[tensors.len() - 1]];
        let kind = data_type(input.kind()).ok_or_else(|| refused(format!("no type {:?}", input.kind())))?;
        let count = input.numel().min(output.numel());
        if count == 0 {
            return Ok(Handle::done());
        }
        let device_failed = |reason| Error::Broken { operation, rank: self.rank(), reason };
        self.device.enter().map_err(device_failed)?;
        let ready = Event::after_default_stream().map_err(device_failed)?;
        let (input, output) = (input.data_ptr() as usize, output.data_ptr() as usize);
        let kept = tensors.iter().map(|tensor| tensor.shallow_clone()).collect();
        self.runner.run(operation, Call { transfer, kind, input, output, count, ready }, kept)
    }

    /// Whether the tensors lie on the CPU, for Gloo to carry.
    ///
    /// # Errors
    /// If they lie on both, or on another device.
    fn on_host(&self, operation: &'static str, tensors: &[&Tensor]) -> Result<bool, Error> {
        if tensors.iter().all(|tensor| tensor.device() == Device::Cpu) {
            return Ok(true);
        }
        match tensors.iter().find(|tensor| tensor.device() != Device::Cuda(self.ordinal)) {
            None => Ok(false),
            Some(other) => {
                let reason =
                    format!("a tensor lies on {:?} and not on cuda:{}", other.device(), self.ordinal);
                Err(Error::Refused { operation, reason })
            }
        }
    }
}

/// The id of the gang's communicator: rank 0 makes it, the store brings it to the others.
fn share_id(library: &Library, store: &Store, options: &Options) -> Result<Id, String> {
    let key = format!("{}/nccl", options.name);
    if options.rank == 0 {
        let id = library.new_id()?;
        store.set(&key, &id.to_bytes()).map_err(|error| error.to_string())?;
        return Ok(id);
    }
    Id::from_bytes(&store.get(&key, Id::BYTES).map_err(|error| error.to_string())?)
}

/// Rank and world as NCCL counts.
fn seat(options: &Options) -> Result<Seat, Error> {
    let small = |number: usize| {
        i32::try_from(number)
            .map_err(|_| options.missed(format!("a world of {} is too large", options.world)))
    };
    Ok(Seat { rank: small(options.rank)?, world: small(options.world)? })
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.host.rank()
    }

    fn world(&self) -> usize {
        self.host.world()
    }

    fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, Error> {
        if self.on_host("all_reduce", &[tensor])? {
            return self.host.all_reduce(tensor, op);
        }
        let fits = check::carried(tensor, Some(op));
        self.start("all_reduce", fits, &[tensor], Transfer::AllReduce(reduction(op)))
    }

    fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, Error> {
        if self.on_host("reduce_scatter", &[input, output])? {
            return self.host.reduce_scatter(output, input, op);
        }
        let fits = check::carried(output, Some(op)).and(check::share(output, input, self.world()));
        self.start("reduce_scatter", fits, &[input, output], Transfer::ReduceScatter(reduction(op)))
    }

    fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, Error> {
        if self.on_host("all_gather", &[input, output])? {
            return self.host.all_gather(output, input);
        }
        let fits = check::share(input, output, self.world());
        self.start("all_gather", fits, &[input, output], Transfer::AllGather)
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, Error> {
        if self.on_host("broadcast", &[tensor])? {
            return self.host.broadcast(tensor, root);
        }
        let fits = check::carried(tensor, None).and(check::root(root, self.world()));
        // A root below the world's size is as small as that, which `seat` has checked.
        self.start("broadcast", fits, &[tensor], Transfer::Broadcast { root: root as i32 })
    }

    fn barrier(&self) -> Result<Handle, Error> {
        let sum = Transfer::AllReduce(reduction(Reduction::Sum));
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone();
        self.start("barrier", Ok(()), &[&token], sum)
    }

    fn abort(&self, reason: &str) {
        if self.end.abort(reason) {
            tracing::debug!(rank = self.rank(), reason, "gang aborted");
        }
        // The runner sees that the host's gang is broken, and so do the other members.
        self.host.abort(reason);
    }

    fn health(&self) -> Result<(), Error> {
        self.end.check(self.rank())?;
        self.host.health()
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rank, world) = (self.rank(), self.world());
        write!(f, "Nccl(rank {rank} of {world}, cuda:{})", self.ordinal)
    }
}
