//! Other machines, asked over ssh: each says what its own `fulcrum doctor` finds.

use std::{path::Path, process::Stdio, time::Duration};

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
    /// The program there.
    pub(crate) fulcrum: &'a Path,
    /// Where it is started: relative paths begin there.
    pub(crate) folder: &'a Path,
    /// The artifact store that is meant.
    pub(crate) store: &'a Place,
    /// Folder of all runs.
    pub(crate) runs: &'a Path,
    /// What workers compute on.
    pub(crate) devices: Devices,
}

impl Elsewhere<'_> {
    /// What each host finds, a line for all that is good there. `programs` is what was found of them here.
    pub(crate) async fn ask(&self, programs: &Finding) -> Vec<Finding> {
        // Files of chance, by which others know that they see the same folders. They go at the end.
        let put = |folder| tempfile::Builder::new().prefix(".doctor-").tempfile_in(folder).ok();
        let (store, runs) = (self.store.folder().and_then(put), put(self.runs));
        let marks = [("--store-mark", &store), ("--runs-mark", &runs)];
        let word = |(option, mark): (&str, &Option<tempfile::NamedTempFile>)| {
            Some(format!("{option}={}", mark.as_ref()?.path().file_name()?.to_str()?))
        };
        let marks: Vec<_> = marks.into_iter().filter_map(word).collect();
        let asked = self.hosts.iter().map(|host| self.ask_one(host, &marks));
        let answers = join_all(asked).await.into_iter().zip(self.hosts);
        answers.flat_map(|(found, host)| told(host, found, programs)).collect()
    }

    async fn ask_one(&self, host: &str, marks: &[String]) -> Result<Vec<Finding>> {
        let mut words =
            vec![text(self.fulcrum)?, "doctor".to_owned(), "--json".to_owned(), "--world=1".to_owned()];
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
            bail!("{}", last.trim())
        })
    }
}

/// What a host found: what is not good, and how much is.
fn told(host: &str, found: Result<Vec<Finding>>, programs: &Finding) -> Vec<Finding> {
    let is_there = found.is_ok();
    let mut found = found.unwrap_or_else(|error| vec![Finding::unseen("host", &error)]);
    // What another machine says goes to a terminal.
    for Finding { what, said, .. } in &mut found {
        [what, said].into_iter().for_each(|text| text.retain(|letter| !letter.is_control()));
    }
    if !is_there {
        return found.into_iter().map(|finding| finding.of(host)).collect();
    }
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
        let silent = told("n1", Err(anyhow::anyhow!("connection \u{1b}refused")), &programs);
        assert_eq!((silent[0].verdict, &*silent[0].said), (Verdict::Bad, "connection refused"));
    }
}
