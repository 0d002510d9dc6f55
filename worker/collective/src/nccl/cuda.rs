//! What of the CUDA driver is needed beside torch: its context, a stream of our own, and events.
//!
//! torch computes on the legacy default stream of the device's primary context, the one that the runtime shares with
//! everybody in the process. cudarc loads the driver at the first call and panics without one, so [`Device::open`],
//! which everything here begins with, looks first.

use std::fmt;

use cudarc::driver::{
    result::{self, DriverError, stream::StreamKind},
    sys::{self, CUcontext, CUevent, CUevent_flags, CUevent_wait_flags, CUresult, CUstream},
};

/// A device of this machine. Its primary context stays: torch uses it until the process ends.
#[derive(Clone, Copy)]
pub(super) struct Device {
    context: CUcontext,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// The `ordinal`-th device that CUDA shows this process.
    ///
    /// # Errors
    /// If there is no driver, or no such device.
    pub(super) fn open(ordinal: usize) -> Result<Self, String> {
        // SAFETY: opens the driver's library, whose initializers touch nothing of ours, and closes it again.
        if !unsafe { sys::is_culib_present() } {
            return Err("this machine has no CUDA driver: there is no libcuda.so.1".into());
        }
        result::init().map_err(describe)?;
        let absent = |error| format!("there is no cuda:{ordinal}: {}", describe(error));
        let number = i32::try_from(ordinal).map_err(|_| format!("there is no cuda:{ordinal}"))?;
        let device = result::device::get(number).map_err(absent)?;
        // SAFETY: the device is one that the driver gave.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(absent)?;
        Ok(Self { context })
    }

    /// Makes this the device of the calling thread, for what it makes and records next.
    pub(super) fn enter(self) -> Result<(), String> {
        // SAFETY: the context is retained for the life of the process.
        unsafe { result::ctx::set_current(self.context) }.map_err(describe)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({:p})", self.context)
    }
}

/// A stream beside the default one, which it neither waits for nor holds up by itself.
pub(super) struct Stream(CUstream);

impl Stream {
    /// On the device of this thread.
    pub(super) fn new() -> Result<Self, String> {
        result::stream::create(StreamKind::NonBlocking).map(Self).map_err(describe)
    }

    /// What is put on this stream later begins after the event.
    pub(super) fn wait_for(&self, event: &Event) -> Result<(), String> {
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: stream and event are alive.
        unsafe { result::stream::wait_event(self.0, event.0, flags) }.map_err(describe)
    }

    pub(super) fn raw(&self) -> CUstream {
        self.0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed once; what still runs on it is not disturbed.
        let _ = unsafe { result::stream::destroy(self.0) };
    }
}

/// A point in a stream.
pub(super) struct Event(CUevent);

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Event {}

impl Event {
    /// The point after everything that torch has put on the default stream of this thread's device.
    pub(super) fn after_default_stream() -> Result<Self, String> {
        Self::after(result::stream::null())
    }

    /// The point after everything on `stream`.
    pub(super) fn after_stream(stream: &Stream) -> Result<Self, String> {
        Self::after(stream.0)
    }

    fn after(stream: CUstream) -> Result<Self, String> {
        let event = result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(describe)?;
        let event = Self(event);
        // SAFETY: the event is new; the stream is alive, or the default one.
        unsafe { result::event::record(event.0, stream) }.map_err(describe)?;
        Ok(event)
    }

    /// Whether the device has come there.
    ///
    /// # Errors
    /// If something on the device failed.
    pub(super) fn reached(&self) -> Result<bool, String> {
        // SAFETY: the event is alive.
        match unsafe { result::event::query(self.0) } {
            Ok(()) => Ok(true),
            Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(describe(error)),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed once; the driver waits for nobody.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

fn describe(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    format!("CUDA says: {}", text.unwrap_or_else(|_| format!("{:?}", error.0)))
}
