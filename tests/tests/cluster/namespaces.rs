//! A run across three hosts, which are network namespaces with a bridge between them.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use fulcrum_tests::{
    binaries,
    workplace::{Workplace, finish},
};

use crate::daemon::{PATIENCE, left_out, undisturbed, wait_for, workplace};

/// The network of the hosts. Nothing outside of the namespaces knows it.
const NETWORK: &str = "10.87.31";

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Hosts `1` to `3`, and `hub`, which has the bridge. They go with the test.
struct Network(String);

impl Network {
    fn new() -> Self {
        let network = Self(format!("fulcrum-{}", std::process::id()));
        let hub = network.name("hub");
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link add bridge type bridge"));
        ip(&format!("-n {hub} link set bridge up"));
        for host in 1..=3 {
            let name = network.name(&host.to_string());
            ip(&format!("netns add {name}"));
            ip(&format!("-n {hub} link add port{host} type veth peer name eth0 netns {name}"));
            ip(&format!("-n {hub} link set port{host} master bridge up"));
            ip(&format!("-n {name} address add {NETWORK}.{host}/24 dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
            ip(&format!("-n {name} link set lo up"));
        }
        network
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.0)
    }

    /// Pulls a host's cable, or plugs it in again.
    fn cable(&self, host: u32, state: &str) {
        ip(&format!("-n {} link set port{host} {state}", self.name("hub")));
    }

    /// Starts the program on a host.
    fn start(&self, host: u32, place: &Workplace, arguments: &[&str]) -> Child {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name(&host.to_string())])
            .arg(&binaries().fulcrum)
            .args(arguments);
        command.current_dir(place.at("")).env_remove("FULCRUM_DATA").env_remove("LD_LIBRARY_PATH");
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in ["1", "2", "3", "hub"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.name(host)]).output();
        }
    }
}

#[test]
fn a_run_across_three_hosts_outlives_a_partition_and_leaves_the_same_bytes() {
    if left_out() {
        return;
    }
    let (network, place) = (Network::new(), workplace());
    let lead = network.start(1, &place, &["run", "tiny.toml", "--here", "0"]);
    let follow = |host| {
        network.start(
            host,
            &place,
            &["worker", "--run-folder", "runs/tiny", "--threads=1", &format!("--seat=host{host}")],
        )
    };
    let followers = [follow(2), follow(3)];
    let log = place.at("runs/tiny/logs/coordinator.log");
    let says = |words: &str| fs::read_to_string(&log).unwrap_or_default().matches(words).count();
    wait_for(&log, || (says("can go on from step") > 1).then_some(()));
    network.cable(3, "down");
    wait_for(&log, || (says("host3 is gone") > 0).then_some(()));
    network.cable(3, "up");
    assert_eq!(finish(lead, PATIENCE), Some(0), "{}", place.logs());
    for follower in followers {
        assert_eq!(finish(follower, PATIENCE), Some(0), "{}", place.logs());
    }
    let logs = place.logs();
    assert!(logs.contains(&format!("listens on {NETWORK}.1:")), "{logs}");
    assert!(says("host3 joined") > 1, "it came back\n{logs}");
    assert_eq!(place.artifacts(), undisturbed().artifacts());
}
