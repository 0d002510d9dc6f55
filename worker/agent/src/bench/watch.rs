//! Who looks at the clock while steps go by.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use fulcrum_common::bench::{Quantiles, Split};
use fulcrum_methods::{Monitor, Progress};
use fulcrum_train::StepTime;

/// Notes when each step ended and where its time went.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    ends: Vec<Instant>,
    splits: Vec<StepTime>,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), seen: Mutex::default() }
    }

    /// Seconds of every step but the first `warmup`.
    pub(super) fn steps(&self, warmup: usize) -> Vec<f64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = [self.begun].into_iter().chain(seen.ends.iter().copied());
        let lengths = begins.zip(&seen.ends).map(|(begin, end)| (*end - begin).as_secs_f64());
        lengths.skip(warmup).collect()
    }

    /// Medians of the parts of those steps.
    pub(super) fn split(&self, warmup: usize) -> Split {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let median = |part: fn(&StepTime) -> std::time::Duration| {
            Quantiles::of(seen.splits.iter().skip(warmup).map(|time| part(time).as_secs_f64())).p50
        };
        Split {
            data: median(|time| time.data),
            forward: median(|time| time.forward),
            backward: median(|time| time.backward),
            communication: median(|time| time.communication),
            optimizer: median(|time| time.optimizer),
        }
    }
}

impl Monitor for Watch {
    fn progress(&self, _: Progress) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).ends.push(Instant::now());
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn timed(&self, time: &StepTime) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).splits.push(*time);
    }

    fn reads_times(&self) -> bool {
        true
    }
}
