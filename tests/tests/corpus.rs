//! The corpus of the fuzz targets (tests/fuzz), and seeded changes of it, through the same functions on any compiler.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets are another crate's")]
mod targets;

use fulcrum_common::rng::Rng;

/// Changes of each file.
const CHANGES: u64 = 300;

/// A target, by the name of its corpus.
type Target = (&'static str, fn(&[u8]) -> bool);

const TARGETS: [Target; 3] =
    [("header", targets::header), ("index", targets::index), ("experiment", targets::experiment)];

/// The files of a corpus by name, in order.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fulcrum_tests::repository().join("tests/fuzz/corpus").join(target);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = paths.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_is_read_or_refused_as_its_names_say() {
    for (target, run) in TARGETS {
        let files = corpus(target);
        assert!(files.iter().any(|(name, _)| name.starts_with("good-")), "{target}");
        for (name, bytes) in files {
            let good = match name.split_once('-') {
                Some(("good", _)) => true,
                Some(("bad", _)) => false,
                _ => panic!("{target}/{name} begins with neither good- nor bad-"),
            };
            assert_eq!(run(&bytes), good, "{target}/{name}");
        }
    }
}

#[test]
fn no_change_of_the_corpus_breaks_a_reader() {
    for (target, run) in TARGETS {
        let mut passed = 0;
        for (at, (_, bytes)) in corpus(target).iter().enumerate() {
            for change in 0..CHANGES {
                let mut rng = Rng::new(at as u64, target, change);
                passed += u64::from(run(&changed(bytes, &mut rng)));
            }
        }
        assert!(passed > 0, "every change of {target} is refused: nothing deep is reached");
    }
}

/// A copy with one to four changes, as fuzzers make them.
fn changed(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    /// Bytes that mean something to some reader.
    const TELLING: &[u8] = b"\0\x01\x7f\x80\xff/\\.\"{}[]:,-+e0189=\n";
    let mut bytes = bytes.to_owned();
    for _ in 0..=rng.below(4) {
        let at = rng.index(bytes.len() + 1);
        let length = rng.index(16).min(bytes.len() - at);
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => bytes.insert(at, TELLING[rng.index(TELLING.len())]),
            3 => {
                let again = bytes[at..at + length].to_owned();
                bytes.splice(at..at, again);
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ if at < bytes.len() => bytes[at] = TELLING[rng.index(TELLING.len())],
            _ => bytes.push(0),
        }
    }
    bytes
}
