//! Where the time of a step goes.

use std::time::{Duration, Instant};

use fulcrum_common::flight::Activity;
use tch::{Cuda, Device};

use crate::Monitor;

/// The time of one step on one rank, by what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTime {
    /// Rows to tensors.
    pub data: Duration,
    /// Forward passes, the loss counted in.
    pub forward: Duration,
    /// Backward passes, with what travels meanwhile.
    pub backward: Duration,
    /// Waiting for others.
    pub communication: Duration,
    /// Norm, clipping and update.
    pub optimizer: Duration,
}

impl StepTime {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.data + self.forward + self.backward + self.communication + self.optimizer
    }
}

/// What a rank does in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Data,
    Forward,
    Backward,
    Communication,
    Optimizer,
}

/// A stopwatch, which also tells who watches what is begun. A GPU computes behind the program's back, so where somebody
/// reads the times, each lap waits for it.
pub(crate) struct Clock<'a> {
    device: Option<usize>,
    monitor: &'a dyn Monitor,
    since: Instant,
    time: StepTime,
    step: usize,
    slot: usize,
}

impl<'a> Clock<'a> {
    /// For work on `device`.
    pub(crate) fn new(device: Device, monitor: &'a dyn Monitor) -> Self {
        let device = match device {
            Device::Cuda(index) if monitor.reads_times() => Some(index),
            _ => None,
        };
        Self { device, monitor, since: Instant::now(), time: StepTime::default(), step: 0, slot: 0 }
    }

    /// A new step.
    pub(crate) fn start(&mut self, step: usize) {
        (self.since, self.time, self.step) = (Instant::now(), StepTime::default(), step);
    }

    /// What follows belongs to that slot of the rank's share.
    pub(crate) fn in_slot(&mut self, slot: usize) {
        self.slot = slot;
    }

    /// From here on `what` is done.
    pub(crate) fn begin(&self, what: Activity) {
        self.monitor.does(what, self.step, self.slot);
    }

    /// What was done since the last lap was `phase`.
    pub(crate) fn lap(&mut self, phase: Phase) {
        if let Some(index) = self.device {
            Cuda::synchronize(index as i64);
        }
        let (now, time) = (Instant::now(), &mut self.time);
        let spent = match phase {
            Phase::Data => &mut time.data,
            Phase::Forward => &mut time.forward,
            Phase::Backward => &mut time.backward,
            Phase::Communication => &mut time.communication,
            Phase::Optimizer => &mut time.optimizer,
        };
        *spent += now - self.since;
        self.since = now;
    }

    /// The step so far.
    pub(crate) fn time(&self) -> StepTime {
        self.time
    }
}
