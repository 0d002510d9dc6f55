//! Ten thousand histories of a run in which things go wrong: `cargo xtask simulate [--seeds N] [--seed S]`. Fails if one
//! did not keep every invariant, and says how to see that one again.

use std::{panic, process::ExitCode, time::Instant};

use fulcrum_tests::simulation::{self, Report};

const USAGE: &str = "simulate [--seeds N] [--from SEED], or simulate --seed SEED";

/// Failures that are shown; more of them say no more.
const SHOWN: usize = 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, usual: u64| match words.iter().position(|word| word == name) {
        Some(place) => words.get(place + 1).and_then(|word| word.parse().ok()),
        None => Some(usual),
    };
    let (Some(seed), Some(seeds), Some(from)) =
        (number("--seed", u64::MAX), number("--seeds", 10_000), number("--from", 0))
    else {
        eprintln!("error: {USAGE}");
        return ExitCode::from(2);
    };
    if seed != u64::MAX {
        print(&simulation::run(seed, true), 1);
        return ExitCode::SUCCESS;
    }
    // What is wrong is told in one line, with its seed.
    panic::set_hook(Box::new(|_| {}));
    let (began, mut whole, mut failures) = (Instant::now(), Report::default(), 0);
    for seed in from..from.saturating_add(seeds) {
        match simulation::attempt(seed) {
            Ok(report) => whole.add(&report),
            Err(message) => {
                failures += 1;
                if failures <= SHOWN {
                    eprintln!("{message}");
                }
            }
        }
    }
    print(&whole, seeds);
    println!("\n{failures} of {seeds} seeds failed, {:.1} s", began.elapsed().as_secs_f64());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &Report, seeds: u64) {
    println!("| in {seeds} histories | count |\n|---|---:|");
    let counts = [
        ("simulated seconds", report.ms / 1_000),
        ("happenings", report.happenings),
        ("decisions", report.decisions),
        ("epochs", report.epochs),
        ("artifacts committed", report.artifacts),
        ("checkpoints committed", report.checkpoints),
        ("trainings that went on from a checkpoint", report.resumed),
        ("shards leased to a second worker", report.copies),
        ("runs begun", report.runs),
    ];
    let ends = report.ends.iter().map(|(end, count)| (end.as_str(), *count));
    let mishaps = report.mishaps.iter().map(|(kind, count)| (*kind, *count));
    for (word, count) in counts.into_iter().chain(ends).chain(mishaps) {
        println!("| {word} | {count} |");
    }
}
