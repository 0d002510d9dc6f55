//! Progress for programs: a line of JSON for each event. `docs/watching.md` describes the keys.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::Happening;

/// Version of the lines. A key that is added is no new version, one that goes or changes its meaning is.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    unix_ms: u64,
    run: &'a str,
    #[serde(flatten)]
    happening: &'a Happening,
}

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    out: W,
    run: String,
}

impl<W: Write> Lines<W> {
    /// Those of a run.
    pub(crate) fn new(out: W, run: &str) -> Self {
        Self { out, run: run.to_owned() }
    }

    /// Tells what was seen to happen at `unix`, which counts from the beginning of 1970.
    ///
    /// # Errors
    /// If the lines cannot be written.
    pub(crate) fn tell(&mut self, unix: Duration, happenings: &[Happening]) -> io::Result<()> {
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        for happening in happenings {
            let line = Line { v: VERSION, unix_ms, run: &self.run, happening };
            let mut text = serde_json::to_vec(&line)?;
            text.push(b'\n');
            self.out.write_all(&text)?;
        }
        self.out.flush()
    }
}

/// What the clock says.
pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fulcrum_common::protocol::{StageStatus, StatusReply, WorkerStatus};
    use serde_json::{Value, json};

    use super::*;
    use crate::progress::{End, Happenings};

    fn stage(state: &str, done: u64, attempts: u32) -> StageStatus {
        let (name, kind, state) = ("weak".to_owned(), "train".to_owned(), state.to_owned());
        let loss = if done > 0 { 0.5 } else { 0.0 };
        StageStatus {
            key: "k".into(),
            name,
            kind,
            state,
            done,
            total: 100,
            loss,
            attempts,
            ..Default::default()
        }
    }

    fn worker(incarnation: &str, state: &str) -> WorkerStatus {
        let (worker, host, device) = ("w0".into(), "node7".into(), "cpu".into());
        let (incarnation, state) = (incarnation.into(), state.into());
        WorkerStatus { worker, host, device, incarnation, state, pid: 7, ..Default::default() }
    }

    /// The lines of a run that is seen once a second, without what all have.
    fn lines(moments: Vec<(StageStatus, Vec<WorkerStatus>)>, end: Option<End<'_>>) -> Vec<Value> {
        let (mut lines, mut happenings) = (Lines::new(Vec::new(), "tiny"), Happenings::new(3));
        for (second, (stage, workers)) in moments.into_iter().enumerate() {
            let now = Duration::from_secs(second as u64);
            let reply = StatusReply { stages: vec![stage], workers, ..Default::default() };
            lines.tell(now, &happenings.update(now, &reply).happenings).unwrap();
        }
        if let Some(end) = end {
            lines.tell(Duration::from_secs(60), &happenings.end(end)).unwrap();
        }
        let text = String::from_utf8(lines.out).unwrap();
        let read = |line: &str| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let object = value.as_object_mut().unwrap();
            assert_eq!((object.remove("v"), object.remove("run")), (Some(json!(1)), Some(json!("tiny"))));
            assert!(object.remove("unix_ms").unwrap().is_u64());
            value
        };
        text.lines().map(read).collect()
    }

    #[test]
    fn a_run_is_told_from_its_beginning_to_its_end() {
        let w0 = || vec![worker("a", "working")];
        let moments = vec![
            (stage("ready", 0, 0), vec![]),
            (stage("running", 0, 1), w0()),
            (stage("running", 50, 1), w0()),
            (stage("running", 50, 1), w0()),
            (stage("done", 100, 1), w0()),
        ];
        let expected = json!([
            {"event": "run_began", "stages": 3, "made": 0},
            {"event": "worker_came", "worker": "w0", "host": "node7", "device": "cpu", "pid": 7},
            {"event": "stage_began", "stage": "weak", "kind": "train", "attempt": 1, "examples": 100},
            {"event": "stage_progress", "stage": "weak", "kind": "train", "done": 50, "examples": 100,
             "examples_per_second": 50.0, "seconds_left": 1.0, "loss": 0.5},
            {"event": "stage_done", "stage": "weak", "kind": "train", "seconds": 3.0},
            {"event": "run_done"},
        ]);
        assert_eq!(Value::from(lines(moments, Some(End::Done))), expected);
    }

    #[test]
    fn what_fails_is_told_with_whether_it_is_tried_again() {
        let failed = |state, message: &str| StageStatus { message: message.into(), ..stage(state, 0, 2) };
        let moments = vec![
            (failed("ready", "w0 lost"), vec![]),
            (failed("ready", "w0 lost"), vec![]),
            (failed("failed", "no luck"), vec![]),
            (failed("failed", "no luck"), vec![]),
        ];
        let expected = json!([
            {"event": "run_began", "stages": 3, "made": 0},
            {"event": "stage_failed", "stage": "weak", "kind": "train", "message": "w0 lost", "again": true},
            {"event": "stage_failed", "stage": "weak", "kind": "train", "message": "no luck", "again": false},
            {"event": "run_failed", "message": "no luck", "exit_code": 20},
        ]);
        assert_eq!(Value::from(lines(moments, Some(End::Failed("no luck", Some(20))))), expected);
    }

    #[test]
    fn workers_come_go_and_take_the_seats_of_others() {
        let idle = |workers| (stage("ready", 0, 0), workers);
        let moments = vec![
            idle(vec![worker("a", "idle")]),
            idle(vec![worker("a", "working")]),
            idle(vec![worker("b", "idle")]),
            idle(vec![worker("b", "lost")]),
            idle(vec![worker("b", "idle")]),
            idle(vec![]),
        ];
        let told = lines(moments, None);
        let words: Vec<_> = told[1..].iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(
            words,
            ["worker_came", "worker_went", "worker_came", "worker_went", "worker_came", "worker_went"]
        );
    }

    #[test]
    fn a_run_that_is_over_at_once_has_a_beginning_and_an_end() {
        let done = json!([{"event": "run_began", "stages": 3, "made": 3}, {"event": "run_done"}]);
        assert_eq!(Value::from(lines(vec![], Some(End::Done))), done);
        let stopped = lines(vec![], Some(End::Stopped("later")));
        assert_eq!(stopped[1], json!({"event": "run_stopped", "message": "later"}));
    }
}
