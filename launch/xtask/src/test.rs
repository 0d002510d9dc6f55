//! `cargo xtask test`: everything a change must pass, in timed sections.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{repository, setup, tools};

/// One part of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Section {
    /// Libtorch, for everything after
    Setup,
    /// rustfmt
    Format,
    /// The workspace's invariants, licences and duplicate dependencies; `cargo deny` too where it is installed
    Invariants,
    /// clippy on all targets, warnings denied
    Lint,
    /// Both binaries
    Build,
    /// Unit, conformance, parity and end-to-end tests, through the real binaries with two workers
    Tests,
}

/// The one feature that is not built unless it is asked for.
const TRACES: &str = "fulcrum/otel";

use Section::{Build, Format, Invariants, Lint, Setup, Tests};

impl Section {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn run(self) -> Result<()> {
        match self {
            Setup => setup::run(false, None),
            Format => cargo(&["fmt", "--all", "--", "--check"]),
            Invariants => invariants(),
            Lint => lint(&["--features", TRACES]).and_then(|()| lint(&[])),
            Build => cargo(repository::BUILD),
            Tests => tests(),
        }
    }

    /// Must this section pass before the others make sense?
    fn is_needed_by_the_rest(self) -> bool {
        matches!(self, Setup | Build)
    }
}

/// Runs the given sections, or all, and prints how long each took.
///
/// # Errors
/// If a section fails; the others are run all the same where they can be.
pub(crate) fn run(sections: &[Section]) -> Result<()> {
    let sections = in_order(sections);
    announce(&sections);
    tools::cxx()?;
    let mut results = Vec::new();
    for section in sections {
        println!("\n== {} ==", section.name());
        let start = Instant::now();
        let outcome = section.run();
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}");
        }
        results.push((section, start.elapsed(), outcome.is_ok()));
        if outcome.is_err() && section.is_needed_by_the_rest() {
            break;
        }
    }
    conclude(&results)
}

/// Each section once, in the usual order; all of them if none is named.
fn in_order(sections: &[Section]) -> Vec<Section> {
    let named = |section: &Section| sections.is_empty() || sections.contains(section);
    Section::value_variants().iter().copied().filter(named).collect()
}

fn announce(sections: &[Section]) {
    let names: Vec<_> = sections.iter().map(|section| section.name()).collect();
    println!(
        "test, in {} sections: {}\n\
         on two cores under 40 minutes from a fresh clone (545 MB from PyPI unless torch is installed) and about \
         15 when all is built;\n`cargo xtask test SECTION ...` runs some sections only",
        names.len(),
        names.join(", ")
    );
}

fn conclude(results: &[(Section, Duration, bool)]) -> Result<()> {
    println!();
    for (section, time, passed) in results {
        let verdict = if *passed { "passed" } else { "FAILED" };
        println!(
            "{:10} {verdict}  {:3} min {:02} s",
            section.name(),
            time.as_secs() / 60,
            time.as_secs() % 60
        );
    }
    let failed: Vec<_> = results.iter().filter(|result| !result.2).map(|result| result.0.name()).collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn invariants() -> Result<()> {
    cargo(&["test", "--workspace", "--test", "workspace", "--locked"])?;
    if repository::cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        // Advisories need a database from the network, so they are checked elsewhere.
        cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"])?;
    }
    Ok(())
}

/// With what is behind a feature and without it: only one package is looked at twice.
fn lint(features: &[&str]) -> Result<()> {
    let all = ["clippy", "--workspace", "--all-targets", "--locked"];
    cargo(&[&all[..], features, &["--", "--deny", "warnings"]].concat())
}

/// All as users build it, and then what they do not build.
fn tests() -> Result<()> {
    let all = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    let traces = ["test", "--workspace", "--locked", "--features", TRACES, "--bin", "fulcrum", "traces"];
    let traces = cargo(&traces);
    all.and(traces)
}

/// Cargo with one thread for each test's arithmetic, as the tests themselves run side by side.
fn cargo(arguments: &[&str]) -> Result<()> {
    repository::run(repository::cargo(arguments).env("OMP_NUM_THREADS", "1").env("RAYON_NUM_THREADS", "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_run_once_and_in_the_usual_order() {
        assert_eq!(in_order(&[Tests, Format, Tests]), [Format, Tests]);
        assert_eq!(in_order(&[]), [Setup, Format, Invariants, Lint, Build, Tests]);
    }

    #[test]
    fn one_failed_section_fails_the_gate_by_name() {
        let second = Duration::from_secs(1);
        conclude(&[(Format, second, true)]).unwrap();
        let error = conclude(&[(Format, second, false), (Lint, second, true)]).unwrap_err().to_string();
        assert_eq!(error, "failed: format");
    }
}
