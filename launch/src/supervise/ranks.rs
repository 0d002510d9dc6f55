//! The processes of one measurement: one for each rank, started once. All end well, or the measurement has failed.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use fulcrum_common::{
    bench::{JOB_FILE, Job, MEETING_FILE, REPORT_FILE, Report},
    exit,
};

use super::{
    Signals, TICK,
    policy::{Death, Part},
    programs::Programs,
    seat::Seat,
};
use crate::{devices::Devices, failure::Failure};

/// A rank that only saw another one end may be the first to tell. So long the other one has to tell why.
const CAUSE: Duration = Duration::from_secs(3);

/// Measures on this machine, and returns what rank 0 reports.
///
/// # Errors
/// As [`measure_with`].
pub(crate) async fn measure(job: &Job, devices: Devices) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("fulcrum-bench-").tempdir()?;
    let programs = Programs::find()?;
    let command = |rank| Ok(programs.rank(folder.path(), rank, devices.of(rank, job.world)));
    measure_with(job, folder.path(), &command).await
}

/// Measures with ranks that `command` starts, each a process that sees `folder`, and returns what rank 0 reports. No process
/// is left when this returns, however it returns.
///
/// # Errors
/// What the rank that failed first says, with its exit code.
pub(crate) async fn measure_with(
    job: &Job,
    folder: &Path,
    command: &dyn Fn(usize) -> Result<Command>,
) -> Result<Report> {
    fs::write(folder.join(JOB_FILE), serde_json::to_string(job)?)?;
    let mut ranks = Ranks::new(job.world, folder, command);
    let mut signals = Signals::listen()?;
    let mut ticks = tokio::time::interval(TICK);
    while !ranks.step()? {
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.recv() => return Err(Failure::new(exit::PREEMPTED, "stopped").into()),
        }
    }
    let text = fs::read_to_string(folder.join(REPORT_FILE)).context("rank 0 left no report")?;
    serde_json::from_str(&text).context("rank 0 left a report that cannot be read")
}

/// One seat for each rank.
struct Ranks<'a> {
    seats: Vec<Seat>,
    folder: &'a Path,
    command: &'a dyn Fn(usize) -> Result<Command>,
    /// The first death that was no good end, and when it was seen.
    failed: Option<(Failure, Instant)>,
    left: usize,
}

impl<'a> Ranks<'a> {
    fn new(world: usize, folder: &'a Path, command: &'a dyn Fn(usize) -> Result<Command>) -> Self {
        let seat = |rank| {
            let name = format!("rank {rank}");
            let log = folder.join(format!("{rank}.log"));
            Seat::new(name, Part::Worker, log)
        };
        let seats = (0..world).map(seat).collect();
        Self { seats, folder, command, failed: None, left: world }
    }

    /// Looks after all of them once; whether all have ended well.
    fn step(&mut self) -> Result<bool> {
        self.start_what_is_due()?;
        for seat in &mut self.seats {
            let Some(death) = seat.reap().with_context(|| format!("cannot watch {}", seat.name))? else {
                continue;
            };
            self.left -= 1;
            if death == Death::Code(exit::DONE) {
                continue;
            }
            let (failure, only_saw) = explained(seat, death);
            match &mut self.failed {
                None => self.failed = Some((failure, Instant::now())),
                // What it did not tell itself, another one does.
                Some((first, _)) if first.code == exit::MEMBERSHIP && !only_saw => *first = failure,
                Some(_) => {}
            }
        }
        match &self.failed {
            Some((failure, since))
                if failure.code != exit::MEMBERSHIP || since.elapsed() > CAUSE || self.left == 0 =>
            {
                Err(failure.clone().into())
            }
            Some(_) => Ok(false),
            None => Ok(self.left == 0),
        }
    }

    /// Starts rank 0, and the others once it has said where they meet.
    fn start_what_is_due(&mut self) -> Result<()> {
        let met = self.folder.join(MEETING_FILE).exists();
        for (rank, seat) in self.seats.iter_mut().enumerate() {
            if seat.due.is_some() && (rank == 0 || met) {
                seat.start((self.command)(rank)?)?;
            }
        }
        Ok(())
    }
}

/// Why a rank ended, and whether it only saw another one end.
fn explained(seat: &Seat, death: Death) -> (Failure, bool) {
    let code = match death {
        Death::Code(code) => code,
        Death::Signal(_) => exit::NO_PROGRESS,
    };
    let message = match seat.last_error() {
        Some(reason) => format!("{}: {reason}", seat.name),
        None => format!("{} ended with {death}", seat.name),
    };
    (Failure::new(code, message), code == exit::MEMBERSHIP)
}
