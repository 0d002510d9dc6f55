//! What the state machine is told. Every value here has been checked by `wire` before.

use std::{collections::BTreeMap, fmt};

use fulcrum_common::{
    Key, exit,
    store::{Checkpoint, File, Manifest},
};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A worker said something on its stream. `session` is the stream's number, never used twice.
    Worker {
        /// The stream.
        session: u64,
        /// What it said.
        event: Event,
    },
    /// The stream ended, cleanly or not.
    Closed {
        /// The stream.
        session: u64,
        /// Why, for people.
        reason: String,
    },
    /// The manifest stands in the store. It may be another attempt's, where that one came first.
    Committed(Box<Manifest>),
    /// The manifest of this stage is not in the store.
    CommitFailed {
        /// The stage.
        key: Key,
        /// One line.
        message: String,
        /// The files are not what the manifest says. Otherwise they are, but the store could not be written.
        damaged: bool,
    },
    /// A checkpoint stands in the store.
    Kept(Box<Checkpoint>),
    /// It does not.
    KeepFailed {
        /// Which.
        checkpoint: Box<Checkpoint>,
        /// One line.
        message: String,
    },
    /// Somebody asked the run to stop.
    Stop,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Who it is; the first event of every stream.
    Hello(Hello),
    /// It lives, and how far it is.
    Heartbeat(Progress),
    /// Rank 0 of a gang tells where its members meet.
    Rendezvous {
        /// The gang's epoch.
        epoch: u64,
        /// `host:port`.
        address: String,
    },
    /// Its part of an assignment is finished, and the files are durable.
    Done {
        /// The assignment.
        epoch: u64,
        /// What rank 0 or a shard made; empty from the other ranks.
        files: Vec<File>,
        /// Numbers for the manifest.
        facts: BTreeMap<String, u64>,
    },
    /// Its part of an assignment failed.
    Failed {
        /// The assignment.
        epoch: u64,
        /// How.
        failure: Failure,
    },
    /// Its share of a checkpoint is durable.
    Kept {
        /// The gang's epoch.
        epoch: u64,
        /// Steps done.
        step: u64,
        /// What it left.
        files: Vec<File>,
        /// What it holds, where that was hashed.
        copy: Option<Copied>,
    },
    /// What it holds after a step, to be compared with what others hold alike.
    Held {
        /// The gang's epoch.
        epoch: u64,
        /// Steps done.
        step: u64,
        /// What.
        copy: Copied,
    },
    /// Its share of a checkpoint could not be written.
    NotKept {
        /// The gang's epoch.
        epoch: u64,
        /// Steps done.
        step: u64,
        /// Why, one line.
        message: String,
    },
    /// It is about to close the stream and does not come back.
    Leaving,
}

/// The hash of what a rank holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Copied {
    /// Ranks of one group hold the same.
    pub group: u64,
    /// 64 bits.
    pub hash: u64,
}

/// A worker's introduction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Version of the messages it speaks.
    pub protocol: u32,
    /// Version of the code that gives stages their meaning.
    pub code: u32,
    /// Its place in the run, kept over restarts: `w0`.
    pub seat: String,
    /// New at every start of the process.
    pub incarnation: String,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// `cpu`, `cuda:0`.
    pub device: String,
    /// Compute threads.
    pub threads: u32,
    /// Where the process before it in its seat died, if that was while rows went through a model.
    pub fell: Option<Fell>,
    /// Its program.
    pub build: Option<Key>,
    /// Its store, by [`Store::identity`](fulcrum_common::store::Store::identity).
    pub store: Option<Key>,
}

/// A process died while rows went through a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fell {
    /// The assignment.
    pub epoch: u64,
    /// The row's number in its source, where it was alone.
    pub row: Option<i64>,
}

impl Hello {
    /// What the worker is to the bytes that it makes.
    pub fn class(&self) -> Class {
        let device = self.device.split(':').next().unwrap_or_default().to_owned();
        Class { device, threads: self.threads }
    }
}

/// Workers of one class make the same bytes of the same work. A gang, and all shards of a stage, are given to one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Class {
    /// Kind of device, without its number: `cuda`.
    pub device: String,
    /// Compute threads.
    pub threads: u32,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(f, "{} with {} thread{plural}", self.device, self.threads)
    }
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// The assignment under way; 0 when idle.
    pub epoch: u64,
    /// Steps (train) or rows (others) finished in it.
    pub step: u64,
    /// Of how many; 0 when unknown.
    pub steps: u64,
    /// Examples finished in it.
    pub examples: u64,
    /// Latest training loss.
    pub loss: f64,
}

/// Why an assignment failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// One line.
    pub message: String,
    /// False where another attempt would fail the same way.
    pub retry: bool,
    /// The fault lies with a peer or the network, not with the work.
    pub membership: bool,
    /// Exit code of the run should this failure end it.
    pub code: i32,
    /// The row's number in its source, where it failed in a single one.
    pub row: Option<i64>,
}

impl Failure {
    /// A worker or the network between workers failed.
    pub fn membership(message: String) -> Self {
        Self { message, retry: true, membership: true, ..Self::default() }
    }

    /// The exit code of a run that ends with it.
    pub(crate) fn exit(&self) -> i32 {
        match self.code {
            0 if self.retry => exit::NO_PROGRESS,
            0 => exit::MISMATCH,
            code => code,
        }
    }
}
