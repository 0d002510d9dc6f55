//! A folder with the program in it, a worker of the test's choice beside it, and an experiment.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod outcome;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A small experiment that needs nothing from outside.
pub(crate) const EXPERIMENT: &str = r#"
name   = "tiny"
recipe = "weak-to-strong"

[task]
source = "builtin:arithmetic"
split  = { ground_truth = 40, weak_labels = 40, test = 20 }

[[model]]
name    = "small"
layers  = 1
hidden  = 8
heads   = 2
context = 32

[[model]]
name    = "large"
layers  = 2
hidden  = 16
heads   = 2
context = 32

[pretrain]
rows = 64

[methods]
run = ["naive"]
"#;

/// Nothing in these tests takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// How a command ended.
pub(crate) struct Done {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Place {
    /// A folder with the experiment and no worker.
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.write("tiny.toml", EXPERIMENT);
        let program = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
        if fs::hard_link(program, place.at("fulcrum")).is_err() {
            fs::copy(program, place.at("fulcrum")).unwrap();
        }
        place
    }

    /// A folder whose workers are this shell script.
    pub(crate) fn with_worker(script: &str) -> Self {
        let place = Self::new();
        place.program("fulcrum-worker", script);
        place
    }

    /// A shell script. Those in `bin` are found before those of the machine.
    pub(crate) fn program(&self, path: &str, script: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Runs the program to its end with other environment variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Done {
        done(self.command(args).envs(variables.iter().copied()).output().unwrap())
    }

    /// The program, to be run in the folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.at("fulcrum"));
        command.args(args).current_dir(self.folder.path()).env_remove("FULCRUM_DATA");
        command.env("FULCRUM_CACHE", self.at("cache"));
        for name in ["HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.at("huggingface")).env("HF_HUB_OFFLINE", "1");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.at("bin").display()));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        done(self.command(args).output().unwrap())
    }

    /// Starts the program.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Waits for a started program.
pub(crate) fn finish(child: Child) -> Done {
    done(child.wait_with_output().unwrap())
}

fn done(output: Output) -> Done {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Waits until `found` finds something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = found() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}")
}

/// Whether a process runs: one that has ended and was not yet reaped does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The process id that a script or a coordinator left in a file.
pub(crate) fn pid_in(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    let digits = text.rsplit("pid").next()?;
    digits.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
}
