//! Workers on other machines, brought by ssh: each host has one `fulcrum worker`, which ends with its connection.

use std::{ffi::OsString, num::NonZeroUsize, path::Path};

use anyhow::{Result, bail};

use super::shell::{line, text};
use crate::supervise::Hand;

/// What every connection is told: to ask for no passwords, and to notice within 15 seconds that a host is gone.
const OPTIONS: [&str; 4] =
    ["-oBatchMode=yes", "-oServerAliveInterval=5", "-oServerAliveCountMax=3", "-oConnectTimeout=10"];

/// What runs on each host.
#[derive(Debug)]
pub(crate) struct Remote<'a> {
    /// The program there.
    pub(crate) fulcrum: &'a Path,
    /// Where it is started: relative paths begin there.
    pub(crate) folder: &'a Path,
    /// The run's folder, as it is seen from there.
    pub(crate) run: &'a Path,
    /// Workers per host.
    pub(crate) count: NonZeroUsize,
    /// What `fulcrum worker` is told besides.
    pub(crate) options: Vec<String>,
    /// What ssh is told besides.
    pub(crate) ssh: &'a [String],
}

/// What brings the workers of each host.
///
/// # Errors
/// If two hosts would have workers of one name, or a path cannot stand in a command.
pub(crate) fn hands(hosts: &[String], remote: &Remote<'_>) -> Result<Vec<Hand>> {
    let mut hands: Vec<Hand> = Vec::new();
    for host in hosts {
        let seat = seat(host);
        if hands.iter().any(|hand| hand.name == seat) {
            bail!("{host:?} would have workers called {seat:?}, as another host has: name it once");
        }
        let command = command(&seat, remote)?;
        hands.push(Hand { name: seat, words: connection(host, remote.ssh, command) });
    }
    Ok(hands)
}

/// The words that have a host's shell read a command.
pub(crate) fn connection(host: &str, ssh: &[String], command: String) -> Vec<OsString> {
    let fixed = OPTIONS.map(str::to_owned).into_iter();
    let words = ["ssh".to_owned()].into_iter().chain(fixed).chain(ssh.iter().cloned());
    words.chain(["--".to_owned(), host.to_owned(), command]).map(OsString::from).collect()
}

/// What a host's shell reads to start a program in a folder, which it becomes.
///
/// # Errors
/// If one of them cannot stand in a command.
pub(crate) fn started_in(folder: &Path, words: &[String]) -> Result<String> {
    Ok(format!("cd {} && exec {}", line(&[text(folder)?])?, line(words)?))
}

/// A host's name, as a seat has it.
fn seat(host: &str) -> String {
    let name = host.rsplit_once('@').map_or(host, |(_, name)| name);
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .collect()
}

/// What the shell of a host is given. Its standard input ends with the connection.
fn command(seat: &str, remote: &Remote<'_>) -> Result<String> {
    let mut words = vec![text(remote.fulcrum)?, "worker".to_owned(), "--watch-stdin".to_owned()];
    words.extend(["--run-folder".to_owned(), text(remote.run)?, format!("--seat={seat}")]);
    words.push(format!("--count={}", remote.count));
    words.extend_from_slice(&remote.options);
    started_in(remote.folder, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_one_connection_that_asks_for_nothing() {
        let ssh = ["-p".to_owned(), "2222".to_owned()];
        let remote = Remote {
            fulcrum: "/opt/fulcrum".as_ref(),
            folder: "/home/me/my files".as_ref(),
            run: "runs/t".as_ref(),
            count: NonZeroUsize::new(2).unwrap(),
            options: vec!["--device=cuda".to_owned()],
            ssh: &ssh,
        };
        let of =
            |hosts: &[&str]| hands(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>(), &remote);
        let made = of(&["a", "me@b.example"]).unwrap();
        assert_eq!(made[1].name, "b.example");
        let words: Vec<_> = made[1].words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words[..2], ["ssh", "-oBatchMode=yes"]);
        let expected = "cd '/home/me/my files' && exec /opt/fulcrum worker --watch-stdin --run-folder runs/t \
            --seat=b.example --count=2 --device=cuda";
        assert_eq!(words[5..], ["-p", "2222", "--", "me@b.example", expected]);
        let error = of(&["a", "you@a"]).unwrap_err().to_string();
        assert!(error.contains("name it once"), "{error}");
    }
}
