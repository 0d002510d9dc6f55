//! Times in little memory, and memory.

use std::time::Instant;

/// Steps of a factor of e: quantiles are right to half a percent.
const STEPS: f64 = 100.0;

/// Durations, counted by their logarithm.
#[derive(Debug, Default)]
pub(crate) struct Times {
    counts: Vec<u64>,
    count: u64,
    longest: f64,
}

impl Times {
    /// Counts one, in seconds.
    pub(crate) fn add(&mut self, seconds: f64) {
        let place = ((seconds * 1e9).max(1.0).ln() * STEPS) as usize;
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.count += 1;
        self.longest = self.longest.max(seconds);
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest, in seconds.
    pub(crate) fn longest(&self) -> f64 {
        self.longest
    }

    /// The duration that a share of them does not exceed, in seconds; 0 where there is none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut left = (share * self.count as f64).ceil() as u64;
        for (place, count) in self.counts.iter().enumerate() {
            if *count >= left {
                return ((place as f64 + 0.5) / STEPS).exp() / 1e9;
            }
            left -= count;
        }
        0.0
    }
}

/// What a piece of work gives, and the seconds that it takes.
pub(crate) fn seconds<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let made = work();
    (made, start.elapsed().as_secs_f64())
}

/// Memory that the process holds; 0 where the system does not say.
pub(crate) fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
