//! Hosts that are network namespaces with a bridge between them. Nothing outside of them knows their network.

use std::process::Command;

/// The network of the hosts.
const NETWORK: &str = "10.87.31";

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The hosts by their numbers, and `hub`, which has the bridge. They go with the test.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    hosts: Vec<u32>,
}

impl Network {
    /// A network without hosts. No two tests give theirs the same name.
    pub(crate) fn new(name: &str) -> Self {
        let network = Self { name: format!("fulcrum-{}-{name}", std::process::id()), hosts: Vec::new() };
        let hub = network.hub();
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link add bridge type bridge"));
        ip(&format!("-n {hub} link set bridge up"));
        network
    }

    /// A host with a cable of its own.
    pub(crate) fn connect(&mut self, host: u32) {
        let (hub, name) = (self.hub(), self.host(host));
        ip(&format!("netns add {name}"));
        self.hosts.push(host);
        ip(&format!("-n {hub} link add port{host} type veth peer name eth0 netns {name}"));
        ip(&format!("-n {hub} link set port{host} master bridge up"));
        ip(&format!("-n {name} address add {}/24 dev eth0", Self::address(host)));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
    }

    /// Pulls a host's cable, or plugs it in again.
    pub(crate) fn cable(&self, host: u32, state: &str) {
        ip(&format!("-n {} link set port{host} {state}", self.hub()));
    }

    /// Where the others find a host.
    pub(crate) fn address(host: u32) -> String {
        format!("{NETWORK}.{host}")
    }

    /// Runs what follows on a host.
    pub(crate) fn on(&self, host: u32) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]);
        command
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn host(&self, host: u32) -> String {
        format!("{}-{host}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = self.hosts.iter().map(|host| self.host(*host));
        for name in hosts.chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "delete", &name]).output();
        }
    }
}
