//! Requests to stop while nobody is looked after yet, or no more. The kernel drops them where the process is the first of a
//! container and does not listen, which is then killed once its grace is over.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{Signals, stopped};

/// Whether a supervisor listens itself.
static LISTENS: AtomicBool = AtomicBool::new(false);

/// Ends this process with the code of one that goes on another time when it is asked to stop and no supervisor is at work.
///
/// # Errors
/// If the system refuses.
pub(crate) fn end_on_signals() -> Result<()> {
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        loop {
            signals.recv().await;
            if !LISTENS.load(Ordering::Acquire) {
                let stopped = stopped();
                eprintln!("error: {stopped}");
                std::process::exit(stopped.code);
            }
        }
    });
    Ok(())
}

/// While this lives a supervisor listens.
#[derive(Debug)]
pub(super) struct Listening;

impl Listening {
    pub(super) fn begin() -> Self {
        LISTENS.store(true, Ordering::Release);
        Self
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENS.store(false, Ordering::Release);
    }
}
