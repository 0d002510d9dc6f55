//! The tools of the machine that Fulcrum builds on: a C++ compiler, python3 and its pip.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The interpreter whose pip fetches the wheels.
pub(crate) const PYTHON: &str = "python3";

/// Checks for a C++ compiler, which the bindings of libtorch need.
///
/// # Errors
/// If there is none.
pub(crate) fn cxx() -> Result<()> {
    let named = std::env::var("CXX").ok().filter(|name| !name.is_empty());
    let candidates = match &named {
        Some(name) => vec![name.as_str()],
        None => vec!["c++", "g++"],
    };
    if candidates.iter().any(|name| answers(name, &["--version"])) {
        return Ok(());
    }
    bail!("no C++ compiler ({} not found): install g++, or set CXX", candidates.join(" or "))
}

/// Checks for python3 with pip.
///
/// # Errors
/// If one of them is missing.
pub(crate) fn pip() -> Result<()> {
    ensure!(python(), "no {PYTHON}: install it (with pip), or set LIBTORCH to a folder with torch 2.11");
    ensure!(
        answers(PYTHON, &["-m", "pip", "--version"]),
        "{PYTHON} has no pip: install it (apt-get install python3-pip), or set LIBTORCH to a folder with torch 2.11"
    );
    Ok(())
}

/// Is there a python3?
pub(crate) fn python() -> bool {
    answers(PYTHON, &["--version"])
}

/// Runs a Python program of a few lines and returns what it prints.
///
/// # Errors
/// If python3 cannot be started or the program fails; the message is the last line it wrote.
pub(crate) fn evaluate(program: &str, arguments: &[&str]) -> Result<String> {
    let mut python = Command::new(PYTHON);
    python.args(["-c", program]).args(arguments).stdin(Stdio::null());
    let output = python.output().with_context(|| format!("cannot start {PYTHON}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", complaint.trim().lines().last().unwrap_or("no message"));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Can this command be run, and does it succeed?
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_gives_its_last_line() {
        let error = evaluate("raise ValueError('it is raining')", &[]).unwrap_err().to_string();
        assert_eq!(error, "ValueError: it is raining");
    }

    #[test]
    fn a_program_reads_its_arguments() {
        assert_eq!(evaluate("import sys; print(sys.argv[1])", &["here"]).unwrap(), "here\n");
    }

    #[test]
    fn an_unknown_command_does_not_answer() {
        assert!(!answers("fulcrum-no-such-command", &[]));
    }
}
