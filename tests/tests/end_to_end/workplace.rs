//! A folder to run the real programs in, and what tests ask of a run there.

use std::{
    collections::BTreeMap,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub(crate) use fulcrum_tests::workplace::EXPERIMENT;
use fulcrum_tests::workplace::{self, entries};
use serde_json::{Value, json};

/// Nothing here takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The folder, with the experiment in it.
pub(crate) struct Workplace(fulcrum_tests::workplace::Workplace);

impl Deref for Workplace {
    type Target = fulcrum_tests::workplace::Workplace;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self(fulcrum_tests::workplace::Workplace::new("tiny", EXPERIMENT))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Runs the command line to its end; how it ended is the test's business.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the command line to its good end and returns what it printed.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{args:?}: {}\n{}", text(&output.stderr), self.logs());
        text(&output.stdout)
    }

    /// A gpt2 of two layers with random weights, and a tokenizer that reads printable characters one by one: it takes
    /// 24 tokens, ` ` is token 2 and `~` the last.
    pub(crate) fn tiny_model(&self, name: &str) {
        let folder = self.at(name);
        fs::create_dir(&folder).unwrap();
        let fixture = fulcrum_tests::repository().join("worker/models/tests/fixtures/gpt2-language-model");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixture.join(file), folder.join(file)).unwrap();
        }
        let tokens =
            ["<pad>".to_owned(), "<end>".to_owned()].into_iter().chain((' '..='~').map(String::from));
        let vocabulary: BTreeMap<String, usize> = tokens.zip(0..).collect();
        let tokenizer = json!({
            "version": "1.0", "added_tokens": [], "decoder": {"type": "Fuse"},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        });
        fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    }

    /// Starts the command line; what it prints is kept.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts `fulcrum run` on the experiment with two workers.
    pub(crate) fn start(&self) -> Child {
        let mut command = self.command(&["run", "tiny.toml", "--workers", "2"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until a training of the run can go on from a checkpoint that came after another.
    pub(crate) fn has_checkpoints(&self) -> PathBuf {
        let patience = Instant::now();
        loop {
            assert!(patience.elapsed() < PATIENCE, "no checkpoint came\n{}", self.logs());
            for stage in folders(&self.at("fulcrum-store/training")) {
                let whole = |folder: &PathBuf| folder.join("checkpoint.json").is_file();
                if folders(&stage).iter().filter(|folder| whole(folder)).count() > 1 {
                    return stage;
                }
            }
        }
    }

    /// The whole checkpoints of a stage, the oldest first.
    pub(crate) fn checkpoints(&self, stage: &Path) -> Vec<PathBuf> {
        let age = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let (epoch, step) = name.split_once('-').unwrap();
            (step.parse::<u64>().unwrap(), epoch.parse::<u64>().unwrap())
        };
        let mut found = folders(stage);
        found.retain(|folder| folder.join("checkpoint.json").is_file());
        found.sort_by_key(age);
        found
    }

    /// What `fulcrum status --json` says, once there is a run.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = self.run(&["status", "tiny", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Asks for the status until it shows a stage of `kind` that has passed `examples` and has not ended.
    pub(crate) fn in_the_middle_of(&self, kind: &str, examples: u64) -> Value {
        let patience = Instant::now();
        loop {
            assert!(
                patience.elapsed() < PATIENCE,
                "no {kind} stage got to {examples} examples\n{}",
                self.logs()
            );
            let Some(status) = self.status() else { continue };
            let running = |stage: &Value| {
                let done = stage["done"].as_u64().unwrap();
                stage["kind"] == kind && stage["state"] == "running" && done >= examples
            };
            if status["phase"] == "running" && status["stages"].as_array().unwrap().iter().any(running) {
                return status;
            }
        }
    }

    /// Assignments that the run's journal says did not come to their good end.
    pub(crate) fn lost_attempts(&self) -> i64 {
        let journal = rusqlite::Connection::open(self.at("runs/tiny/journal.sqlite")).unwrap();
        let count = "SELECT count(*) FROM epochs WHERE outcome IN ('aborted', 'lost', 'failed')";
        journal.query_row(count, [], |row| row.get(0)).unwrap()
    }
}

/// The folders in a folder; none where that is not there.
pub(crate) fn folders(path: &Path) -> Vec<PathBuf> {
    let mut found = entries(path);
    found.retain(|path| path.is_dir());
    found
}

/// Waits for a started run; how it ended.
pub(crate) fn finish(run: Child) -> Option<i32> {
    let ended = workplace::finish(run, PATIENCE);
    assert!(ended.is_some(), "the run did not end");
    ended
}

/// Sends a signal by name.
pub(crate) fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// Process number of a worker in a status.
pub(crate) fn pid_of(status: &Value, worker: &str) -> u64 {
    let workers = status["workers"].as_array().unwrap();
    let found = workers.iter().find(|one| one["worker"] == worker).unwrap();
    found["pid"].as_u64().unwrap()
}

/// Weights, labels, metrics: every file of every artifact.
pub(crate) fn same(disturbed: &Workplace, undisturbed: &Workplace) {
    let (left, right) = (disturbed.artifacts(), undisturbed.artifacts());
    let names = |files: &BTreeMap<(String, String), Vec<u8>>| {
        files.keys().map(|(stage, file)| format!("{stage}: {file}")).collect::<Vec<_>>()
    };
    assert_eq!(names(&left), names(&right));
    for (name, bytes) in &left {
        assert!(*bytes == right[name], "{name:?} has other bytes");
    }
    let results = |place: &Workplace| place.read("runs/tiny/results.json");
    assert_eq!(results(disturbed), results(undisturbed));
}
