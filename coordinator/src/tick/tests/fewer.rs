//! Trainings that go on with fewer workers than they were meant for.

use super::training;
use crate::tick::schedule::SHORT_PATIENCE_MS;

#[test]
fn a_training_whose_workers_stay_away_goes_on_with_those_that_are_left() {
    let mut scene = training();
    scene.state.fewest = 1;
    scene.keep("w0", 10);
    scene.keep("w1", 10);
    scene.take_checkpoints();
    scene.close("w1");
    let epoch = scene.work.remove("w0").unwrap().epoch;
    let failure = crate::Failure { membership: true, ..super::builder::fault(true) };
    scene.say("w0", crate::Event::Failed { epoch, failure });
    scene.live(SHORT_PATIENCE_MS - 1_000, &["w0"]);
    assert_eq!(scene.works_on("w0"), None, "others may come back");
    scene.live(2_000, &["w0"]);
    assert_eq!((scene.work["w0"].world, scene.past("w0")), (1, vec![10]));
    assert!(scene.said("fewer than it was meant for"), "{:?}", scene.reasons);
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.word("model"), "done");
}

#[test]
fn whoever_comes_back_in_time_is_waited_for() {
    let mut scene = training();
    scene.state.fewest = 1;
    scene.close("w1");
    let epoch = scene.work.remove("w0").unwrap().epoch;
    let failure = crate::Failure { membership: true, ..super::builder::fault(true) };
    scene.say("w0", crate::Event::Failed { epoch, failure });
    scene.live(SHORT_PATIENCE_MS - 1_000, &["w0"]);
    scene.join("w1");
    scene.beat("w1");
    assert_eq!((scene.work["w0"].world, scene.work["w1"].world), (2, 2));
}

#[test]
fn where_nobody_allowed_it_a_training_waits_for_its_workers() {
    let mut scene = training();
    scene.close("w1");
    let epoch = scene.work.remove("w0").unwrap().epoch;
    let failure = crate::Failure { membership: true, ..super::builder::fault(true) };
    scene.say("w0", crate::Event::Failed { epoch, failure });
    scene.live(2 * SHORT_PATIENCE_MS, &["w0"]);
    assert_eq!(scene.works_on("w0"), None);
    assert!(scene.state.reason.contains("waits for 2 equal workers to join"), "{}", scene.state.reason);
}
