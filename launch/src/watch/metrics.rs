//! What Prometheus reads: the text format, version 0.0.4.

use std::fmt::Write as _;

use super::Sight;

/// Metrics of a run, each with its help and type.
pub(super) fn metrics(sight: &Sight) -> String {
    let status = &sight.status;
    let mut page = Page(String::new());
    page.metric("fulcrum_run_info", "gauge", "The run and its phase.");
    page.sample("fulcrum_run_info", &[("run", &status.run), ("phase", &status.phase)], 1.0);
    page.metric("fulcrum_stages", "gauge", "Stages of the run, by state.");
    for state in ["waiting", "ready", "running", "done", "cached", "failed"] {
        let count = status.stages.iter().filter(|stage| stage.state == state).count();
        page.sample("fulcrum_stages", &[("state", state)], count as f64);
    }
    let running = || status.stages.iter().filter(|stage| stage.state == "running");
    page.metric("fulcrum_stage_examples_done", "gauge", "Examples of a running stage that are done.");
    for stage in running() {
        page.sample(
            "fulcrum_stage_examples_done",
            &[("stage", &stage.name), ("kind", &stage.kind)],
            stage.done as f64,
        );
    }
    page.metric("fulcrum_stage_examples", "gauge", "Examples of a running stage.");
    for stage in running() {
        page.sample(
            "fulcrum_stage_examples",
            &[("stage", &stage.name), ("kind", &stage.kind)],
            stage.total as f64,
        );
    }
    page.metric("fulcrum_stage_examples_per_second", "gauge", "How fast a running stage gets on.");
    for (stage, rate) in &sight.rates {
        page.sample("fulcrum_stage_examples_per_second", &[("stage", stage)], *rate);
    }
    page.metric("fulcrum_training_loss", "gauge", "The latest loss of a running training.");
    for stage in running().filter(|stage| stage.kind == "train" && stage.loss != 0.0) {
        page.sample("fulcrum_training_loss", &[("stage", &stage.name)], stage.loss);
    }
    page.metric("fulcrum_stage_attempts", "gauge", "How often a stage was begun.");
    for stage in status.stages.iter().filter(|stage| stage.attempts > 0) {
        page.sample("fulcrum_stage_attempts", &[("stage", &stage.name)], stage.attempts.into());
    }
    page.metric("fulcrum_worker_up", "gauge", "Whether a worker is heard of.");
    for worker in &status.workers {
        let labels = [("worker", worker.worker.as_str()), ("host", &worker.host), ("state", &worker.state)];
        page.sample("fulcrum_worker_up", &labels, f64::from(worker.state != "lost"));
    }
    page.metric("fulcrum_worker_heard_seconds", "gauge", "Since a worker was last heard of.");
    for worker in &status.workers {
        page.sample(
            "fulcrum_worker_heard_seconds",
            &[("worker", &worker.worker)],
            worker.heard_ms as f64 / 1e3,
        );
    }
    page.metric("fulcrum_invariant_violations_total", "counter", "Invariants that did not hold: bugs.");
    for violation in &status.violations {
        page.sample(
            "fulcrum_invariant_violations_total",
            &[("invariant", &violation.name)],
            violation.count as f64,
        );
    }
    page.0
}

/// A page in the making.
struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes any text");
    }
}

/// A label's value, as the format has it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fulcrum_common::protocol::{StageStatus, StatusReply, WorkerStatus};

    use super::*;

    #[test]
    fn a_run_is_told_in_the_format_of_prometheus() {
        let stage = StageStatus {
            name: "weak \"s\"".into(),
            kind: "train".into(),
            state: "running".into(),
            done: 64,
            total: 128,
            loss: 0.25,
            attempts: 2,
            ..Default::default()
        };
        let worker = WorkerStatus {
            worker: "w0".into(),
            host: "a".into(),
            state: "lost".into(),
            heard_ms: 2500,
            ..Default::default()
        };
        let status = StatusReply {
            run: "r".into(),
            phase: "running".into(),
            stages: vec![stage],
            workers: vec![worker],
            ..Default::default()
        };
        let mut sight = Sight::default();
        sight.update(status, Duration::ZERO);
        let page = metrics(&sight);
        for line in [
            "# TYPE fulcrum_training_loss gauge",
            "fulcrum_run_info{run=\"r\",phase=\"running\"} 1",
            "fulcrum_stages{state=\"running\"} 1",
            "fulcrum_stages{state=\"done\"} 0",
            "fulcrum_training_loss{stage=\"weak \\\"s\\\"\"} 0.25",
            "fulcrum_stage_examples_done{stage=\"weak \\\"s\\\"\",kind=\"train\"} 64",
            "fulcrum_worker_up{worker=\"w0\",host=\"a\",state=\"lost\"} 0",
            "fulcrum_worker_heard_seconds{worker=\"w0\"} 2.5",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line}\n{page}");
        }
    }
}
