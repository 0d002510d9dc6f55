//! The screen as it is seen, on terminals of several sizes.

use std::time::Duration;

use fulcrum_common::protocol::{Flight, StageStatus, StatusReply, WorkerStatus};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    choice::{Choice, Cover, List},
    draw::draw,
    view::View,
};
use crate::watch::Sight;

fn stage(name: &str, kind: &str, state: &str) -> StageStatus {
    let (name, kind, state) = (name.to_owned(), kind.to_owned(), state.to_owned());
    StageStatus { key: name.clone(), name, kind, state, total: 1000, attempts: 1, ..StageStatus::default() }
}

fn worker(name: &str, state: &str) -> WorkerStatus {
    WorkerStatus {
        worker: name.into(),
        state: state.into(),
        host: "node7".into(),
        device: "cuda:0".into(),
        heard_ms: 120,
        ..WorkerStatus::default()
    }
}

fn reply(done: u64, loss: f64) -> StatusReply {
    let trains = StageStatus { done, loss, ..stage("weak small seed 0", "train", "running") };
    let flight = Some(Flight { doing: "forward".into(), ..Flight::default() });
    let works =
        WorkerStatus { stage: trains.name.clone(), world: 2, rank: 1, flight, ..worker("w0", "working") };
    StatusReply {
        run: "tiny".into(),
        phase: "running".into(),
        stages: vec![
            stage("dataset", "prepare", "done"),
            trains,
            stage("student naive small>large seed 0", "train", "waiting"),
        ],
        workers: vec![works, worker("w1", "lost")],
        ..StatusReply::default()
    }
}

/// A run that was looked at for ten seconds.
fn sight() -> Sight {
    let mut sight = Sight::default();
    for second in 0..11 {
        let loss = 0.7 - 0.04 * second as f64;
        sight.update(reply(second * 40, loss), Duration::from_secs(second));
    }
    sight
}

/// What stands on a screen of that size, line by line.
fn screen(sight: &Sight, choice: &Choice, log: &str, size: (u16, u16)) -> Vec<String> {
    screen_with(sight, choice, log, &[], size)
}

/// The same with losses out of the store.
fn screen_with(
    sight: &Sight,
    choice: &Choice,
    log: &str,
    losses: &[(u64, f64)],
    (width, height): (u16, u16),
) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(&View::new(sight, choice, log, losses), frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(width).max(1));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

fn line_with<'a>(lines: &'a [String], text: &str) -> &'a str {
    lines
        .iter()
        .find(|line| line.contains(text))
        .unwrap_or_else(|| panic!("no {text:?}\n{}", lines.join("\n")))
}

#[test]
fn a_wide_terminal_shows_everything() {
    let lines = screen(&sight(), &Choice::default(), "one\ntwo\n", (130, 40));
    assert_eq!(lines[0], "tiny  running, 1 of 3 stages made, 1 worker");
    let trains = line_with(&lines, "› weak small seed 0");
    for part in ["━━━━━━──────────", "40 %", "40.0/s", "0:15", "0.3000"] {
        assert!(trains.contains(part), "no {part:?} in {trains:?}");
    }
    let works = line_with(&lines, "  w0");
    for part in ["working", "cuda:0", "node7", "weak small seed 0, rank 1 of 2", "forward", "0.1 s"] {
        assert!(works.contains(part), "no {part:?} in {works:?}");
    }
    line_with(&lines, "loss of weak small seed 0: 0.7000 to 0.3000, at best 0.3000");
    let curve: Vec<_> = lines.iter().filter(|line| line.starts_with('█')).map(String::len).collect();
    assert!(curve.len() == 3 && curve.is_sorted(), "it does not fall: {curve:?}");
    line_with(&lines, "log of coordinator");
    assert!(lines.iter().any(|line| line == "two"), "{}", lines.join("\n"));
    let place = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(place("weak small") < place("student naive") && place("student naive") < place("dataset"));
}

#[test]
fn a_usual_terminal_shows_what_runs_who_works_the_loss_and_the_log() {
    let log: String = (0..50).map(|n| format!("line {n}\n")).collect();
    let lines = screen(&sight(), &Choice::default(), &log, (80, 24));
    assert!(line_with(&lines, "weak small seed 0").contains("40 %"));
    assert!(line_with(&lines, "  w1").contains("lost"));
    line_with(&lines, "loss of weak small seed 0");
    line_with(&lines, "line 49");
    assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
}

#[test]
fn a_tiny_terminal_shows_the_stages_and_the_workers() {
    let lines = screen(&sight(), &Choice::default(), "x", (40, 10));
    assert!(line_with(&lines, "weak small seed 0").ends_with("40 %"));
    assert!(line_with(&lines, "  w0").contains("working"));
    assert!(!lines.iter().any(|line| line.contains("log of")));
}

#[test]
fn no_size_is_too_small() {
    let mut sight = sight();
    sight.status.reason = "weak small seed 0 waits for w1 ".repeat(9);
    for width in 0..60 {
        for height in 0..30 {
            for cover in [Cover::Nothing, Cover::Log, Cover::Help] {
                let choice = Choice { cover, ..Choice::default() };
                screen(&sight, &choice, "x\ny", (width, height));
            }
        }
    }
}

#[test]
fn a_run_that_is_over_and_one_without_workers_say_so() {
    let mut over = Sight::default();
    let stages = vec![stage("dataset", "prepare", "done"), stage("weak", "train", "done")];
    let (run, phase, reason) = ("tiny".into(), "done".into(), "every stage is in the store".into());
    over.update(StatusReply { run, phase, reason, stages, ..StatusReply::default() }, Duration::ZERO);
    let choice = Choice { stage_name: Some("weak".into()), ..Choice::default() };
    let lines = screen(&over, &choice, "", (80, 24));
    assert_eq!(lines[0], "tiny  done, 2 of 2 stages made, 0 workers");
    line_with(&lines, "every stage is in the store");
    line_with(&lines, "loss of weak: none was seen since this began to look");
    line_with(&lines, "workers, 0");
    line_with(&lines, "there is none, or nothing in it");

    let kept = screen_with(&over, &choice, "", &[(0, 0.7), (1, 0.4)], (80, 24));
    line_with(&kept, "loss of weak: 0.7000 to 0.4000, at best 0.4000");

    let mut alone = Sight::default();
    alone.update(StatusReply { workers: vec![], ..reply(0, 0.0) }, Duration::ZERO);
    line_with(&screen(&alone, &Choice::default(), "", (80, 24)), "0 workers");
    line_with(&screen(&Sight::default(), &Choice::default(), "", (80, 24)), "stages, 0 running");
}

#[test]
fn failures_and_long_waits_are_told() {
    let mut status = reply(0, 0.0);
    status.stages[2].state = "failed".into();
    status.stages[2].message = "no luck".into();
    status.reason = "2 workers are needed".into();
    let mut sight = Sight::default();
    sight.update(status, Duration::ZERO);
    let lines = screen(&sight, &Choice::default(), "", (100, 30));
    line_with(&lines, "2 workers are needed");
    line_with(&lines, "student naive small>large seed 0: no luck");
}

#[test]
fn long_names_keep_their_ends_and_the_numbers_their_columns() {
    let mut sight = sight();
    let long = format!("student {} seed 7", "confidence ".repeat(20));
    for stage in &mut sight.status.stages {
        stage.name = long.clone();
    }
    sight.running[0].name = long.clone();
    sight.status.run = "r".repeat(300);
    for width in [40, 80, 130] {
        let lines = screen(&sight, &Choice::default(), "", (width, 30));
        let row = line_with(&lines, "› student");
        assert!(row.contains("…") && row.contains("seed 7") && row.contains("40 %"), "{row}");
        assert!(lines[0].contains("  running"), "{}", lines[0]);
    }
}

#[test]
fn nothing_that_a_terminal_would_obey_is_drawn() {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
    let mut status = reply(100, 0.5);
    status.run = evil.into();
    status.reason = evil.into();
    for stage in &mut status.stages {
        (stage.name, stage.message, stage.state) = (evil.into(), evil.into(), "failed".into());
    }
    for worker in &mut status.workers {
        (worker.worker, worker.host, worker.device) = (evil.into(), evil.into(), evil.into());
    }
    let mut sight = Sight::default();
    sight.update(status, Duration::ZERO);
    for cover in [Cover::Nothing, Cover::Log] {
        let choice = Choice { cover, worker: Some(evil.into()), ..Choice::default() };
        let text = screen(&sight, &choice, evil, (130, 40)).join("\n");
        assert!(text.contains("·]0;owned··[2J·31m·"), "{text}");
        assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
    }
}

#[test]
fn a_chosen_row_stays_in_sight_and_its_log_is_the_chosen_workers() {
    let mut sight = Sight::default();
    let stages = (0..200).map(|n| stage(&format!("stage {n}"), "infer", "waiting")).collect();
    let workers = (0..100).map(|n| worker(&format!("w{n}"), "idle")).collect();
    sight.update(StatusReply { stages, workers, ..StatusReply::default() }, Duration::ZERO);
    let choice = Choice {
        stage_name: Some("stage 150".into()),
        worker: Some("w77".into()),
        list: List::Workers,
        cover: Cover::Nothing,
    };
    let lines = screen(&sight, &choice, "hello", (100, 30));
    line_with(&lines, "› stage 150");
    line_with(&lines, "› w77");
    line_with(&lines, "log of w77");
    let whole = screen(&sight, &Choice { cover: Cover::Log, ..choice }, "hello", (100, 30));
    assert!(!whole.iter().any(|line| line.contains("stage 150")) && whole[2] == "hello", "{whole:?}");
}
