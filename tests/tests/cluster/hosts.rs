//! `fulcrum launch ssh` with a real sshd, which serves this machine under two names.

use std::{
    fs,
    process::{Command, Stdio},
};

use fulcrum_tests::workplace::{Workplace, code, finish};
use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, left_out, listens, ports, undisturbed, wait_for, workplace};

/// A server that lets in whoever has its key, and what a client must be told.
struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    _daemon: Daemon,
}

impl Sshd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "client"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).output();
            assert!(made.unwrap().status.success());
        }
        let [port] = ports();
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n",
            at("host"),
            at("client.pub")
        );
        fs::write(at("sshd.conf"), configuration).unwrap();
        // Where privileges are separated; the package's own start script makes it.
        fs::create_dir_all("/run/sshd").unwrap();
        let log = folder.path().join("sshd.log");
        let mut command = Command::new("/usr/sbin/sshd");
        let daemon = Daemon::start(command.args(["-D", "-e", "-f", &at("sshd.conf")]), &log);
        listens(port, &log);
        Self { folder, port, _daemon: daemon }
    }

    /// What ssh must be told, as options of `fulcrum launch ssh`.
    fn options(&self) -> Vec<String> {
        let key = self.folder.path().join("client");
        let words = [
            format!("-oPort={}", self.port),
            format!("-oIdentityFile={}", key.display()),
            "-oIdentitiesOnly=yes".to_owned(),
            "-oStrictHostKeyChecking=no".to_owned(),
            "-oUserKnownHostsFile=/dev/null".to_owned(),
            "-oLogLevel=ERROR".to_owned(),
        ];
        words.map(|word| format!("--ssh={word}")).into()
    }
}

fn launch(place: &Workplace, sshd: &Sshd) -> Command {
    let mut command = place.command(&["launch", "ssh", "tiny.toml", "--hosts", "127.0.0.1,localhost"]);
    command.args(["--interface", "127.0.0.1"]).args(sshd.options());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Processes whose command line has this in it.
fn processes(word: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    };
    pids.filter(has).collect()
}

#[test]
fn hosts_bring_a_run_to_its_bytes_also_where_a_connection_breaks() {
    if left_out() {
        return;
    }
    let (sshd, place) = (Sshd::start(), workplace());
    let run = launch(&place, &sshd).spawn().unwrap();
    let log = place.at("runs/tiny/logs/coordinator.log");
    let has_checkpoint = || fs::read_to_string(&log).unwrap_or_default().contains("can go on from step");
    wait_for(&log, || has_checkpoint().then_some(()));
    let seat = "--seat=localhost";
    let connection = processes(seat);
    let kill = Command::new("kill").args(["-KILL"]).args(connection.iter().map(u32::to_string)).status();
    assert!(kill.unwrap().success());
    assert_eq!(finish(run, PATIENCE), Some(0), "{}", place.logs());
    assert!(place.logs().contains("goes on from step"), "{}", place.logs());
    assert!(
        place.at("runs/tiny/logs/127.0.0.1.log").is_file()
            && place.at("runs/tiny/logs/localhost.log").is_file()
    );
    assert_eq!(place.artifacts(), undisturbed().artifacts());
}

#[test]
fn hosts_keep_no_process_of_a_run_that_is_gone() {
    if left_out() {
        return;
    }
    let (sshd, place) = (Sshd::start(), workplace());
    let mut run = launch(&place, &sshd).spawn().unwrap();
    let log = place.at("runs/tiny/logs/coordinator.log");
    wait_for(&log, || fs::read_to_string(&log).ok()?.contains("localhost joined").then_some(()));
    run.kill().unwrap();
    assert_eq!(code(run.wait().unwrap()), -9);
    let folder = place.at("").display().to_string();
    wait_for(&log, || processes(folder.trim_end_matches('/')).is_empty().then_some(()));
}

#[test]
fn doctor_looks_at_each_host_and_at_the_links_between_them() {
    if left_out() {
        return;
    }
    let (sshd, place) = (Sshd::start(), workplace());
    let look = |more: &[&str]| {
        let fixed =
            ["doctor", "--world=1", "--json", "--hosts", "127.0.0.1,localhost", "--interface", "127.0.0.1"];
        let output = place.command(&[&fixed[..], more].concat()).args(sshd.options()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let found: Vec<Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        (output.status.code(), found)
    };
    let of = |found: &[Value], what: &str| -> Vec<String> {
        let those = found.iter().filter(|finding| finding["what"] == what);
        those.map(|finding| format!("{} {}", finding["verdict"], finding["said"])).collect()
    };
    let (code, found) = look(&[]);
    assert_eq!(code, Some(0), "{found:#?}");
    let links = of(&found, "link");
    assert!(matches!(&links[..], [link] if link.contains("127.0.0.1 and localhost sum 8 MiB")), "{found:#?}");
    let hosts = of(&found, "host");
    assert!(hosts.len() == 2 && hosts.iter().all(|host| host.contains("things are good")), "{found:#?}");
    let left =
        fs::read_dir(place.at("runs")).unwrap().chain(fs::read_dir(place.at("fulcrum-store")).unwrap());
    assert_eq!(left.count(), 0, "something is left behind");

    let (code, found) = look(&["--program", "/nowhere/fulcrum"]);
    assert_eq!(code, Some(20), "{found:#?}");
    assert!(
        of(&found, "host").iter().all(|host| host.contains("bad") && host.contains("/nowhere/fulcrum")),
        "{found:#?}"
    );
    assert!(of(&found, "link").is_empty(), "{found:#?}");
}
