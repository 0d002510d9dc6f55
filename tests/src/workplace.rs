//! A folder to run the real programs in, and what a run leaves there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::binaries;

/// Small enough for seconds, large enough to have a middle: pretraining takes some hundred steps.
pub const EXPERIMENT: &str = r#"
name   = "tiny"
recipe = "weak-to-strong"

[task]
source = "builtin:arithmetic"
split  = { ground_truth = 160, weak_labels = 160, validation = 20, test = 100 }

[[model]]
name    = "small"
layers  = 1
hidden  = 16
heads   = 2
context = 16

[[model]]
name    = "large"
layers  = 2
hidden  = 32
heads   = 4
context = 16

[pretrain]
rows        = 6000
batch       = 32
micro_batch = 16

[methods]
run = ["naive", "confidence"]

[train]
batch       = 32
micro_batch = 8

[checkpoint]
steps = 20
"#;

/// Every file of every artifact that a run leaves, by stage and name.
pub type Left = BTreeMap<(String, String), Vec<u8>>;

/// The folder, with an experiment in it. It goes when this is dropped.
#[derive(Debug)]
pub struct Workplace {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Workplace {
    /// A folder with the experiment in `NAME.toml`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn new(name: &'static str, experiment: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder"), name };
        fs::write(place.experiment(), experiment).expect("a temporary folder can be written");
        place
    }

    /// The experiment's file.
    pub fn experiment(&self) -> PathBuf {
        self.at(&format!("{}.toml", self.name))
    }

    /// A path in the folder.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The command line, to be run in the folder, without what the surroundings would tell it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&binaries().fulcrum);
        command.args(arguments).current_dir(self.folder.path());
        command.env_remove("FULCRUM_DATA").env_remove("LD_LIBRARY_PATH");
        command
    }

    /// What the committed artifacts in the store are. What cannot be read counts as empty.
    pub fn artifacts(&self) -> Left {
        let mut left = Left::new();
        for artifact in entries(&self.at("fulcrum-store/artifacts")) {
            let Ok(text) = fs::read_to_string(artifact.join("manifest.json")) else { continue };
            let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for file in manifest["files"].as_array().into_iter().flatten() {
                let bytes = fs::read(self.at("fulcrum-store").join(text(&file["path"]))).unwrap_or_default();
                left.insert((text(&manifest["name"]), text(&file["name"])), bytes);
            }
        }
        left
    }

    /// The logs of the run, for a message.
    pub fn logs(&self) -> String {
        let read =
            |path: PathBuf| format!("{}:\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
        let folder = self.at(&format!("runs/{}/logs", self.name));
        entries(&folder).into_iter().map(read).collect::<Vec<_>>().join("\n")
    }
}

/// What lies in a folder, sorted; nothing where that is not there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

/// How a program ended: its exit code, or its signal below zero.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| -signal)).unwrap_or_default()
}

/// Waits for a started program; its exit code, or its signal below zero. None, and it is killed, where it takes too long.
///
/// # Panics
/// If it is not a child of this process.
pub fn finish(mut child: Child, patience: Duration) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(code(status));
        }
        if began.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
