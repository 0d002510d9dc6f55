//! One assignment under way: what the control task and the engine thread tell each other about it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fulcrum_common::{
    duty::Call,
    flight::Recorder,
    protocol::{self, Heartbeat, Held, Kept, NotKept, Rendezvous, worker_event::Event},
    store::File,
};
use tokio::sync::mpsc;

/// What is done when the attempt is called off.
type Brake = Arc<dyn Fn(&Call) + Send + Sync>;

/// An assignment under way. The engine reports to it and asks it whether to go on.
pub(crate) struct Attempt {
    /// The fencing token.
    pub(crate) epoch: u64,
    /// This machine's address as its peers see it.
    pub(crate) host: IpAddr,
    /// What this worker did last in it.
    pub(crate) recorder: Arc<Recorder>,
    cancelled: AtomicBool,
    leaving: AtomicBool,
    inner: Mutex<Inner>,
    changed: Condvar,
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Default)]
struct Inner {
    progress: Heartbeat,
    meeting: Option<SocketAddr>,
    announced: Option<SocketAddr>,
    /// The step of the newest checkpoint that stands in the store.
    committed: u64,
    brakes: Vec<Brake>,
    /// The row that goes through the model alone.
    row: Option<i64>,
}

/// The attempt was called off, or its peers did not come.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Alone {
    /// It was called off.
    #[error("called off")]
    Cancelled,
    /// Nobody said where to meet.
    #[error("rank 0 named no meeting place within {0:?}")]
    Deadline(Duration),
}

impl Attempt {
    pub(crate) fn new(epoch: u64, host: IpAddr, events: mpsc::UnboundedSender<Event>) -> Arc<Self> {
        let inner = Inner { progress: Heartbeat { epoch, ..Heartbeat::default() }, ..Inner::default() };
        Arc::new(Self {
            epoch,
            host,
            recorder: Arc::default(),
            cancelled: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            events,
        })
    }

    /// How far the engine is, and what it does.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat { flight: Some(self.recorder.view()), ..self.lock().progress.clone() }
    }

    /// The engine is so far.
    pub(crate) fn report(&self, progress: Heartbeat) {
        self.lock().progress = Heartbeat { epoch: self.epoch, ..progress };
    }

    /// These rows begin to go through the model, by their numbers in their source.
    pub(crate) fn at_rows(&self, rows: &[i64]) {
        self.lock().row = if let [row] = rows { Some(*row) } else { None };
    }

    /// The row that goes, or went, through the model alone.
    pub(crate) fn row(&self) -> Option<i64> {
        self.lock().row
    }

    /// Whether the engine should stop as soon as it can.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether a training is to finish its step, keep a checkpoint and end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Asks a training to leave.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Calls the attempt off: wakes the engine where it waits for peers.
    pub(crate) fn cancel(&self, call: &Call) {
        self.cancelled.store(true, Ordering::SeqCst);
        let brakes = self.lock().brakes.clone();
        self.changed.notify_all();
        for brake in brakes {
            brake(call);
        }
    }

    /// What else is to be done when the attempt is called off; done at once where it has been already.
    pub(crate) fn on_cancel(&self, brake: impl Fn(&Call) + Send + Sync + 'static) {
        let brake: Brake = Arc::new(brake);
        self.lock().brakes.push(Arc::clone(&brake));
        if self.is_cancelled() {
            brake(&Call::because("called off before it began"));
        }
    }

    /// The coordinator has committed the checkpoint after so many steps.
    pub(crate) fn committed(&self, step: u64) {
        let mut inner = self.lock();
        inner.committed = inner.committed.max(step);
        self.changed.notify_all();
    }

    /// Waits until that checkpoint is committed, unless the attempt is called off; whether it is.
    pub(crate) fn is_committed(&self, step: u64, patience: Duration) -> bool {
        let waits = |inner: &mut Inner| inner.committed < step && !self.is_cancelled();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.committed >= step
    }

    /// Rank 0 tells its peers where to meet.
    pub(crate) fn announce(&self, address: SocketAddr) {
        self.lock().announced = Some(address);
        // Where the control task is gone, so is the process in a moment.
        let _ = self.events.send(Event::Rendezvous(self.rendezvous(address)));
    }

    /// What a new coordinator has to hear again: where the gang meets, if this is rank 0.
    pub(crate) fn announced(&self) -> Option<Rendezvous> {
        self.lock().announced.map(|address| self.rendezvous(address))
    }

    fn rendezvous(&self, address: SocketAddr) -> Rendezvous {
        Rendezvous { epoch: self.epoch, address: address.to_string() }
    }

    /// This rank's share of a checkpoint is durable.
    pub(crate) fn kept(&self, step: u64, files: Vec<File>, copy: Option<protocol::Copy>) {
        let files = files.into_iter().map(told).collect();
        let _ = self.events.send(Event::Kept(Kept { epoch: self.epoch, step, files, copy }));
    }

    /// What this rank holds after a step.
    pub(crate) fn held(&self, step: u64, copy: protocol::Copy) {
        let _ = self.events.send(Event::Held(Held { epoch: self.epoch, step, copy: Some(copy) }));
    }

    /// It could not be written.
    pub(crate) fn not_kept(&self, step: u64, message: String) {
        let _ = self.events.send(Event::NotKept(NotKept { epoch: self.epoch, step, message }));
    }

    /// The coordinator told where rank 0 waits.
    pub(crate) fn meet_at(&self, address: SocketAddr) {
        self.lock().meeting = Some(address);
        self.changed.notify_all();
    }

    /// Waits to hear where rank 0 waits.
    pub(crate) fn meeting(&self, patience: Duration) -> Result<SocketAddr, Alone> {
        let waits = |inner: &mut Inner| inner.meeting.is_none() && !self.is_cancelled();
        let (inner, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match inner.meeting {
            _ if self.is_cancelled() => Err(Alone::Cancelled),
            Some(address) => Ok(address),
            None => Err(Alone::Deadline(patience)),
        }
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of the store, as the coordinator hears of it.
pub(crate) fn told(file: File) -> protocol::File {
    let File { name, path, bytes, digest } = file;
    protocol::File { name, path, bytes, blake3: digest.to_string() }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("epoch", &self.epoch)
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, thread};

    use super::*;

    fn attempt() -> (Arc<Attempt>, mpsc::UnboundedReceiver<Event>) {
        let (events, said) = mpsc::unbounded_channel();
        (Attempt::new(7, Ipv4Addr::LOCALHOST.into(), events), said)
    }

    #[test]
    fn a_rank_that_waits_hears_where_to_meet() {
        let (attempt, _said) = attempt();
        let address = "127.0.0.1:4000".parse().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| attempt.meeting(Duration::from_secs(30)));
            attempt.meet_at(address);
            assert_eq!(waiting.join().unwrap(), Ok(address));
        });
    }

    #[test]
    fn a_rank_that_waits_is_woken_when_the_attempt_is_called_off() {
        let (attempt, _said) = attempt();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| attempt.meeting(Duration::from_secs(30)));
            attempt.cancel(&Call::because("a peer is gone"));
            assert_eq!(waiting.join().unwrap(), Err(Alone::Cancelled));
        });
    }

    #[test]
    fn a_rank_does_not_wait_for_ever() {
        let (attempt, _said) = attempt();
        let patience = Duration::from_millis(1);
        assert_eq!(attempt.meeting(patience), Err(Alone::Deadline(patience)));
    }

    #[test]
    fn the_brake_is_pulled_whether_it_was_there_before_the_call_or_after() {
        for before in [true, false] {
            let (attempt, _said) = attempt();
            let pulled = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&pulled);
            let brake = move |_: &Call| flag.store(true, Ordering::SeqCst);
            if before {
                attempt.on_cancel(brake);
                attempt.cancel(&Call::because("stop"));
            } else {
                attempt.cancel(&Call::because("stop"));
                attempt.on_cancel(brake);
            }
            assert!(pulled.load(Ordering::SeqCst), "before: {before}");
        }
    }
}
