//! Every fault, one run each: `cargo xtask chaos [WORDS]`. Prints a table in Markdown; fails if one run did not leave the
//! bytes of the undisturbed one.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use fulcrum_tests::chaos::{self, Case, Outcome};

/// Runs at a time: each has a coordinator, two workers, and waits most of its time.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
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
