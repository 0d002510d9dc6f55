//! Workers that live and do not get on.

use super::{commands, labelling, training};

#[test]
fn a_gang_of_which_one_does_not_get_on_is_formed_anew() {
    let mut scene = training();
    scene.state.stall = 3_000;
    let epoch = scene.work["w0"].epoch;
    scene.live(2_500, &["w0", "w1"]);
    assert!(!commands(&scene, "w1").contains(&"abort"), "not yet");
    scene.live(1_500, &["w0", "w1"]);
    for seat in ["w0", "w1"] {
        assert!(commands(&scene, seat).contains(&"abort"), "{seat} is told to give it up");
    }
    assert!(scene.said("has not got on for 3000 ms"), "{:?}", scene.reasons);
    // Who hangs ends itself, and another process takes its seat.
    scene.fail("w0", super::builder::fault(true));
    scene.join("w1");
    scene.beat("w1");
    assert!(scene.work["w0"].epoch > epoch);
}

#[test]
fn a_shard_that_does_not_get_on_goes_to_another_worker() {
    let mut scene = labelling();
    scene.state.stall = 3_000;
    let stuck = scene.work["w0"].shard.unwrap().index;
    scene.done("w1");
    scene.live(4_000, &["w0", "w1"]);
    assert!(commands(&scene, "w0").contains(&"abort"));
    let others: Vec<u64> = scene
        .sent
        .iter()
        .filter(|(seat, _)| seat == "w1")
        .filter_map(|(_, command)| match command {
            fulcrum_common::protocol::command::Command::Assignment(work) => {
                work.shard.map(|shard| shard.index)
            }
            _ => None,
        })
        .collect();
    scene.done("w1");
    assert!(
        others.contains(&stuck)
            || scene.work.get("w1").and_then(|work| work.shard).is_some_and(|shard| shard.index == stuck),
        "{others:?}"
    );
}
