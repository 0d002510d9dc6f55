//! A run as lines of JSON on standard output, until it is over.

use std::{io, time::Duration};

use anyhow::{Context, Result};
use fulcrum_common::protocol::StatusReply;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{EVERY, look};
use crate::{
    progress::{End, Happenings, Lines, unix},
    run_folder::RunFolder,
};

/// A coordinator that dies is started again; one that is gone for so long is not.
const GONE: Duration = Duration::from_secs(10);

/// Tells every event of the run until it is over, or nobody reads any more.
///
/// # Errors
/// If there is no such run, or standard output cannot be written.
pub(crate) async fn tell(folder: &RunFolder) -> Result<()> {
    match until_it_is_over(folder).await {
        Err(error) if error.downcast_ref().is_some_and(is_closed) => Ok(()),
        done => done,
    }
}

fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

async fn until_it_is_over(folder: &RunFolder) -> Result<()> {
    let mut reply = look(folder).await?;
    let mut lines = Lines::new(io::stdout(), &reply.run);
    let mut happenings = Happenings::new(reply.stages.len());
    let (start, mut heard, mut is_stopping) = (Instant::now(), Instant::now(), false);
    let begun = lines.tell(unix(), &happenings.update(start.elapsed(), &reply).happenings);
    begun.context("cannot write to standard output")?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_there = reply.phase != "not running";
        if is_there {
            (heard, is_stopping) = (Instant::now(), reply.phase == "stopping");
        }
        // What the store says of stages that a coordinator had under way is no news while that is started again.
        if is_there || is_stopping || heard.elapsed() >= GONE {
            let end = end(&reply);
            let mut news = happenings.update(start.elapsed(), &reply).happenings;
            news.extend(end.into_iter().flat_map(|end| happenings.end(end)));
            lines.tell(unix(), &news).context("cannot write to standard output")?;
            if end.is_some() {
                return Ok(());
            }
        }
        reply = look(folder).await?;
    }
}

/// How a run ended, if it did.
fn end(reply: &StatusReply) -> Option<End<'_>> {
    match reply.phase.as_str() {
        "running" | "stopping" => None,
        "done" => Some(End::Done),
        "failed" => Some(End::Failed(&reply.reason, None)),
        _ => Some(End::Stopped(&reply.reason)),
    }
}
