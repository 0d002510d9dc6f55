//! Asks the coordinator how things are, again and again, beside everything else.

use std::time::Duration;

use fulcrum_common::protocol::StatusReply;
use tokio::{sync::watch, task::JoinHandle};

use crate::client::Client;

/// How often the coordinator is asked.
const EVERY: Duration = Duration::from_millis(200);

/// The asking task. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    whom: watch::Sender<Option<Client>>,
    said: watch::Receiver<Option<StatusReply>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// A watcher that asks nobody yet.
    pub(super) fn new() -> Self {
        let (whom, ask_whom) = watch::channel(None);
        let (says, said) = watch::channel(None);
        let task = tokio::spawn(ask(ask_whom, says));
        Self { whom, said, task }
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
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(mut whom: watch::Receiver<Option<Client>>, says: watch::Sender<Option<StatusReply>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let client = whom.borrow_and_update().clone();
        let Some(mut client) = client else { continue };
        // A coordinator that does not answer is asked again: whether it lives is seen from its process.
        if let Ok(reply) = client.status().await {
            says.send_replace(Some(reply));
        }
    }
}
