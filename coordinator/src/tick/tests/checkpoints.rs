//! What trainings keep, and where their next gangs go on from.

use super::{
    builder::{Scene, Sketch, fault},
    commands, training,
};
use crate::{Event, Failure, Input, Phase, tick::faults::MAX_WORK_FAULTS};

/// A checkpoint after `step` steps, whole.
fn keep(scene: &mut Scene, step: u64) {
    scene.keep("w0", step);
    scene.keep("w1", step);
    scene.take_checkpoints();
}

/// The gang breaks and forms again.
fn again(scene: &mut Scene) {
    scene.fail("w1", Failure { membership: true, ..fault(true) });
    let epoch = scene.work.remove("w0").unwrap().epoch;
    scene.say("w0", Event::Failed { epoch, failure: Failure { membership: true, ..fault(true) } });
    assert_eq!(scene.works_on("w1").as_deref(), Some("model"));
}

#[test]
fn a_checkpoint_is_committed_once_every_rank_has_its_share_in_safety() {
    let mut scene = training();
    assert_eq!(scene.past("w0"), [0; 0]);
    scene.keep("w1", 10);
    assert!(scene.keeps.is_empty(), "rank 0 has not said so");
    scene.keep("w0", 20);
    assert!(scene.keeps.is_empty(), "that is another step");
    scene.keep("w0", 10);
    let [(checkpoint, _)] = scene.keeps.as_slice() else { panic!("{} commits", scene.keeps.len()) };
    assert_eq!((checkpoint.step, checkpoint.world, checkpoint.files.len()), (10, 2, 2));
    assert_eq!(checkpoint.files[0].name, "rank-0.header");
    scene.take_checkpoints();
    for seat in ["w0", "w1"] {
        assert_eq!(commands(&scene, seat).last(), Some(&"committed"), "{seat} hears of it");
    }
}

#[test]
fn the_next_gang_hears_of_the_newest_two() {
    let mut scene = training();
    for step in [10, 20, 30] {
        keep(&mut scene, step);
    }
    again(&mut scene);
    assert_eq!((scene.past("w0"), scene.past("w1")), (vec![30, 20], vec![30, 20]));
    keep(&mut scene, 40);
    scene.restart();
    for seat in ["w0", "w1"] {
        scene.join(seat);
    }
    for seat in ["w0", "w1"] {
        scene.beat(seat);
    }
    assert_eq!(scene.past("w1"), [40, 30], "a restarted coordinator finds them in the store");
}

#[test]
fn what_comes_of_an_epoch_that_is_over_makes_no_checkpoint() {
    let mut scene = training();
    scene.keep("w0", 10);
    let epoch = scene.work["w1"].epoch;
    again(&mut scene);
    scene.say("w1", Event::Kept { epoch, step: 10, files: vec![], copy: None });
    assert!(scene.keeps.is_empty() && scene.said("is over"), "{:?}", scene.reasons);
    scene.keep("w1", 10);
    assert!(scene.keeps.is_empty(), "the share of rank 0 was of the epoch before");
}

#[test]
fn one_that_could_not_be_written_is_told_and_those_before_it_stay() {
    let mut scene = training();
    keep(&mut scene, 10);
    let epoch = scene.work["w0"].epoch;
    scene.say("w1", Event::NotKept { epoch, step: 20, message: "no space left on device".into() });
    assert_eq!(scene.discarded, [], "w0 may be writing still");
    scene.keep("w0", 20);
    assert!(scene.keeps.is_empty());
    assert_eq!(scene.discarded, [(epoch, 20)], "half a checkpoint only takes room");
    let model = scene.state.stages.iter().find(|entry| entry.stage.name == "model").unwrap();
    let expected = "no checkpoint after step 20, the one before it stays: w1: no space left on device";
    assert_eq!(model.message, expected);
    scene.keep("w0", 30);
    scene.keep("w1", 30);
    let (checkpoint, _) = scene.keeps.remove(0);
    scene.step([Input::KeepFailed { checkpoint: Box::new(checkpoint), message: "disk".into() }]);
    again(&mut scene);
    assert_eq!(scene.past("w0"), [10]);
}

#[test]
fn a_file_that_lies_elsewhere_makes_no_checkpoint() {
    let mut scene = training();
    let epoch = scene.work["w0"].epoch;
    scene.keep("w0", 10);
    let stray = fulcrum_common::store::File {
        name: "rank-1.header".into(),
        path: "artifacts/elsewhere".into(),
        bytes: 1,
        digest: fulcrum_common::Key::of(b""),
    };
    scene.say("w1", Event::Kept { epoch, step: 10, files: vec![stray], copy: None });
    assert!(scene.keeps.is_empty() && scene.said("ignored a checkpoint"), "{:?}", scene.reasons);
}

#[test]
fn failures_count_from_the_last_step_forward() {
    let mut scene = training();
    let fail = |scene: &mut Scene| {
        scene.fail("w1", fault(true));
        if let Some(work) = scene.work.remove("w0") {
            let failure = Failure { membership: true, ..fault(true) };
            scene.say("w0", Event::Failed { epoch: work.epoch, failure });
        }
    };
    for step in 1..=2 * u64::from(MAX_WORK_FAULTS) {
        keep(&mut scene, step);
        fail(&mut scene);
        assert_eq!(scene.state.phase, Phase::Running, "step {step}");
    }
    for _ in 1..MAX_WORK_FAULTS {
        assert_eq!(scene.state.phase, Phase::Running);
        fail(&mut scene);
    }
    assert!(matches!(scene.state.phase, Phase::Failed(_)), "no step forward any more");
}

#[test]
fn a_stage_that_is_done_leaves_no_checkpoint() {
    let mut scene = training();
    keep(&mut scene, 10);
    scene.keep("w0", 20);
    scene.keep("w1", 20);
    scene.done("w0");
    scene.done("w1");
    scene.commit();
    assert!(scene.checkpoints.is_empty());
    scene.take_checkpoints();
    assert!(scene.checkpoints.is_empty(), "one that came late goes too");
}

#[test]
fn work_that_is_no_training_is_told_nothing_of_checkpoints() {
    let scene = Scene::with(Sketch::chain(), 1, &["w0"]);
    assert!(scene.work["w0"].checkpoints.is_none());
}
