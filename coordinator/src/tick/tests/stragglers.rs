//! Shards that are out for long, and shards that fail.

use fulcrum_common::protocol::command::Command;

use super::{
    builder::{Scene, Sketch, fault},
    commands, labelling,
};
use crate::{Event, Failure, Record};

/// The assignments that a worker was sent, each with its shard.
fn shards(scene: &Scene, seat: &str) -> Vec<(u64, u64)> {
    let shard = |(to, command): &(String, Command)| match command {
        Command::Assignment(work) if to == seat => Some((work.epoch, work.shard?.index)),
        _ => None,
    };
    scene.sent.iter().filter_map(shard).collect()
}

/// An inference of which all but the first shard is finished, that one by nobody for long.
fn straggling() -> Scene {
    let mut scene = labelling();
    let out = scene.work["w0"].shard.unwrap().index;
    scene.done("w1");
    scene.done("w1");
    assert!(!scene.work.contains_key("w1"), "nothing is left to lease");
    scene.live(2_000, &["w0", "w1"]);
    assert!(!scene.work.contains_key("w1"), "not yet");
    scene.live(500, &["w0", "w1"]);
    assert_eq!(scene.work["w1"].shard.unwrap().index, out);
    scene
}

#[test]
fn a_shard_that_is_out_for_long_goes_to_a_second_worker_and_the_first_result_counts() {
    for first in ["w0", "w1"] {
        let mut scene = straggling();
        let other = if first == "w0" { "w1" } else { "w0" };
        let winner = scene.work[first].epoch;
        scene.done(first);
        assert_eq!(commands(&scene, other).last(), Some(&"abort"), "{first} was first");
        assert_eq!(scene.commits.len(), 1);
        assert!(scene.commits[0].files.iter().any(|file| file.path.contains(&format!("/{winner}/"))));
        // The other one's comes too late.
        scene.done(other);
        scene.commit();
        assert_eq!(scene.word("labels"), "done");
        let results = |record: &&Record| matches!(record, Record::Shard { index: 0, .. });
        assert_eq!(scene.records.iter().filter(results).count(), 1);
    }
}

#[test]
fn a_shard_is_never_leased_three_times_and_is_pending_only_when_nobody_has_it() {
    let mut scene = straggling();
    scene.join("w2");
    scene.beat("w2");
    scene.live(10_000, &["w0", "w1", "w2"]);
    assert!(!scene.work.contains_key("w2"));
    scene.close("w0");
    scene.live(3_000, &["w1", "w2"]);
    assert_eq!(scene.work["w2"].shard.unwrap().index, 0, "one of two was lost: another takes its place");
    scene.close("w1");
    scene.close("w2");
    scene.join("w1");
    scene.beat("w1");
    assert!(!scene.work.contains_key("w1"), "it has lost three workers, and waits");
    scene.live(4_000, &["w1"]);
    assert_eq!(scene.work["w1"].shard.unwrap().index, 0);
}

#[test]
fn a_second_lease_does_not_keep_a_worker_from_other_work() {
    let mut sketch = Sketch::default();
    let data = sketch.prepare("data", 0);
    let model = sketch.train("model", 0, data);
    let labels = sketch.infer("labels", model, data);
    let more = sketch.prepare("more", 1);
    let other = sketch.train("other", 1, more);
    sketch.measure("goal", &[("labels", labels), ("other", other)]);
    let mut scene = Scene::with(sketch.0, 1, &["w0", "w1"]);
    let finish = |scene: &mut Scene, name: &str| {
        let seat = ["w0", "w1"].into_iter().find(|seat| scene.works_on(seat).as_deref() == Some(name));
        scene.done(seat.unwrap_or_else(|| panic!("nobody works on {name}")));
        scene.commit();
    };
    finish(&mut scene, "data");
    finish(&mut scene, "model");
    // One of the two is at the shards, the other makes the rows of the second training.
    let (at_rows, at_shards) =
        if scene.works_on("w0").as_deref() == Some("more") { ("w0", "w1") } else { ("w1", "w0") };
    scene.done(at_shards);
    scene.done(at_shards);
    scene.done(at_rows);
    scene.live(4_000, &["w0", "w1"]);
    assert_eq!(scene.works_on(at_rows).as_deref(), Some("labels"), "a second lease");
    scene.commit();
    assert_eq!(commands(&scene, at_rows).last(), Some(&"abort"));
    scene.fail(at_rows, Failure { membership: true, ..fault(true) });
    assert_eq!(scene.works_on(at_rows).as_deref(), Some("other"));
}

#[test]
fn a_shard_that_failed_waits_while_others_go_on() {
    let mut scene = labelling();
    scene.allow_poison(0);
    scene.fail("w0", fault(true));
    assert_eq!(scene.work["w0"].shard.unwrap().index, 0, "at once after its first failure");
    scene.fail("w0", fault(true));
    assert_eq!(scene.work["w0"].shard.unwrap().index, 2, "another goes on");
    scene.done("w0");
    scene.live(500, &["w0", "w1"]);
    assert!(!scene.work.contains_key("w0"));
    scene.live(500, &["w0", "w1"]);
    assert_eq!(scene.work["w0"].shard.unwrap().index, 0);
    assert_eq!(shards(&scene, "w0").iter().map(|(_, index)| *index).collect::<Vec<_>>(), [0, 0, 2, 0]);
}

#[test]
fn what_is_told_of_a_lease_that_came_second_is_ignored() {
    let mut scene = straggling();
    let late = scene.work["w0"].epoch;
    scene.done("w1");
    scene.work.remove("w0");
    scene.say("w0", Event::Done { epoch: late, files: vec![], facts: Default::default() });
    scene.commit();
    assert_eq!(scene.word("labels"), "done");
}
