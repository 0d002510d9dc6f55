//! Checkpoints of a training on this worker: snapshots on their way to the store, and back out of it.
//!
//! Two threads take a snapshot over. The first copies it into the bytes of its files, which the training waits for
//! before its next update, so that the copy is made while the next gradient is computed. The second makes the bytes
//! durable and says so. One set of bytes can be on its way to the disk while the next is copied; a third waits.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fulcrum_common::{
    Key,
    fault::{point, strike},
    protocol,
    store::{Checkpoint, File, Store, StoreError},
};
use fulcrum_methods::{Keeper, Past, Snapshot, TrainError, Wanted};
use fulcrum_train::{
    Copies,
    checkpoint::{Files, Header},
};
use tokio::runtime::Handle;

use crate::{attempt::Attempt, engine};

/// What a rank's files are called in a checkpoint.
const HEADER: &str = "header";
const TENSORS: &str = "safetensors";

/// How long a rank that leaves waits for the last checkpoint to be committed: for the other ranks' disks.
const COMMIT: Duration = Duration::from_secs(10);

/// One rank's checkpoints in one epoch.
pub(crate) struct Checkpoints {
    what: engine::Checkpoints,
    /// When the last one was taken.
    last: Mutex<Instant>,
    snapshots: mpsc::Sender<(Snapshot, Option<Hash>)>,
    copies: mpsc::Sender<(u64, Copies, mpsc::SyncSender<protocol::Copy>)>,
    /// Of the last step that was compared.
    hash: Mutex<Option<(usize, Hash)>>,
    queue: Arc<Queue>,
    place: Place,
}

/// The hash of what a rank holds, once it is there.
type Hash = mpsc::Receiver<protocol::Copy>;

/// Where a rank's files go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
    pub(crate) attempt: Arc<Attempt>,
    /// The stage that is trained.
    pub(crate) key: Key,
    pub(crate) rank: usize,
}

/// Snapshots that are on their way.
#[derive(Debug, Default)]
struct Queue {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Not copied yet.
    unread: usize,
    /// Not hashed yet.
    unhashed: usize,
    /// Not durable yet, and not given up either.
    unkept: usize,
    /// The last step whose snapshot is durable.
    kept: u64,
}

/// Held by a thread: where it ends, by a panic too, nobody waits for what it has not done.
struct Closing(Arc<Queue>, fn(&mut Counts));

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.change(self.1);
    }
}

impl Checkpoints {
    /// Starts the threads. They end once this is gone and what they were given is kept.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub(crate) fn start(what: engine::Checkpoints, place: Place) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (snapshots, taken) = mpsc::channel::<(Snapshot, Option<Hash>)>();
        // No room in between: whoever has copied waits for the disk, with one set of bytes.
        let (files, copied) = mpsc::sync_channel(0);
        let counts = Closing(Arc::clone(&queue), |counts| counts.unread = 0);
        thread::Builder::new().name("copy".to_owned()).spawn(move || {
            let counts = counts;
            for (snapshot, hash) in taken {
                let (step, read) = (snapshot.step as u64, Files::of(&snapshot));
                drop(snapshot);
                strike("snapshot.copied");
                counts.0.change(|counts| counts.unread = counts.unread.saturating_sub(1));
                if files.send((step, read, hash)).is_err() {
                    return;
                }
            }
        })?;
        let (counts, writer) = (Closing(Arc::clone(&queue), |counts| counts.unkept = 0), place.clone());
        thread::Builder::new().name("keep".to_owned()).spawn(move || {
            let counts = counts;
            for (step, files, hash) in copied {
                let kept = writer.keep(step, files, hash);
                counts.0.change(|counts| {
                    counts.unkept = counts.unkept.saturating_sub(1);
                    if kept {
                        counts.kept = step;
                    }
                });
            }
        })?;
        let (last, hash) = (Mutex::new(Instant::now()), Mutex::default());
        let copies = comparing(Arc::clone(&queue), Arc::clone(&place.attempt))?;
        Ok(Self { what, last, snapshots, copies, hash, queue, place })
    }

    /// Comes back once nothing is on its way to the disk.
    pub(crate) fn rest(&self) {
        self.queue.wait(|counts| counts.unkept == 0);
    }
}

/// Starts the thread that hashes what ranks compare. It has nothing to do with the disk, and so waits for none.
fn comparing(
    queue: Arc<Queue>,
    attempt: Arc<Attempt>,
) -> std::io::Result<mpsc::Sender<(u64, Copies, mpsc::SyncSender<protocol::Copy>)>> {
    let (sender, taken) = mpsc::channel::<(u64, Copies, mpsc::SyncSender<protocol::Copy>)>();
    let counts = Closing(queue, |counts| counts.unhashed = 0);
    thread::Builder::new().name("compare".to_owned()).spawn(move || {
        let counts = counts;
        for (step, copies, told) in taken {
            let (group, hash) = (copies.group, copies.hash());
            drop(copies);
            match hash {
                Ok(hash) => {
                    let copy = protocol::Copy { group, hash };
                    attempt.held(step, copy);
                    // Where no snapshot was taken nobody waits for it.
                    let _ = told.send(copy);
                }
                Err(error) => tracing::warn!("weights after step {step} are not compared: {error}"),
            }
            // Once it is told: who goes on may come to the end.
            counts.0.change(|counts| counts.unhashed = counts.unhashed.saturating_sub(1));
        }
    })?;
    Ok(sender)
}

impl Keeper for Checkpoints {
    fn is_due(&self, steps: usize) -> bool {
        let by_steps = self.what.steps.is_some_and(|every| (steps as u64).is_multiple_of(every));
        by_steps || self.what.time.is_some_and(|every| lock(&self.last).elapsed() >= every)
    }

    fn keep(&self, snapshot: Snapshot) {
        *lock(&self.last) = Instant::now();
        self.queue.change(|counts| {
            counts.unread += 1;
            counts.unkept += 1;
        });
        let hash = lock(&self.hash).take().filter(|(step, _)| *step == snapshot.step);
        if self.snapshots.send((snapshot, hash.map(|(_, hash)| hash))).is_err() {
            // The thread ended by a panic, which was told; nothing is read any more.
            self.queue.change(|counts| (counts.unread, counts.unkept) = (0, 0));
        }
    }

    fn is_compared(&self, steps: usize, must: bool) -> bool {
        let steps = steps as u64;
        let is_asked = self.what.compare_at == Some(steps);
        self.what.compare.is_some_and(|every| must || is_asked || steps.is_multiple_of(every))
    }

    fn compare(&self, steps: usize, copies: Copies) {
        let (told, hash) = mpsc::sync_channel(1);
        *lock(&self.hash) = Some((steps, hash));
        self.queue.change(|counts| counts.unhashed += 1);
        if self.copies.send((steps as u64, copies, told)).is_err() {
            self.queue.change(|counts| counts.unhashed = 0);
        }
    }

    fn settle(&self) {
        self.queue.wait(|counts| counts.unread == 0 && counts.unhashed == 0);
    }

    fn finish(&self) {
        let step = self.queue.wait(|counts| counts.unkept == 0).kept;
        if !self.place.attempt.is_committed(step, COMMIT) {
            tracing::warn!("nobody has committed the checkpoint after step {step}");
        }
    }
}

impl Past for Checkpoints {
    fn places(&self) -> usize {
        self.what.past.len()
    }

    fn read(&self, place: usize, wanted: Wanted<'_>) -> Result<Vec<Snapshot>, TrainError> {
        let checkpoint = &self.what.past[place];
        let read = |rank| {
            let header = Header::read(&self.place.read(checkpoint, rank, HEADER)?)?;
            let tensors = match header.is_wanted(wanted) {
                true => self.place.read(checkpoint, rank, TENSORS)?,
                false => Bytes::new(),
            };
            header.snapshot(&tensors, wanted)
        };
        let snapshots = (0..checkpoint.world).map(read).collect::<Result<Vec<_>, _>>()?;
        if self.place.rank == 0 {
            tracing::info!("goes on from step {} of epoch {}", checkpoint.step, checkpoint.epoch);
        }
        Ok(snapshots)
    }
}

impl Place {
    /// Makes a snapshot durable, and says so, or why not; whether it is.
    fn keep(&self, step: u64, files: Result<Files, TrainError>, hash: Option<Hash>) -> bool {
        let kept = files
            .map_err(|error| error.to_string())
            .and_then(|files| self.put(step, files).map_err(|error| error.to_string()));
        match kept {
            Ok(files) => {
                self.attempt.kept(step, files, hash.and_then(|hash| hash.recv().ok()));
                strike("snapshot.told");
                true
            }
            Err(message) => {
                tracing::warn!("no checkpoint after step {step}: {message}");
                self.attempt.not_kept(step, message);
                false
            }
        }
    }

    fn put(&self, step: u64, Files { header, tensors }: Files) -> Result<Vec<File>, StoreError> {
        let put = |what, bytes: Vec<u8>| {
            point(if what == HEADER { "snapshot.header" } else { "snapshot.tensors" })?;
            let name = name(self.rank as u64, what);
            let put = self.store.put_training(self.key, (self.attempt.epoch, step), &name, bytes.into());
            self.runtime.block_on(put)
        };
        Ok(vec![put(HEADER, header)?, put(TENSORS, tensors)?])
    }

    fn read(&self, checkpoint: &Checkpoint, rank: u64, what: &str) -> Result<Bytes, TrainError> {
        let name = name(rank, what);
        let refuse = |why: String| TrainError::State(format!("step {}: {why}", checkpoint.step));
        let file = checkpoint.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| refuse(format!("it has no file {name}")))?;
        self.runtime.block_on(self.store.read_training(file)).map_err(|error| refuse(error.to_string()))
    }
}

fn name(rank: u64, what: &str) -> String {
    format!("rank-{rank}.{what}")
}

impl Queue {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.counts));
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Counts) -> bool) -> Counts {
        let counts = lock(&self.counts);
        let waited = self.changed.wait_while(counts, |counts| !until(counts));
        *waited.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the lock guards is whole after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod faults;
