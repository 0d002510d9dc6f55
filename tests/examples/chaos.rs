//! Every fault, one run each: `cargo xtask chaos [WORDS]`; or processes that are killed at random, run after run:
//! `cargo xtask chaos --random`. Prints tables in Markdown; fails if one run did not leave the bytes of the undisturbed one.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fulcrum_tests::{
    chaos::{self, Case, Outcome},
    soak::{Ended, Settings, soak},
};

/// Runs at a time: each has a coordinator, two workers, and waits most of its time.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--random", settings)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return at_random(settings);
    }
    let cases: Vec<Case> = chaos::matrix()
        .into_iter()
        .filter(|case| words.iter().all(|word| case.to_string().contains(word)))
        .collect();
    eprintln!("{} cases", cases.len());
    let expected = chaos::undisturbed();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { return };
                    let outcome = chaos::run(case, &expected);
                    let told = outcome.problem.as_deref().unwrap_or("same bytes");
                    eprintln!("{case}: {told}, {:.1} s", outcome.took.as_secs_f64());
                    outcomes.lock().unwrap_or_else(|error| error.into_inner()).insert(number, outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(|error| error.into_inner());
    report(&cases, &outcomes);
    if outcomes.values().any(|outcome| outcome.problem.is_some()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn report(cases: &[Case], outcomes: &BTreeMap<usize, Outcome>) {
    let same = outcomes.values().filter(|outcome| outcome.problem.is_none()).count();
    println!("{same} of {} cases left the same bytes\n", cases.len());
    println!("| fault | outcome | seconds |\n|---|---|---:|");
    for (number, outcome) in outcomes {
        let told = outcome.problem.as_deref().unwrap_or("same bytes").lines().next().unwrap_or_default();
        println!("| {} | {told} | {:.1} |", cases[*number], outcome.took.as_secs_f64());
    }
}

/// Minutes, mean seconds between two blows, and a seed, as `cargo xtask` gives them.
fn at_random(words: &[String]) -> ExitCode {
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok());
    let seed = words.get(2).and_then(|word| word.parse::<u64>().ok());
    let (Some(minutes), Some(mean), Some(seed)) = (number(0), number(1), seed) else {
        eprintln!("error: --random wants minutes, seconds and a seed: ask `cargo xtask chaos --random`");
        return ExitCode::from(2);
    };
    eprintln!("to replay: cargo xtask chaos --random --minutes {minutes} --mtbf {mean} --seed {seed}");
    let (length, mean) = (Duration::from_secs_f64(60.0 * minutes), Duration::from_secs_f64(mean));
    let all = soak(Settings { length, mean, seed }, &chaos::undisturbed(), |ended| {
        let told = ended.problem.as_deref().unwrap_or("same bytes");
        let blows: u32 = ended.blows.values().sum();
        eprintln!("run {}: {told}, {blows} blows, {:.1} s", ended.run, ended.took.as_secs_f64());
    });
    summary(&all);
    if all.iter().any(|ended| ended.problem.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn summary(all: &[Ended]) {
    let same = all.iter().filter(|ended| ended.problem.is_none()).count();
    let mut times: Vec<f64> = all.iter().map(|ended| ended.took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let (median, longest) = (times.get(times.len() / 2), times.last());
    let seconds = |time: Option<&f64>| time.copied().unwrap_or_default();
    println!("{same} of {} runs left the same bytes\n", all.len());
    println!("seconds to the end: {:.1} (median), {:.1} (longest)\n", seconds(median), seconds(longest));
    let mut blows = BTreeMap::<_, u32>::new();
    for (kind, count) in all.iter().flat_map(|ended| &ended.blows) {
        *blows.entry(*kind).or_default() += count;
    }
    println!("| blow | at | times |\n|---|---|---:|");
    for ((way, victim), count) in blows {
        println!("| {way} | {victim} | {count} |");
    }
}
