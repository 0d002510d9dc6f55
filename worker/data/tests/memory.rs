//! A source of any size is split in memory that does not grow with it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::Command,
};

use fulcrum_common::{
    Key,
    plan::{Duplicates, FileDigest, Format, Source, SplitRule},
};
use fulcrum_data::prepare::Dataset;

const ROWS: usize = 6144;
/// Bytes of one text; all of them are 96 MiB.
const TEXT: usize = 16 << 10;
/// What a process may need beyond what it has before it begins; the tables written hold half of the texts.
const ALLOWED_KIB: u64 = 60 << 10;

/// Says to the process that it is the one whose memory is measured, and where the file lies.
const CHILD: &str = "FULCRUM_TEST_SPLIT_FOLDER";

#[test]
fn a_large_file_is_split_in_little_memory() {
    if let Ok(folder) = std::env::var(CHILD) {
        return split_and_measure(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["rows.jsonl", "rows.json"] {
        write(&folder.path().join(name), name.ends_with(".json"));
    }
    // A process of its own: the peak is that of the whole process, and other tests share this one.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_large_file_is_split_in_little_memory"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

/// Every row has another text that does not compress to nothing.
fn write(path: &Path, array: bool) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for row in 0..ROWS {
        let text: String =
            (0..TEXT / 8).map(|i| format!("{:07x} ", (row * 7_919 + i * 104_729) % (1 << 28))).collect();
        let label = ["right", "wrong"][row % 2];
        let (before, after) = match (array, row) {
            (false, _) => ("", ""),
            (true, 0) => ("[", ""),
            (true, row) if row + 1 == ROWS => (",", "]"),
            (true, _) => (",", ""),
        };
        writeln!(file, "{before}{{\"text\":\"{text}\",\"label\":\"{label}\"}}{after}").unwrap();
    }
    file.flush().unwrap();
}

fn split_and_measure(folder: &Path) {
    let rule = SplitRule {
        ground_truth: ROWS / 8,
        weak_labels: ROWS / 8,
        validation: 0,
        test: ROWS / 4,
        fresh: 0,
        balance: 0.55,
        duplicates: Duplicates::Report,
        levels: None,
        seed: 0,
    };
    let before = peak_kib();
    for name in ["rows.jsonl", "rows.json"] {
        let files = vec![FileDigest { name: name.to_owned(), digest: Key::of(b"") }];
        let (source, paths) = (Source::Files { files }, [folder.join(name)]);
        assert!(fs::metadata(&paths[0]).unwrap().len() as usize > ROWS * TEXT);
        let format = Format::arithmetic();
        let dataset = Dataset { source: &source, paths: &paths, format: &format };
        let manifest = dataset.split_into(folder, &rule, None).unwrap();
        assert_eq!(manifest.rows, ROWS);
    }
    let grown = peak_kib() - before;
    assert!(grown < ALLOWED_KIB, "the peak grew by {grown} KiB, {ALLOWED_KIB} are allowed");
}

/// The most memory that this process ever held.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
