//! Other machines, asked over ssh: each says what its own `fulcrum doctor` finds.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use fulcrum_common::store::Place;
use futures::future::join_all;
use tokio::{process::Command, time::timeout};

use super::{Finding, Verdict};
use crate::{
    cluster::{
        shell::text,
        ssh::{connection, started_in},
    },
    devices::Devices,
};

/// How long a host may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Hosts, and what is asked of them.
#[derive(Debug)]
pub(crate) struct Elsewhere<'a> {
    /// Their names, at least one.
    pub(crate) hosts: &'a [String],
    /// What ssh is told besides.
    pub(crate) ssh: &'a [String],
    /// The program there; none where it lies as here.
    pub(crate) fulcrum: Option<&'a Path>,
    /// Where it is started: relative paths begin there.
    pub(crate) folder: &'a Path,
    /// The artifact store that is meant.
    pub(crate) store: &'a Place,
    /// Folder of all runs.
    pub(crate) runs: &'a Path,
    /// What workers compute on.
    pub(crate) devices: Devices,
}

/// A file of chance in a folder, by which others know that they see the same one. It goes with this.
#[derive(Debug)]
struct Mark(tempfile::NamedTempFile);

impl Mark {
    /// Puts one into a folder, where that can be written.
    fn put(folder: &Path) -> Option<Self> {
        tempfile::Builder::new().prefix(".doctor-").tempfile_in(folder).ok().map(Self)
    }

    fn name(&self) -> Option<PathBuf> {
        self.0.path().file_name().map(PathBuf::from)
    }
}

impl Elsewhere<'_> {
    /// What each host finds, a line for all that is good there. `programs` is what was found of them here.
    pub(crate) async fn ask(&self, programs: &Finding) -> Vec<Finding> {
        let store = self.store.folder().and_then(Mark::put);
        let runs = Mark::put(self.runs);
        let marks = [("--store-mark", &store), ("--runs-mark", &runs)];
        let marks: Vec<_> = marks
            .into_iter()
            .filter_map(|(option, mark)| Some(format!("{option}={}", text(&mark.as_ref()?.name()?).ok()?)))
            .collect();
        let asked = self.hosts.iter().map(|host| self.ask_one(host, &marks));
        let answers = join_all(asked).await.into_iter().zip(self.hosts);
        answers.flat_map(|(found, host)| told(host, found, programs)).collect()
    }

    async fn ask_one(&self, host: &str, marks: &[String]) -> Result<Vec<Finding>> {
        let program = match self.fulcrum {
            Some(fulcrum) => fulcrum.to_owned(),
            None => std::env::current_exe().context("cannot find the path of this program")?,
        };
        let mut words =
            vec![text(&program)?, "doctor".to_owned(), "--json".to_owned(), "--world=1".to_owned()];
        words.extend([format!("--store={}", self.store), format!("--runs={}", text(self.runs)?)]);
        words.push(format!("--device={}", self.devices));
        words.extend_from_slice(marks);
        let words = connection(host, self.ssh, started_in(self.folder, &words)?);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        let Ok(output) = timeout(PATIENCE, command.output()).await else {
            bail!("no answer within {} s", PATIENCE.as_secs());
        };
        let output = output.context("cannot start ssh")?;
        serde_json::from_slice(&output.stdout).or_else(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
            bail!("{}", last.trim().chars().filter(|letter| !letter.is_control()).collect::<String>())
        })
    }
}

/// What a host found: what is not good, and how much is.
fn told(host: &str, found: Result<Vec<Finding>>, programs: &Finding) -> Vec<Finding> {
    let mut found = match found {
        Ok(found) => found,
        Err(error) => return vec![Finding::unseen("host", &error).of(host)],
    };
    for finding in found.iter_mut().filter(|finding| finding.what == programs.what) {
        if finding.verdict == Verdict::Good && finding.said != programs.said {
            finding.verdict = Verdict::Bad;
            finding.said =
                format!("{}, which are not those of this machine: have the same on both", finding.said);
        }
    }
    let (good, other): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|finding| finding.verdict == Verdict::Good);
    let said = format!("{} of {} things are good", good.len(), good.len() + other.len());
    let sum = Finding::good("host", said);
    [sum].into_iter().chain(other).map(|finding| finding.of(host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_host_stays_what_is_not_good() {
        let programs = Finding::good("programs", "build a");
        let found =
            vec![programs.clone(), Finding::doubtful("room", "little"), Finding::good("locks", "seen")];
        let lines = told("n1", Ok(found), &programs);
        let said: Vec<_> = lines.iter().map(|line| (line.host.as_deref(), &*line.said)).collect();
        assert_eq!(said, [(Some("n1"), "2 of 3 things are good"), (Some("n1"), "little")]);
        let other = told("n1", Ok(vec![Finding::good("programs", "build b")]), &programs);
        assert_eq!(other[1].verdict, Verdict::Bad);
        assert!(other[1].said.contains("not those of this machine"), "{}", other[1].said);
        let silent = told("n1", Err(anyhow::anyhow!("connection refused")), &programs);
        assert_eq!((silent[0].verdict, &*silent[0].said), (Verdict::Bad, "connection refused"));
    }
}
