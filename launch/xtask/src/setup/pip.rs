//! pip, asked where the pinned wheels are, and for the wheels themselves where nothing else works.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::wheels::{Machine, Wheel};
use crate::tools::PYTHON;

/// Where pip would take a wheel from.
#[derive(Debug, PartialEq)]
pub(crate) struct Origin {
    pub(crate) url: String,
    sha256: Option<String>,
}

impl Origin {
    /// Refuses an origin that announces another file than the pinned one, before it is fetched.
    ///
    /// # Errors
    /// If the index tells a hash, and it is another.
    pub(crate) fn expect(&self, pinned: &str) -> Result<()> {
        match &self.sha256 {
            Some(told) if told != pinned => {
                bail!("hash mismatch: pip's index offers a file with the sha256 {told}, pinned is {pinned}")
            }
            _ => Ok(()),
        }
    }
}

/// Asks pip for the addresses of wheels, by name. Empty if this pip is too old to tell (before 23.0).
///
/// # Errors
/// If pip does not find them.
pub(crate) fn resolve(wheels: &[&Wheel], machine: Machine) -> Result<BTreeMap<String, Origin>> {
    let mut pip = pip(&["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"], machine);
    // Foreign platforms are only allowed with a target; a dry run writes nothing there.
    pip.args(["--target", "fulcrum-dry-run"]);
    pip.args(wheels.iter().map(|wheel| wheel.requirement()));
    let output = pip.output().with_context(|| format!("cannot start {PYTHON}"))?;
    if output.status.success() {
        return origins(&output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("no such option") {
        return Ok(BTreeMap::new());
    }
    bail!(
        "pip finds no {}: {}; check the network, the proxy (https_proxy) and pip's index (`pip config list`)",
        wheels.iter().map(|wheel| wheel.requirement()).collect::<Vec<_>>().join(", "),
        reason(&complaint)
    )
}

/// Lets pip fetch a wheel, which starts from the beginning, and moves it to `part`.
///
/// # Errors
/// If pip fails, or leaves anything but one file.
pub(crate) fn download(wheel: &Wheel, machine: Machine, folder: &Path, part: &Path) -> Result<()> {
    let aside = folder.join(format!("{}.pip", wheel.file(machine)));
    fs::create_dir_all(&aside)?;
    let mut pip = pip(&["download"], machine);
    pip.arg("--dest").arg(&aside).arg(wheel.requirement());
    let status = pip.stdin(Stdio::null()).status().with_context(|| format!("cannot start {PYTHON}"))?;
    ensure!(
        status.success(),
        "pip cannot fetch {} ({status}); check the network, the proxy (https_proxy) and pip's index (`pip config list`)",
        wheel.requirement()
    );
    let found: Vec<PathBuf> = fs::read_dir(&aside)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let [file] = &found[..] else { bail!("pip left {} files in {}, not one", found.len(), aside.display()) };
    fs::rename(file, part)?;
    fs::remove_dir(&aside).with_context(|| format!("cannot remove {}", aside.display()))
}

fn pip(verb: &[&str], machine: Machine) -> Command {
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip"]).args(verb).args(["--no-deps", "--only-binary", ":all:", "--retries", "2"]);
    // Which Python's wheel it is does not matter, as only its C++ files are used; but the hash must be known.
    pip.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]);
    for platform in machine.platforms() {
        pip.args(["--platform", &platform]);
    }
    pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").stdin(Stdio::null());
    pip
}

/// Reads pip's installation report (version 1).
fn origins(report: &[u8]) -> Result<BTreeMap<String, Origin>> {
    let report: Value = serde_json::from_slice(report).context("pip's report is not JSON")?;
    let items = report["install"].as_array().context("pip's report has no list `install`")?;
    let origin = |item: &Value| {
        let name = item["metadata"]["name"].as_str().context("pip's report names no package")?;
        let file = &item["download_info"];
        let url = file["url"].as_str().with_context(|| format!("pip's report has no address for {name}"))?;
        let sha256 = file["archive_info"]["hashes"]["sha256"].as_str().map(str::to_owned);
        Ok((name.to_lowercase().replace('_', "-"), Origin { url: url.to_owned(), sha256 }))
    };
    items.iter().map(origin).collect()
}

/// The line in which pip says why.
fn reason(complaint: &str) -> &str {
    let mut errors = complaint.lines().filter_map(|line| line.strip_prefix("ERROR: "));
    errors.next().or_else(|| complaint.lines().last()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_gives_addresses_by_normalized_name() {
        let report = br#"{"version": "1", "install": [
            {"download_info": {"url": "https://mirror/a.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
             "metadata": {"name": "Nvidia_NCCL-cu13", "version": "1"}},
            {"download_info": {"url": "file:///b.whl", "archive_info": {}}, "metadata": {"name": "torch"}}]}"#;
        let origins = origins(report).unwrap();
        let nccl = Origin { url: "https://mirror/a.whl".into(), sha256: Some("ab".into()) };
        assert_eq!(origins["nvidia-nccl-cu13"], nccl);
        assert_eq!(origins["torch"], Origin { url: "file:///b.whl".into(), sha256: None });
    }

    #[test]
    fn a_report_without_an_address_is_refused() {
        let error = origins(br#"{"install": [{"metadata": {"name": "torch"}}]}"#).unwrap_err().to_string();
        assert_eq!(error, "pip's report has no address for torch");
    }

    #[test]
    fn an_index_that_offers_another_file_is_refused_before_the_download() {
        let origin = Origin { url: String::new(), sha256: Some("ab".into()) };
        origin.expect("ab").unwrap();
        assert!(origin.expect("cd").unwrap_err().to_string().contains("hash mismatch"));
    }

    #[test]
    fn the_first_error_of_pip_is_the_reason() {
        let complaint = "WARNING: retrying\nERROR: no route to host\nERROR: no matching distribution\n";
        assert_eq!(reason(complaint), "no route to host");
        assert_eq!(reason("boom"), "boom");
    }
}
