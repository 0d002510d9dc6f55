//! Asks the coordinator how things are, again and again, beside everything else.

use std::time::{Duration, Instant};

use fulcrum_common::protocol::StatusReply;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

use crate::client::Client;

/// How often the coordinator is asked.
const EVERY: Duration = Duration::from_millis(200);

/// The asking task. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    whom: watch::Sender<Option<Client>>,
    said: watch::Receiver<Option<StatusReply>>,
    heard: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// A watcher that asks nobody yet.
    pub(super) fn new() -> Self {
        let (whom, ask_whom) = watch::channel(None);
        let (says, said) = watch::channel(None);
        let (hears, heard) = watch::channel(None);
        let task = tokio::spawn(ask(ask_whom, says, hears));
        Self { whom, said, heard, task }
    }

    /// Asks this coordinator from now on, or nobody.
    pub(super) fn look_at(&self, client: Option<Client>) {
        self.whom.send_replace(client);
    }

    /// The latest reply, told once.
    pub(super) fn news(&mut self) -> Option<StatusReply> {
        if !self.said.has_changed().unwrap_or(false) {
            return None;
        }
        self.said.borrow_and_update().clone()
    }

    /// How long the coordinator has owed an answer; none where none is asked.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.heard.borrow().map(|heard| heard.elapsed())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether nothing more will be started: the run is over, or about to be.
pub(super) fn is_ending(reply: &StatusReply) -> bool {
    reply.phase != "running"
}

async fn ask(
    mut whom: watch::Receiver<Option<Client>>,
    says: watch::Sender<Option<StatusReply>>,
    hears: watch::Sender<Option<Instant>>,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client: Option<Client> = None;
    loop {
        ticks.tick().await;
        if whom.has_changed().unwrap_or(false) {
            client = whom.borrow_and_update().clone();
            hears.send_replace(client.as_ref().map(|_| Instant::now()));
        }
        // A coordinator that does not answer is asked again.
        let Some(asked) = &mut client else { continue };
        let Ok(reply) = asked.status().await else { continue };
        hears.send_replace(Some(Instant::now()));
        if matches!(reply.phase.as_str(), "done" | "failed") {
            // It may be gone already, and then that is well too.
            let _ = asked.dismiss().await;
            client = None;
            hears.send_replace(None);
        }
        says.send_replace(Some(reply));
    }
}
