//! A member's NCCL communicator, non-blocking: no call waits for the others, [`Link::progress`] tells when it is done.

use std::{
    ffi::{c_int, c_void},
    ptr, thread,
    time::{Duration, Instant},
};

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t};

use super::{
    cuda::{Device, Event, Stream},
    library::{Id, Library},
    runner::{Link, Progress},
};

/// How long a member that leaves in order lets NCCL finish what is on its way to the others.
const GOODBYE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(50);

/// What NCCL calls "not set" in an integer.
const UNSET: c_int = c_int::MIN;

/// A collective operation, and its tensors as NCCL wants them.
pub(super) struct Call {
    pub(super) transfer: Transfer,
    pub(super) kind: ncclDataType_t,
    /// Device pointers; the tensors are kept alive beside the call.
    pub(super) input: usize,
    pub(super) output: usize,
    /// Values per rank, as NCCL counts them for this transfer.
    pub(super) count: usize,
    /// Reached once torch has computed the input.
    pub(super) ready: Event,
}

/// What is done with the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    AllReduce(ncclRedOp_t),
    ReduceScatter(ncclRedOp_t),
    AllGather,
    Broadcast { root: c_int },
}

/// A communicator, and the stream that it works on. It never leaves the thread that it was made on.
pub(super) struct Communicator {
    library: &'static Library,
    raw: ncclComm_t,
    stream: Stream,
}

/// Who a member is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) rank: c_int,
    pub(super) world: c_int,
}

impl Communicator {
    /// Meets the others. `patience` is asked again and again whether to wait on.
    ///
    /// # Errors
    /// NCCL's, or that of `patience`.
    pub(super) fn join(
        library: &'static Library,
        device: Device,
        id: Id,
        seat: Seat,
        patience: impl Fn() -> Result<(), String>,
    ) -> Result<Self, String> {
        device.enter()?;
        let stream = Stream::new()?;
        let (mut raw, mut config) = (ptr::null_mut(), configuration());
        // SAFETY: both pointers outlive the call: NCCL copies the configuration.
        let begun = unsafe { (library.init)(&mut raw, seat.world, id.0, seat.rank, &mut config) };
        library.result(begun, None)?;
        let mut communicator = Self { library, raw, stream };
        let met = communicator.settle(patience);
        match met {
            Ok(()) => Ok(communicator),
            Err(reason) => {
                communicator.abort();
                Err(reason)
            }
        }
    }

    /// Waits until the latest call is done.
    fn settle(&mut self, patience: impl Fn() -> Result<(), String>) -> Result<(), String> {
        loop {
            match self.progress() {
                Progress::Ready => return Ok(()),
                Progress::Failed(reason) => return Err(reason),
                Progress::Busy => patience()?,
            }
            thread::sleep(PAUSE);
        }
    }

    fn call(&self, call: &Call) -> ncclResult_t {
        let Call { transfer, kind, input, output, count, .. } = *call;
        let (library, comm, stream) = (self.library, self.raw, self.stream.raw() as cudaStream_t);
        let (input, output) = (input as *const c_void, output as *mut c_void);
        // SAFETY: the communicator and the stream are alive; input and output are device memory of tensors that
        // are kept alive until the operation is done, contiguous and long enough for `count` values of `kind`.
        unsafe {
            match transfer {
                Transfer::AllReduce(op) => (library.all_reduce)(input, output, count, kind, op, comm, stream),
                Transfer::ReduceScatter(op) => {
                    (library.reduce_scatter)(input, output, count, kind, op, comm, stream)
                }
                Transfer::AllGather => (library.all_gather)(input, output, count, kind, comm, stream),
                Transfer::Broadcast { root } => {
                    (library.broadcast)(input, output, count, kind, root, comm, stream)
                }
            }
        }
    }
}

impl Link for Communicator {
    type Call = Call;
    type Mark = Event;

    fn start(&mut self, call: &Call) -> Result<(), String> {
        self.stream.wait_for(&call.ready)?;
        self.library.result(self.call(call), Some(self.raw))
    }

    fn progress(&mut self) -> Progress {
        let mut state = ncclResult_t::ncclSuccess;
        // SAFETY: the communicator is alive, the pointer outlives the call.
        let asked = unsafe { (self.library.state)(self.raw, &mut state) };
        match (self.library.result(asked, Some(self.raw)), state) {
            (Ok(()), ncclResult_t::ncclSuccess) => Progress::Ready,
            (Ok(()), ncclResult_t::ncclInProgress) => Progress::Busy,
            (Err(reason), _) => Progress::Failed(reason),
            (Ok(()), error) => Progress::Failed(
                self.library.result(error, Some(self.raw)).err().unwrap_or_else(|| "unknown".into()),
            ),
        }
    }

    fn mark(&mut self) -> Result<Event, String> {
        Event::after_stream(&self.stream)
    }

    fn reached(&mut self, mark: &Event) -> Result<bool, String> {
        mark.reached()
    }

    fn leave(mut self) {
        let begun = Instant::now();
        let patience = || if begun.elapsed() < GOODBYE { Ok(()) } else { Err("no goodbye".to_owned()) };
        // SAFETY: the communicator is alive, and nothing is called on it after this but what ends it.
        let left = self.library.result(unsafe { (self.library.finalize)(self.raw) }, Some(self.raw));
        match left.and_then(|()| self.settle(patience)) {
            // SAFETY: finalized, and ended once.
            Ok(()) => drop(unsafe { (self.library.destroy)(self.raw) }),
            Err(_) => self.abort(),
        }
    }

    fn abort(self) {
        // SAFETY: the communicator is alive and ended once; NCCL ends its kernels on the device.
        let _ = unsafe { (self.library.abort)(self.raw) };
    }
}

/// NCCL's defaults, but that no call blocks.
fn configuration() -> ncclConfig_t {
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: 0xcafe_beef,
        version: 22_809,
        blocking: 0,
        cgaClusterSize: UNSET,
        minCTAs: UNSET,
        maxCTAs: UNSET,
        netName: ptr::null(),
        splitShare: UNSET,
        trafficClass: UNSET,
        commName: ptr::null(),
        collnetEnable: UNSET,
        CTAPolicy: UNSET,
        shrinkShare: UNSET,
        nvlsCTAs: UNSET,
        nChannelsPerNetPeer: UNSET,
        nvlinkCentricSched: UNSET,
    }
}
