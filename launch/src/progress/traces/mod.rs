//! Progress as a trace for an OpenTelemetry collector: a span for the run, and one in it for each attempt at a stage.
//! `docs/watching.md` describes names and attributes.

mod export;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use fulcrum_common::exit;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::Happening;
use export::Outlet;

/// A running stage says so many times at most how far it is: a span keeps few events.
const MARKS: u64 = 20;

/// The trace of one run, as far as it is known.
#[derive(Debug)]
pub(crate) struct Traces {
    outlet: Outlet,
    tracer: SdkTracer,
    /// The context that holds the span of the run.
    run: Context,
    /// Attempts that are under way, by their stage.
    attempts: BTreeMap<String, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    span: Span,
    examples: Option<u64>,
    /// How far it was when it last said so, in parts of [`MARKS`].
    mark: u64,
    /// The newest thing that went wrong in it.
    trouble: Option<String>,
}

impl Traces {
    /// Those of a run that begins at `unix`, if the environment names a collector.
    ///
    /// # Errors
    /// If what the environment says of it cannot be.
    pub(crate) fn from_environment(run: &str, unix: Duration) -> Result<Option<Self>> {
        Ok(Outlet::from_environment()?.map(|outlet| Self::new(outlet, run, unix)))
    }

    fn new(outlet: Outlet, run: &str, unix: Duration) -> Self {
        let tracer = outlet.tracer();
        let span = tracer
            .span_builder(run.to_owned())
            .with_start_time(moment(unix))
            .with_attributes([text("fulcrum.run", run)]);
        let span = tracer.build_with_context(span, &Context::new());
        Self { outlet, tracer, run: Context::new().with_span(span), attempts: BTreeMap::new() }
    }

    /// Takes in what was seen to happen at `unix`, which counts from the beginning of 1970.
    pub(crate) fn tell(&mut self, unix: Duration, happenings: &[Happening]) {
        for happening in happenings {
            self.take(unix, happening);
        }
    }

    /// What keeps the traces from their collector, told once.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.outlet.trouble()
    }

    /// Sends what is left, which takes no longer than a couple of seconds, whether anybody listens or not.
    pub(crate) fn close(&self) {
        self.outlet.close();
    }

    fn take(&mut self, unix: Duration, happening: &Happening) {
        let at = moment(unix);
        match happening {
            Happening::RunBegan { stages, made } => {
                let count = |name, count: usize| number(name, count as u64);
                self.run
                    .span()
                    .set_attributes([count("fulcrum.stages", *stages), count("fulcrum.made", *made)]);
            }
            Happening::StageBegan { stage, kind, attempt, examples, ran } => {
                let began = moment(unix.saturating_sub(*ran));
                self.give_up(stage, began);
                self.begin(began, (stage, kind), Some(*attempt), *examples);
            }
            Happening::StageProgress { stage, done, examples_per_second, loss, .. } => {
                self.get_on(at, stage, *done, *examples_per_second, *loss);
            }
            Happening::StageDone { stage, kind, .. } => {
                // What began and ended between two looks was not seen to begin.
                if !self.attempts.contains_key(stage) {
                    self.begin(at, (stage, kind), None, None);
                }
                self.finish(stage, at, Status::Ok);
            }
            Happening::StageFailed { stage, message, over, .. } => self.fail(at, stage, message, *over),
            Happening::WorkerCame { worker, host, device, pid } => self.note(
                at,
                "worker_came",
                vec![
                    text("fulcrum.worker", worker),
                    text("fulcrum.host", host),
                    text("fulcrum.device", device),
                    number("fulcrum.pid", u64::from(*pid)),
                ],
            ),
            Happening::WorkerWent { worker } => {
                self.note(at, "worker_went", vec![text("fulcrum.worker", worker)]);
            }
            Happening::RunDone => self.end(at, ("done", ""), Some(exit::DONE), &Status::Ok),
            Happening::RunFailed { message, exit_code } => {
                self.end(at, ("failed", message), *exit_code, &Status::error(message.clone()));
            }
            Happening::RunStopped { message } => {
                self.end(at, ("stopped", message), Some(exit::PREEMPTED), &Status::Unset);
            }
        }
    }

    fn begin(
        &mut self,
        at: SystemTime,
        (stage, kind): (&str, &str),
        attempt: Option<u32>,
        examples: Option<u64>,
    ) {
        let mut attributes = vec![text("fulcrum.stage", stage), text("fulcrum.kind", kind)];
        attributes.extend(attempt.map(|attempt| number("fulcrum.attempt", u64::from(attempt))));
        attributes.extend(examples.map(|examples| number("fulcrum.examples", examples)));
        let span = self.tracer.span_builder(stage.to_owned()).with_start_time(at).with_attributes(attributes);
        let span = self.tracer.build_with_context(span, &self.run);
        self.attempts.insert(stage.to_owned(), Attempt { span, examples, mark: 0, trouble: None });
    }

    fn get_on(&mut self, at: SystemTime, stage: &str, done: u64, rate: Option<f64>, loss: Option<f64>) {
        let Some(attempt) = self.attempts.get_mut(stage) else { return };
        let mark = attempt.examples.and_then(|all| done.saturating_mul(MARKS).checked_div(all));
        let Some(mark) = mark.filter(|mark| *mark > attempt.mark) else { return };
        attempt.mark = mark;
        let mut attributes = vec![number("fulcrum.done", done)];
        let known = [("fulcrum.examples_per_second", rate), ("fulcrum.loss", loss)];
        attributes.extend(known.iter().filter_map(|(name, value)| Some(KeyValue::new(*name, (*value)?))));
        attempt.span.add_event_with_timestamp("stage_progress", at, attributes);
    }

    /// What goes wrong in an attempt need not end it: an inference does without a shard that is tried again.
    fn fail(&mut self, at: SystemTime, stage: &str, message: &str, over: bool) {
        match self.attempts.get_mut(stage) {
            Some(_) if over => self.finish(stage, at, Status::error(message.to_owned())),
            Some(attempt) => {
                attempt.trouble = Some(message.to_owned());
                let attributes = vec![text("fulcrum.message", message)];
                attempt.span.add_event_with_timestamp("stage_failed", at, attributes);
            }
            None => {
                let attributes = vec![text("fulcrum.stage", stage), text("fulcrum.message", message)];
                self.note(at, "stage_failed", attributes);
            }
        }
    }

    /// An attempt that another one follows was lost.
    fn give_up(&mut self, stage: &str, at: SystemTime) {
        let Some(attempt) = self.attempts.get_mut(stage) else { return };
        let why = attempt.trouble.take().unwrap_or_else(|| "given up for another attempt".to_owned());
        self.finish(stage, at, Status::error(why));
    }

    fn finish(&mut self, stage: &str, at: SystemTime, status: Status) {
        if let Some(mut attempt) = self.attempts.remove(stage) {
            attempt.span.set_status(status);
            attempt.span.end_with_timestamp(at);
        }
    }

    fn note(&self, at: SystemTime, what: &'static str, attributes: Vec<KeyValue>) {
        self.run.span().add_event_with_timestamp(what, at, attributes);
    }

    /// What is under way when the run ends, ends as the run does.
    fn end(&mut self, at: SystemTime, (how, why): (&str, &str), exit_code: Option<i32>, status: &Status) {
        for stage in self.attempts.keys().cloned().collect::<Vec<_>>() {
            self.finish(&stage, at, status.clone());
        }
        let run = self.run.span();
        run.set_attribute(text("fulcrum.end", how));
        if !why.is_empty() {
            run.set_attribute(text("fulcrum.message", why));
        }
        if let Some(code) = exit_code {
            run.set_attribute(KeyValue::new("fulcrum.exit_code", i64::from(code)));
        }
        run.set_status(status.clone());
        run.end_with_timestamp(at);
    }
}

fn moment(unix: Duration) -> SystemTime {
    UNIX_EPOCH + unix
}

fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, Value::I64(i64::try_from(value).unwrap_or(i64::MAX)))
}
