//! What this worker leaves of its flight recorder when something goes wrong.

use std::{path::PathBuf, thread};

use fulcrum_common::{
    flight::dump::{Dump, Header},
    protocol::Hello,
};

use crate::{attempt::Attempt, engine::Task};

/// Where dumps go, and of what.
#[derive(Debug)]
pub(crate) struct BlackBox {
    /// The run's folder; a worker that was not told of one leaves nothing.
    run: Option<PathBuf>,
    /// Of the assignment under way.
    header: Header,
    /// The epoch that has left one already: the first shows where it was when it went wrong.
    left: u64,
}

impl BlackBox {
    pub(crate) fn new(run: Option<PathBuf>, hello: &Hello) -> Self {
        let (worker, host, pid) = (hello.worker.clone(), hello.host.clone(), hello.pid);
        Self { run, header: Header { worker, host, pid, ..Header::default() }, left: 0 }
    }

    /// An assignment begins.
    pub(crate) fn start(&mut self, task: &Task) {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let header = &mut self.header;
        (header.epoch, header.stage) = (task.epoch, task.stage.name.clone());
        (header.rank, header.world) = (number(task.rank), number(task.world));
        header.shard = task.shard.map(|shard| shard.index);
    }

    /// Something went wrong with it.
    pub(crate) fn crash(&mut self, attempt: &Attempt, reason: &str) {
        if self.left != attempt.epoch {
            self.left = attempt.epoch;
            self.dump(attempt, reason);
        }
    }

    /// Leaves a dump, off this thread: a disk may be slow, and heartbeats are not.
    pub(crate) fn dump(&self, attempt: &Attempt, reason: &str) {
        let Some(run) = self.run.clone().filter(|_| attempt.epoch == self.header.epoch) else { return };
        let reason = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
        let dump = Dump::take(&attempt.recorder, Header { reason, ..self.header.clone() });
        let write = move || match dump.write(&run) {
            Ok(path) => tracing::info!("the flight recorder is in {}", path.display()),
            Err(error) => tracing::warn!("the flight recorder is lost: {error}"),
        };
        if let Err(error) = thread::Builder::new().name("dump".to_owned()).spawn(write) {
            tracing::warn!("the flight recorder is lost: {error}");
        }
    }
}
