//! Progress on the screen: bars where there is a terminal, plain lines where there is none.

mod bars;
mod lines;
mod meter;
mod plain;
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

use crate::failure::{self, Failure};

pub(crate) use lines::{End, Lines, unix};
pub(crate) use meter::{clock, rate_text, thousands};
pub(crate) use view::{Event, Running, View};

/// Shows a run on standard error, which leaves standard output to the results, and writes it down for programs where that
/// was asked for.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    view: View,
    last: StatusReply,
    face: Face,
    lines: Option<Lines<File>>,
}

#[derive(Debug)]
enum Face {
    Bars(Bars),
    Plain(Plain<io::Stderr>),
    /// Lines that stay, and nothing else.
    Notes(Plain<io::Stderr>),
}

impl Progress {
    /// The face that fits standard error.
    pub(crate) fn new() -> Self {
        Self::with(match io::stderr().is_terminal() {
            true => Face::Bars(Bars::new()),
            false => Face::Plain(Plain::new(io::stderr())),
        })
    }

    fn with(face: Face) -> Self {
        let (view, last) = (View::default(), StatusReply::default());
        Self { start: Instant::now(), view, last, face, lines: None }
    }

    /// Adds a line of JSON to a file for each event of a run with so many stages.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write_down(&mut self, file: &Path, run: &str, stages: usize) -> Result<()> {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        let opened = opened.with_context(|| format!("cannot write {}", file.display()))?;
        self.lines = Some(Lines::new(opened, run, stages));
        Ok(())
    }

    /// For whoever only looks after workers: the run is shown where its coordinator is looked after.
    pub(crate) fn of_notes() -> Self {
        Self::with(Face::Notes(Plain::new(io::stderr())))
    }

    /// Takes in what the coordinator says.
    pub(crate) fn update(&mut self, reply: &StatusReply) {
        let now = self.start.elapsed();
        self.last.clone_from(reply);
        self.tell(|lines| lines.update(now, unix(), reply));
        let (events, running) = self.view.update(now, reply);
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
        self.tell(|lines| match ended {
            Ok(_) => lines.end(unix(), End::Done),
            Err(error) => {
                let (message, code) = (failure::lines(error).join("; "), Failure::code_of(error));
                let end = match code {
                    exit::PREEMPTED => End::Stopped(&message),
                    code => End::Failed(&message, Some(code)),
                };
                lines.end(unix(), end)
            }
        });
    }

    /// A file that cannot be written any more is no reason to stop a run.
    fn tell(&mut self, what: impl FnOnce(&mut Lines<File>) -> io::Result<()>) {
        if let Some(Err(error)) = self.lines.as_mut().map(what) {
            self.lines = None;
            self.note(&format!("the file of events cannot be written any more: {error}"));
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
        self.view.reached()
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
