//! The thread that owns a communicator: it alone calls it, watches over what is in flight, and ends it.
//!
//! Whoever starts an operation only leaves it in the mailbox, so nothing that NCCL does, a first connection or an abort
//! that hangs, holds up the caller or the process's exit. The thread asks nothing of the device that could block.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tch::Tensor;

use crate::{Collective, Error, Handle, end::End};

/// How often the thread looks around when nothing is in flight, and when something is.
const IDLE: Duration = Duration::from_millis(20);
const BUSY: Duration = Duration::from_micros(50);

/// So much later than it should a member that waits stops relying on the thread.
const GRACE: Duration = Duration::from_secs(5);

/// What the thread drives: a communicator, or a test's.
pub(super) trait Link: Sized {
    /// An operation, ready to start.
    type Call: Send + 'static;
    /// The place in the order of the device's work right after an operation.
    type Mark;

    /// Begins an operation; [`Link::progress`] says when it is on the device.
    fn start(&mut self, call: &Self::Call) -> Result<(), String>;
    /// How the latest call is doing, and whether anything failed since.
    fn progress(&mut self) -> Progress;
    /// The place after what is on the device now.
    fn mark(&mut self) -> Result<Self::Mark, String>;
    /// Whether the device has come so far.
    fn reached(&mut self, mark: &Self::Mark) -> Result<bool, String>;
    /// Ends in order: nothing is in flight here, but others may still be receiving.
    fn leave(self);
    /// Ends everything that is in flight. May take long.
    fn abort(self);
}

/// How a call is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Ready,
    Busy,
    Failed(String),
}

/// What the thread has in common with those who start operations.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) rank: usize,
    /// Longest time to meet, and for one operation.
    pub(super) timeout: Duration,
    pub(super) end: Arc<End>,
    /// The same members over another network, which notices when one is gone, and tells the others of an abort.
    pub(super) others: Arc<dyn Collective>,
}

impl Common {
    /// Whether there is sense in waiting on for something that began then.
    fn patience(&self, begun: Instant) -> Result<(), String> {
        self.others.health().map_err(|error| match error {
            Error::Broken { reason, .. } | Error::Aborted { reason, .. } => reason,
            other => other.to_string(),
        })?;
        match begun.elapsed() > self.timeout {
            true => Err(format!("no end within {:?}", self.timeout)),
            false => Ok(()),
        }
    }

    /// Ends the gang, for everybody.
    fn fail(&self, operation: &'static str, reason: String) -> Error {
        self.others.abort(&reason);
        self.end.fail(operation, self.rank, reason)
    }
}

/// An operation on its way to the thread.
struct Job<C> {
    operation: &'static str,
    call: C,
    begun: Instant,
    /// Kept until the device is done with them, or NCCL has given them up.
    _tensors: Vec<Tensor>,
    done: SyncSender<Result<(), Error>>,
}

/// The thread, as others see it.
#[derive(Debug)]
pub(super) struct Runner<C> {
    common: Common,
    /// Gone once the member leaves.
    mailbox: Option<Sender<Job<C>>>,
    /// Closed when the thread has left, or has nothing more to do than to abort.
    ended: Mutex<Receiver<()>>,
}

impl<C: Send + 'static> Runner<C> {
    /// Starts the thread and waits until `join`, on it, has met the others. `join` is handed the patience it may have.
    ///
    /// # Errors
    /// Why they did not meet.
    pub(super) fn start<L, J>(common: Common, join: J) -> Result<Self, String>
    where
        L: Link<Call = C>,
        J: FnOnce(&dyn Fn() -> Result<(), String>) -> Result<L, String> + Send + 'static,
    {
        let ((mailbox, mail), (working, ended)) = (mpsc::channel(), mpsc::channel());
        let (met, meeting) = mpsc::sync_channel(1);
        let (limit, theirs, begun) = (common.timeout + GRACE, common.clone(), Instant::now());
        let body = move || match join(&|| theirs.patience(begun)) {
            Ok(link) => {
                let _ = met.send(Ok(()));
                let in_flight = VecDeque::new();
                Running { link, mail, in_flight, common: theirs, _working: working }.serve();
            }
            Err(reason) => drop(met.send(Err(reason))),
        };
        let thread = thread::Builder::new().name(format!("nccl {}", common.rank));
        thread.spawn(body).map_err(|error| error.to_string())?;
        let silent = |_| Err(format!("no word of NCCL within {limit:?}"));
        meeting.recv_timeout(limit).unwrap_or_else(silent)?;
        Ok(Self { common, mailbox: Some(mailbox), ended: Mutex::new(ended) })
    }

    /// Hands an operation over.
    ///
    /// # Errors
    /// If the gang is broken.
    pub(super) fn run(
        &self,
        operation: &'static str,
        call: C,
        tensors: Vec<Tensor>,
    ) -> Result<Handle, Error> {
        let common = self.common.clone();
        let (done, outcome) = mpsc::sync_channel(1);
        let job = Job { operation, call, begun: Instant::now(), _tensors: tensors, done };
        let gone =
            move |common: &Common| common.end.fail(operation, common.rank, "the gang is broken".into());
        let mailbox = self.mailbox.as_ref().ok_or_else(|| gone(&common))?;
        mailbox.send(job).map_err(|_| gone(&common))?;
        Ok(Handle::new(move || match outcome.recv_timeout(common.timeout + GRACE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(gone(&common)),
            Err(RecvTimeoutError::Timeout) => {
                Err(common.fail(operation, format!("NCCL hangs for more than {:?}", common.timeout)))
            }
        }))
    }
}

impl<C> Drop for Runner<C> {
    fn drop(&mut self) {
        self.mailbox = None;
        // Leaving in order takes a moment; an abort that hangs is not waited for.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(GRACE);
    }
}

/// The thread's own state.
struct Running<L: Link> {
    link: L,
    mail: Receiver<Job<L::Call>>,
    in_flight: VecDeque<Flight<L>>,
    common: Common,
    /// Closes [`Runner::ended`].
    _working: Sender<()>,
}

struct Flight<L: Link> {
    job: Job<L::Call>,
    /// None before it is on the device.
    mark: Option<L::Mark>,
}

impl<L: Link> Running<L> {
    fn serve(mut self) {
        loop {
            let pause = if self.in_flight.is_empty() { IDLE } else { BUSY };
            let begun = match self.mail.recv_timeout(pause) {
                Ok(job) => self.begin(job),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) if self.in_flight.is_empty() => return self.link.leave(),
                Err(RecvTimeoutError::Disconnected) => Err("left with operations in flight".into()),
            };
            if let Err(reason) = begun.and_then(|()| self.look()) {
                return self.give_up(&reason);
            }
        }
    }

    /// Brings an operation to the device. The first of its kind waits until NCCL has connected.
    fn begin(&mut self, job: Job<L::Call>) -> Result<(), String> {
        self.in_flight.push_back(Flight { job, mark: None });
        let latest = self.in_flight.len() - 1;
        self.link.start(&self.in_flight[latest].job.call)?;
        loop {
            match self.link.progress() {
                Progress::Ready => break,
                Progress::Failed(reason) => return Err(reason),
                Progress::Busy => self.common.patience(self.in_flight[latest].job.begun)?,
            }
            thread::sleep(BUSY);
        }
        self.in_flight[latest].mark = Some(self.link.mark()?);
        Ok(())
    }

    /// Tells of what is done. Looks for failures first: what they leave behind is no result.
    fn look(&mut self) -> Result<(), String> {
        if let Progress::Failed(reason) = self.link.progress() {
            return Err(reason);
        }
        while let Some(Flight { mark: Some(mark), .. }) = self.in_flight.front() {
            if !self.link.reached(mark)? {
                break;
            }
            if let Some(flight) = self.in_flight.pop_front() {
                // Nobody needs to wait for it.
                let _ = flight.job.done.send(Ok(()));
            }
        }
        let begun = self.in_flight.front().map_or_else(Instant::now, |flight| flight.job.begun);
        self.common.patience(begun)
    }

    /// Ends the gang. Who waits hears of it before NCCL is asked to end, which may hang; the tensors are kept
    /// until it has, as the device may still write to them.
    fn give_up(self, reason: &str) {
        let Self { link, mail, in_flight, common, _working: working } = self;
        common.fail("nccl", reason.to_owned());
        for Flight { job, .. } in &in_flight {
            let _ = job.done.send(Err(common.end.fail(job.operation, common.rank, reason.to_owned())));
        }
        drop((mail, working));
        link.abort();
        drop(in_flight);
    }
}

#[cfg(test)]
mod tests;
