//! How long checkpoints hold a training up.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use fulcrum_common::{Key, bench::Quantiles, store::Store};
use fulcrum_methods::{Keeper, Snapshot};
use fulcrum_train::Copies;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use crate::{
    attempt::Attempt,
    checkpoints::{Checkpoints, Place},
    engine,
};

/// Checkpoints of this rank into a store in a folder, as a worker keeps them, with nobody who commits.
pub(super) struct Stall {
    checkpoints: Checkpoints,
    spent: Mutex<Spent>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Spent {
    /// By snapshot.
    times: Vec<Duration>,
    /// Whether the last of them has not been waited for yet.
    open: bool,
}

impl Stall {
    /// After every so many steps, and what ranks hold alike is compared after every so many; 0 for never.
    ///
    /// # Errors
    /// If the folder cannot be written, or there are no threads to have.
    pub(super) fn new(folder: &Path, rank: usize, every: usize, verify: usize) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (events, _) = mpsc::unbounded_channel();
        let attempt = Attempt::new(1, IpAddr::V4(Ipv4Addr::LOCALHOST), events);
        let store = Store::open(&folder.join("store"))?;
        let place = Place { store, runtime: runtime.handle().clone(), attempt, key: Key::of(b"bench"), rank };
        let some = |every: usize| (every > 0).then_some(every as u64);
        let (steps, compare) = (some(every), some(verify));
        let what = engine::Checkpoints { steps, time: None, past: Vec::new(), compare, compare_at: None };
        let checkpoints = Checkpoints::start(what, place)?;
        Ok(Self { checkpoints, spent: Mutex::default(), _runtime: runtime })
    }

    /// The median in seconds; none where no snapshot was taken.
    pub(super) fn median(&self) -> Option<f64> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let times = spent.times.iter().map(Duration::as_secs_f64);
        (!spent.times.is_empty()).then(|| Quantiles::of(times).p50)
    }

    fn spend(&self, began: Instant, opens: bool) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if opens {
            spent.times.push(began.elapsed());
        } else if spent.open
            && let Some(last) = spent.times.last_mut()
        {
            *last += began.elapsed();
        }
        spent.open = opens;
    }
}

impl Keeper for Stall {
    fn is_due(&self, steps: usize) -> bool {
        self.checkpoints.is_due(steps)
    }

    fn keep(&self, snapshot: Snapshot) {
        let began = Instant::now();
        self.checkpoints.keep(snapshot);
        self.spend(began, true);
    }

    fn is_compared(&self, steps: usize, must: bool) -> bool {
        self.checkpoints.is_compared(steps, must)
    }

    fn compare(&self, steps: usize, copies: Copies) {
        self.checkpoints.compare(steps, copies);
    }

    fn settle(&self) {
        let began = Instant::now();
        self.checkpoints.settle();
        self.spend(began, false);
    }

    fn finish(&self) {
        self.checkpoints.finish();
    }
}
