//! Progress on the screen: bars where there is a terminal, plain lines where there is none.

mod bars;
mod happenings;
mod lines;
mod meter;
mod plain;
#[cfg_attr(not(feature = "otel"), path = "no_traces.rs")]
mod traces;
mod view;

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use fulcrum_common::{exit, protocol::StatusReply};

use bars::Bars;
use plain::Plain;
use traces::Traces;

use crate::failure::{self, Failure};

pub(crate) use happenings::{End, Happening, Happenings, News};
pub(crate) use lines::{Lines, unix};
pub(crate) use meter::{clock, rate_text, thousands};
pub(crate) use view::{Event, Running, View};

/// Shows a run on standard error, which leaves standard output to the results, and writes it down for programs where that
/// was asked for.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    run: String,
    happenings: Happenings,
    last: StatusReply,
    face: Face,
    lines: Option<Lines<File>>,
    traces: Option<Traces>,
}

#[derive(Debug)]
enum Face {
    Bars(Bars),
    Plain(Plain<io::Stderr>),
    /// Lines that stay, and nothing else.
    Notes(Plain<io::Stderr>),
}

impl Progress {
    /// That of a run with so many stages, with the face that fits standard error.
    pub(crate) fn new(run: &str, stages: usize) -> Self {
        let face = match io::stderr().is_terminal() {
            true => Face::Bars(Bars::new()),
            false => Face::Plain(Plain::new(io::stderr())),
        };
        let mut progress = Self::with(face, run, stages);
        progress.trace();
        progress
    }

    /// For whoever only looks after workers: the run is shown where its coordinator is looked after.
    pub(crate) fn of_notes() -> Self {
        Self::with(Face::Notes(Plain::new(io::stderr())), "", 0)
    }

    fn with(face: Face, run: &str, stages: usize) -> Self {
        let (happenings, last) = (Happenings::new(stages), StatusReply::default());
        Self { start: Instant::now(), run: run.to_owned(), happenings, last, face, lines: None, traces: None }
    }

    /// Begins a trace, if the environment names a collector. One that cannot be reached is no reason not to run.
    fn trace(&mut self) {
        match Traces::from_environment(&self.run, unix()) {
            Ok(traces) => self.traces = traces,
            Err(error) => self.note(&format!("{error:#}")),
        }
    }

    /// Adds a line of JSON to a file for each event.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write_down(&mut self, file: &Path) -> Result<()> {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        let opened = opened.with_context(|| format!("cannot write {}", file.display()))?;
        self.lines = Some(Lines::new(opened, &self.run));
        Ok(())
    }

    /// Takes in what the coordinator says.
    pub(crate) fn update(&mut self, reply: &StatusReply) {
        let now = self.start.elapsed();
        self.last.clone_from(reply);
        let News { events, running, happenings } = self.happenings.update(now, reply);
        self.tell(&happenings);
        match &mut self.face {
            Face::Bars(bars) => bars.show(&headline(now, reply), &events, &running),
            Face::Plain(plain) => plain.show(now, &events, &running),
            Face::Notes(_) => {}
        }
    }

    /// The run reached its goal: a coordinator that ends has no time to say so of its last stages.
    pub(crate) fn finish(&mut self) {
        let mut reply = std::mem::take(&mut self.last);
        for stage in reply.stages.iter_mut().filter(|stage| stage.state != "cached") {
            stage.state = "done".into();
        }
        self.update(&reply);
    }

    /// Writes down how the run ended.
    pub(crate) fn end<T>(&mut self, ended: &Result<T>) {
        let happenings = match ended {
            Ok(_) => self.happenings.end(End::Done),
            Err(error) => {
                let (message, code) = (failure::lines(error).join("; "), Failure::code_of(error));
                self.happenings.end(match code {
                    exit::PREEMPTED => End::Stopped(&message),
                    code => End::Failed(&message, Some(code)),
                })
            }
        };
        self.tell(&happenings);
        if let Some(traces) = &self.traces {
            traces.close();
        }
        self.note_lost_traces();
    }

    /// A file that cannot be written any more is no reason to stop a run.
    fn tell(&mut self, happenings: &[Happening]) {
        let unix = unix();
        if let Some(Err(error)) = self.lines.as_mut().map(|lines| lines.tell(unix, happenings)) {
            self.lines = None;
            self.note(&format!("the file of events cannot be written any more: {error}"));
        }
        if let Some(traces) = &mut self.traces {
            traces.tell(unix, happenings);
        }
        self.note_lost_traces();
    }

    /// Neither is a collector that is not there.
    fn note_lost_traces(&mut self) {
        if let Some(trouble) = self.traces.as_mut().and_then(Traces::trouble) {
            self.note(&format!("traces do not reach their collector: {trouble}"));
        }
    }

    /// Shows a line that stays.
    pub(crate) fn note(&mut self, line: &str) {
        match &mut self.face {
            Face::Bars(bars) => bars.note(line),
            Face::Plain(plain) | Face::Notes(plain) => plain.note(line),
        }
    }

    /// A measure of what has been achieved that never falls.
    pub(crate) fn reached(&self) -> u64 {
        self.happenings.reached()
    }
}

/// `12 of 30 stages done, 2 workers, 1:07`, and while nothing runs, what the run waits for.
fn headline(now: Duration, reply: &StatusReply) -> String {
    let finished =
        reply.stages.iter().filter(|stage| matches!(stage.state.as_str(), "done" | "cached")).count();
    let workers = reply.workers.iter().filter(|worker| worker.state != "lost").count();
    let plural = if workers == 1 { "" } else { "s" };
    let idle = reply.stages.iter().all(|stage| stage.state != "running");
    let waits = if idle && !reply.reason.is_empty() { format!(", {}", reply.reason) } else { String::new() };
    format!(
        "{finished} of {} stages done, {workers} worker{plural}, {}{waits}",
        reply.stages.len(),
        clock(now)
    )
}

/// The line that tells an event; none for events that the face shows otherwise.
fn event_line(event: &Event) -> String {
    match event {
        Event::Began(name) => format!("began   {name}"),
        Event::Done(name, None) => format!("done    {name}"),
        Event::Done(name, Some(took)) => format!("done    {name}  ({})", duration(*took)),
        Event::Failed(name, message) => format!("failed  {name}: {message}"),
    }
}

/// `3.2 s` below a minute, else a clock.
pub(crate) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(60) { format!("{:.1} s", time.as_secs_f64()) } else { clock(time) }
}
