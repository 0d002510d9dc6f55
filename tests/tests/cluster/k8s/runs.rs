//! Runs that come to their end by what the pods are told, on a node that is a stand-in.

use std::fs;

use fulcrum_tests::workplace::Workplace;

use super::{
    container::KILLED,
    job::{Death, End},
    node::Node,
    printed,
};
use crate::daemon::{self, undisturbed, workplace};

fn left_out() -> bool {
    let no_mounts = std::env::var_os("FULCRUM_NO_MOUNTS").is_some();
    if no_mounts {
        eprintln!("left out: FULCRUM_NO_MOUNTS is set");
    }
    no_mounts || daemon::left_out()
}

/// Waits until a training of the run has so many checkpoints.
fn in_the_middle(node: &mut Node<'_>, place: &Workplace) {
    let log = place.at("runs/tiny/logs/coordinator.log");
    let count = || fs::read_to_string(&log).unwrap_or_default().matches("can go on from step").count();
    let before = count();
    node.until(|_| (count() > before).then_some(()));
}

fn codes(node: &Node<'_>, part: &str, index: usize) -> Vec<i32> {
    let deaths = node.job(part).deaths.iter().filter(|death| death.index == index);
    deaths.map(|death| death.code).collect()
}

#[test]
fn a_run_outlives_its_pods_and_leaves_the_same_bytes() {
    if left_out() {
        return;
    }
    let place = workplace();
    let mut node = Node::apply("run", &printed(&place, &["--workers", "2"]), &place);
    in_the_middle(&mut node, &place);
    node.kill("worker", 1);
    node.until(|node| (!codes(node, "worker", 1).is_empty()).then_some(()));
    in_the_middle(&mut node, &place);
    node.evict("head", 0);
    node.until(|node| (!node.job("head").deaths.is_empty()).then_some(()));
    let ends = ["head", "worker"].map(|part| node.end_of(part));
    assert_eq!(ends, [End::Complete, End::Complete], "{}", node.logs());
    assert_eq!(node.job("head").deaths[0], Death { index: 0, code: 10, disrupted: true });
    assert_eq!(codes(&node, "worker", 0), [10, 0], "it was sent home once before the end");
    assert_eq!(codes(&node, "worker", 1), [KILLED, 10, 0]);
    assert_eq!(place.artifacts(), undisturbed().artifacts());

    // All of it is there: the next launch of the same name has nothing to do, and keeps no pod waiting.
    drop(node);
    let mut node = Node::apply("again", &printed(&place, &["--workers", "2"]), &place);
    let ends = ["head", "worker"].map(|part| node.end_of(part));
    assert_eq!(ends, [End::Complete, End::Complete], "{}", node.logs());
    assert!(["head", "worker"].iter().all(|part| node.job(part).deaths.iter().all(|death| death.code == 0)));
}

#[test]
fn a_pod_that_waits_for_its_head_hears_that_it_is_to_end() {
    if left_out() {
        return;
    }
    let place = workplace();
    let mut list = printed(&place, &["--workers", "1"]);
    let is_head = |item: &serde_json::Value| item["metadata"]["name"].as_str().unwrap().ends_with("-head");
    list["items"].as_array_mut().unwrap().retain(|item| !is_head(item));
    let mut node = Node::apply("waits", &list, &place);
    node.until(|node| node.logs().contains("waits for a run").then_some(()));
    node.evict("worker", 0);
    node.until(|node| (!node.job("worker").deaths.is_empty()).then_some(()));
    assert_eq!(node.job("worker").deaths, [Death { index: 0, code: 10, disrupted: true }]);
}

#[test]
fn a_run_that_would_fail_again_has_one_pod() {
    if left_out() {
        return;
    }
    let place = workplace();
    let mut list = printed(&place, &["--workers", "1"]);
    let items = list["items"].as_array_mut().unwrap();
    let map = items.iter_mut().find(|item| item["kind"] == "ConfigMap").unwrap();
    map["data"]["experiment.toml"] = "name = 3".into();
    let mut node = Node::apply("final", &list, &place);
    assert_eq!(node.end_of("head"), End::Failed("PodFailurePolicy"), "{}", node.logs());
    assert_eq!(node.job("head").deaths, [Death { index: 0, code: 2, disrupted: false }]);
}
