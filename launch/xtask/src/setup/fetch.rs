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

use anyhow::{Context, Result, bail, ensure};
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
    let rest = |wheel: &&Wheel| wheel.pin(machine).bytes.saturating_sub(length(part_of(&wheel.file(machine))));
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

fn fetch_one(wheel: &Wheel, machine: Machine, folder: &Path, origins: &BTreeMap<String, Origin>) -> Result<()> {
    let (file, pin) = (wheel.file(machine), wheel.pin(machine));
    let part = folder.join(part_of(&file));
    let direct = match origins.get(wheel.name) {
        Some(origin) => {
            origin.expect(pin.sha256).with_context(|| wheel.requirement())?;
            download(&origin.url, &part, pin.bytes, &wheel.requirement())
        }
        None => bail!("pip found nothing for {}", wheel.requirement()),
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
    python.args(["-c", include_str!("fetch.py")]).arg(part).env_remove("LD_LIBRARY_PATH");
    let mut child = python
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {PYTHON}"))?;
    let order = serde_json::json!({ "url": url, "bytes": bytes }).to_string();
    child.stdin.take().expect("standard input is piped").write_all(order.as_bytes())?;
    let progress = Progress::new(label, bytes);
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
