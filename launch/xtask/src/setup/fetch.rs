//! Brings wheels into a folder of wheels: kept ones are used, half-fetched ones continued, all are checked.
//!
//! pip decides where a wheel comes from, so that the user's index, mirror and proxy are honoured; a few lines
//! of Python fetch it, because pip starts a broken download of 530 MB from its beginning. Where
//! those lines fail (an index behind a password, say), pip fetches the wheel itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::pip::{self, Origin};
use super::progress::Progress;
use super::wheels::{Machine, Pin, Wheel};
use crate::tools::PYTHON;

const POLL: Duration = Duration::from_millis(100);

/// The wheels that are not in the folder yet, and how many bytes of them are missing.
pub(crate) struct Missing {
    pub(crate) wheels: Vec<&'static Wheel>,
    pub(crate) bytes: u64,
}

/// Looks what is kept. Lengths decide here; hashes are checked before a wheel is used.
pub(crate) fn missing(wheels: &[&'static Wheel], machine: Machine, folder: &Path) -> Missing {
    let length = |name: String| fs::metadata(folder.join(name)).map_or(0, |data| data.len());
    let lacks = |wheel: &&&Wheel| length(wheel.file(machine)) != wheel.pin(machine).bytes;
    let wheels: Vec<_> = wheels.iter().filter(lacks).copied().collect();
    let rest =
        |wheel: &&Wheel| wheel.pin(machine).bytes.saturating_sub(length(part_of(&wheel.file(machine))));
    Missing { bytes: wheels.iter().map(rest).sum(), wheels }
}

/// Fetches the missing wheels, then checks all of them, kept ones too.
///
/// # Errors
/// If pip does not find one, no way of fetching works, or a hash is not the pinned one (the file is then
/// removed, so that the next call fetches it again).
pub(crate) fn fetch(wheels: &[&'static Wheel], machine: Machine, folder: &Path) -> Result<()> {
    let missing = missing(wheels, machine, folder).wheels;
    if !missing.is_empty() {
        let origins = pip::resolve(&missing, machine)?;
        for wheel in missing {
            fetch_one(wheel, machine, folder, &origins)?;
        }
    }
    for wheel in wheels {
        verify(&folder.join(wheel.file(machine)), wheel.pin(machine))?;
    }
    Ok(())
}

fn fetch_one(
    wheel: &Wheel,
    machine: Machine,
    folder: &Path,
    origins: &BTreeMap<String, Origin>,
) -> Result<()> {
    let (file, pin) = (wheel.file(machine), wheel.pin(machine));
    let part = folder.join(part_of(&file));
    let direct = match origins.get(wheel.name) {
        Some(origin) => {
            origin.expect(pin.sha256).with_context(|| wheel.requirement())?;
            download(&origin.url, &part, pin.bytes, &wheel.requirement())
        }
        None => Err(anyhow!("this pip does not tell where it would take it from")),
    };
    if let Err(error) = direct {
        eprintln!("{}: {error:#}; asking pip to fetch it", wheel.requirement());
        pip::download(wheel, machine, folder, &part)?;
    }
    verify(&part, pin)?;
    fs::rename(&part, folder.join(file)).context("cannot name the fetched wheel")
}

/// Fetches an address into `part` with the Python lines, going on behind what is there.
///
/// # Errors
/// If the server refuses, or nothing more arrives after some attempts.
fn download(url: &str, part: &Path, bytes: u64, label: &str) -> Result<()> {
    let have = || fs::metadata(part).map_or(0, |data| data.len());
    if have() > bytes {
        fs::remove_file(part)?;
    }
    let mut python = Command::new(PYTHON);
    python.args(["-c", include_str!("fetch.py")]).arg(part);
    let mut child = python
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {PYTHON}"))?;
    let order = serde_json::json!({ "url": url, "bytes": bytes }).to_string();
    child.stdin.take().expect("standard input is piped").write_all(order.as_bytes())?;
    let progress = Progress::new(label, bytes, have());
    let status = loop {
        progress.at(have());
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(POLL),
        }
    };
    progress.end(have());
    let mut complaint = String::new();
    child.stderr.take().expect("standard error is piped").read_to_string(&mut complaint)?;
    ensure!(status.success(), "{}", complaint.trim().lines().last().unwrap_or("no message"));
    Ok(())
}

/// Compares a file with its pin, and removes it if it differs.
fn verify(file: &Path, pin: &Pin) -> Result<()> {
    let found = sha256(file)?;
    if found == pin.sha256 {
        return Ok(());
    }
    fs::remove_file(file)?;
    bail!(
        "hash mismatch: {} had the sha256 {found}, pinned is {}; the file is removed, so run this again, \
         and check pip's index (`pip config list`) if it comes back",
        file.display(),
        pin.sha256
    )
}

fn sha256(file: &Path) -> Result<String> {
    let mut reader = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match reader.read(&mut block).with_context(|| format!("cannot read {}", file.display()))? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&block[..read]),
        }
    }
}

fn part_of(file: &str) -> String {
    format!("{file}.part")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// What a server does with one request.
    #[derive(Clone, Copy)]
    enum Answer {
        Ranges,
        WholeFile,
        CutAfter(usize),
        NotFound,
    }

    /// Serves `content` once per answer, and returns its address and the start of each range that was asked for.
    fn serve(
        content: &'static [u8],
        answers: &'static [Answer],
    ) -> (String, std::thread::JoinHandle<Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a.whl", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            answers.iter().map(|answer| respond(listener.accept().unwrap().0, content, *answer)).collect()
        });
        (url, server)
    }

    fn respond(mut stream: TcpStream, content: &[u8], answer: Answer) -> usize {
        let lines =
            BufReader::new(stream.try_clone().unwrap()).lines().map(|line| line.unwrap().to_lowercase());
        let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let range =
            head.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
        let start = range.unwrap_or(0);
        let (status, sent) = match answer {
            Answer::NotFound => ("404 Not Found".to_owned(), &content[..0]),
            Answer::WholeFile => ("200 OK".to_owned(), content),
            _ if start == 0 => ("200 OK".to_owned(), content),
            _ => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                (format!("206 Partial Content\r\nContent-Range: {range}"), &content[start..])
            }
        };
        let body = if let Answer::CutAfter(bytes) = answer { &sent[..bytes] } else { sent };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", sent.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        start
    }

    /// Downloads with `kept` bytes in the part file; returns the outcome, the file, and the ranges asked for.
    fn check(kept: &[u8], answers: &'static [Answer]) -> (Result<()>, Vec<u8>, Vec<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("a.part");
        fs::write(&part, kept).unwrap();
        let (url, server) = serve(CONTENT, answers);
        let outcome = download(&url, &part, CONTENT.len() as u64, "a");
        (outcome, fs::read(&part).unwrap(), server.join().unwrap())
    }

    const CONTENT: &[u8] = b"the whole of the file";

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let cases: [(&[u8], &[Answer], &[usize]); 5] = [
            (b"", &[Answer::Ranges], &[0]),
            (b"the whole", &[Answer::Ranges], &[9]),
            (b"", &[Answer::CutAfter(4), Answer::CutAfter(6), Answer::Ranges], &[0, 4, 10]),
            (b"the whole", &[Answer::WholeFile], &[9]),
            (b"much more than there is of the file", &[Answer::Ranges], &[0]),
        ];
        for (kept, answers, asked) in cases {
            let (outcome, file, ranges) = check(kept, answers);
            outcome.unwrap();
            assert_eq!((file.as_slice(), ranges.as_slice()), (CONTENT, asked));
        }
    }

    #[test]
    fn a_refusal_is_told_at_once_and_keeps_what_is_there() {
        let (outcome, file, _) = check(b"the", &[Answer::NotFound]);
        assert_eq!(outcome.unwrap_err().to_string(), "HTTP Error 404: Not Found");
        assert_eq!(file, b"the");
    }

    #[test]
    fn a_wrong_hash_is_told_and_the_file_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.whl");
        let pin =
            Pin { bytes: 3, sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" };
        fs::write(&file, "abc").unwrap();
        verify(&file, &pin).unwrap();
        fs::write(&file, "abd").unwrap();
        let error = verify(&file, &pin).unwrap_err().to_string();
        assert!(error.contains("hash mismatch") && error.contains(pin.sha256), "{error}");
        assert!(!file.exists());
    }

    #[test]
    fn kept_wheels_and_parts_are_not_missing() {
        use super::super::wheels::{Set, wheels};
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::X86_64;
        let all: Vec<_> = wheels(Set::Cpu).collect();
        let [torch, runtime, _] = all[..] else { panic!("three wheels") };
        let file = |name: String, bytes: u64| {
            File::create(folder.path().join(name)).unwrap().set_len(bytes).unwrap()
        };
        file(runtime.file(machine), runtime.pin(machine).bytes);
        file(part_of(&torch.file(machine)), 1_000);
        let missing = missing(&all, machine, folder.path());
        assert_eq!(
            missing.wheels.iter().map(|wheel| wheel.name).collect::<Vec<_>>(),
            ["torch", "nvidia-cuda-cupti"]
        );
        assert_eq!(missing.bytes, torch.pin(machine).bytes - 1_000 + missing.wheels[1].pin(machine).bytes);
    }
}
