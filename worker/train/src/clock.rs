//! Where the time of a step goes.

use std::time::{Duration, Instant};

use tch::{Cuda, Device};

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

/// A stopwatch. A GPU computes behind the program's back, so where somebody reads the times, each lap waits for it.
#[derive(Debug)]
pub(crate) struct Clock {
    device: Option<usize>,
    since: Instant,
    time: StepTime,
}

impl Clock {
    /// For work on `device`; `read` tells whether somebody reads the times.
    pub(crate) fn new(device: Device, read: bool) -> Self {
        let device = match device {
            Device::Cuda(index) if read => Some(index),
            _ => None,
        };
        Self { device, since: Instant::now(), time: StepTime::default() }
    }

    /// A new step.
    pub(crate) fn start(&mut self) {
        (self.since, self.time) = (Instant::now(), StepTime::default());
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
