//! The coordinator: who does what, decided by a pure state machine, kept in a journal, told over gRPC.
//!
//! [`tick`] is the whole of the deciding: `(state, now, inputs) -> (actions, reasons)`, with no clock, no
//! input or output and no randomness inside. The driver around it reads the clock, writes the journal *before*
//! anything becomes visible, sends the commands and commits manifests. `docs/coordinator.md` has the
//! protocol, the states and the journal's schema.

mod action;
mod driver;
mod gate;
mod input;
mod journal;
mod serve;
mod service;
mod size;
mod state;
mod status;
mod tick;
mod told;
mod wire;

pub use action::{Action, Decisions, Named, Product, Record};
pub use input::{Class, Copied, Event, Failure, Fell, Hello, Input, Progress};
pub use journal::{Broken, Journal, JournalError, Story, recover};
pub use serve::{Bound, Config, Outcome, ServeError, bind, serve};
pub use size::SizeError;
pub use state::{
    Doubt, Entry, Gang, Lease, Past, PastGang, Phase, Poison, Search, Shard, ShardState, Shards, StageState,
    State, Worker, WorkerState, Workers,
};
pub use status::status;
pub use tick::tick;
pub use wire::{WireError, event as read_event};
