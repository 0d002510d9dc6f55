//! Checkpoints and artifacts on a disk that fills up, fails, forgets, tears and flips: what loads is what was saved, and
//! the newest of it that is left.
//!
//! A few hundred faults with every change; `cargo xtask storage` asks for ten thousand and prints what struck where.

mod artifacts;
mod trainings;

use std::{fs, path::Path, sync::Arc};

use fulcrum_common::{
    Key,
    rng::Rng,
    store::{
        File, Store,
        faulty::{Counts, Faults, Faulty},
    },
};
use tokio::runtime::Runtime;

/// Faults that strike where nobody asks for more.
const FEW: u64 = 300;

/// How likely one of a cycle's operations goes wrong.
const CHANCES: [f64; 4] = [0.01, 0.05, 0.1, 0.3];

/// A store on a disk that is at fault while it is told to be.
struct Scene {
    runtime: Runtime,
    folder: tempfile::TempDir,
    faults: Faults,
    rng: Rng,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { runtime, folder, faults: Faults::new(seed), rng: Rng::new(seed, "cycles", 0) }
    }

    /// As another process would open it.
    fn store(&self) -> Store {
        let root = self.folder.path().canonicalize().unwrap();
        Store::over(&root, |disk| Arc::new(Faulty::new(disk, &root, self.faults.clone()))).unwrap()
    }

    fn some_faults(&mut self) {
        self.faults.chance(CHANCES[self.rng.index(CHANCES.len())]);
    }

    fn no_faults(&self) {
        self.faults.chance(0.0);
    }

    /// Now and then one of these files is damaged where it lies.
    fn rot(&mut self, files: &[String]) {
        if !files.is_empty() && self.rng.chance(0.1) {
            let path = self.folder.path().join(&files[self.rng.index(files.len())]);
            if path.exists() {
                self.faults.rot(&path).unwrap();
            }
        }
    }
}

fn struck(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// Whether a file has the bytes that were put, as it lies on the disk.
fn is_intact(root: &Path, file: &File) -> bool {
    fs::read(root.join(&file.path)).is_ok_and(|bytes| Key::of(&bytes) == file.digest)
}

/// What is said of a failure names the file and says what to do.
fn is_helpful(message: &str) {
    let file = ["rank-", "checkpoint", "manifest", "data.bin", "training", "artifacts"];
    let remedy = ["make room", "the disk fails", "--repair", "an earlier checkpoint"];
    assert!(file.iter().any(|word| message.contains(word)), "no file: {message}");
    assert!(remedy.iter().any(|word| message.contains(word)), "no remedy: {message}");
    assert!(!message.contains('\n'), "{message}");
}

/// How many faults are asked for.
fn wanted() -> u64 {
    let said = std::env::var("FULCRUM_STORE_FAULTS").ok();
    said.map_or(FEW, |said| said.parse().expect("FULCRUM_STORE_FAULTS is a number"))
}

fn print(counts: &Counts, cycles: u64) {
    println!("{} faults in {cycles} cycles\n\n| where | what | faults |\n|---|---|---:|", struck(counts));
    for ((place, wrong), count) in counts {
        println!("| {place} | {wrong:?} | {count} |");
    }
}
