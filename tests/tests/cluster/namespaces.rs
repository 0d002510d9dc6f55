//! A run across three hosts, which are network namespaces with a bridge between them.

use std::{
    fs,
    process::{Child, Stdio},
};

use fulcrum_tests::{
    binaries,
    workplace::{Workplace, finish},
};

use crate::{
    daemon::{PATIENCE, left_out, undisturbed, wait_for, workplace},
    network::Network,
};

/// Starts the program on a host.
fn start(network: &Network, host: u32, place: &Workplace, arguments: &[&str]) -> Child {
    let mut command = network.on(host);
    command.arg(&binaries().fulcrum).args(arguments);
    command.current_dir(place.at("")).env_remove("FULCRUM_DATA").env_remove("LD_LIBRARY_PATH");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_run_across_three_hosts_outlives_a_partition_and_leaves_the_same_bytes() {
    if left_out() {
        return;
    }
    let (mut network, place) = (Network::new("hosts"), workplace());
    (1..=3).for_each(|host| network.connect(host));
    let lead = start(&network, 1, &place, &["run", "tiny.toml", "--here", "0"]);
    let follow = |host| {
        let seat = format!("--seat=host{host}");
        start(&network, host, &place, &["worker", "--run-folder", "runs/tiny", "--threads=1", &seat])
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
    assert!(logs.contains(&format!("listens on {}:", Network::address(1))), "{logs}");
    assert!(says("host3 joined") > 1, "it came back\n{logs}");
    assert_eq!(place.artifacts(), undisturbed().artifacts());
}
