//! Trainings that come no farther.

use fulcrum_common::exit;

use super::{
    builder::{Scene, fault},
    training,
};
use crate::{Event, Failure, Phase, Progress, tick::progress::MAX_VAIN};

/// The gang of the training meets.
fn meet(scene: &mut Scene) {
    let epoch = scene.work["w0"].epoch;
    scene.say("w0", Event::Rendezvous { epoch, address: "host:1".into() });
}

/// Rank 0 says that so many steps are done.
fn step(scene: &mut Scene, step: u64) {
    let epoch = scene.work["w0"].epoch;
    scene.say("w0", Event::Heartbeat(Progress { epoch, step, ..Progress::default() }));
}

/// The worker of rank 1 is killed, another takes its seat, and the gang forms again, if it does.
fn lose(scene: &mut Scene) {
    scene.close("w1");
    if let Some(work) = scene.work.remove("w0") {
        let failure = Failure { membership: true, ..fault(true) };
        scene.say("w0", Event::Failed { epoch: work.epoch, failure });
    }
    scene.join("w1");
    scene.beat("w1");
}

#[test]
fn epochs_without_a_step_forward_end_the_run_and_are_named() {
    let mut scene = training();
    meet(&mut scene);
    step(&mut scene, 7);
    lose(&mut scene);
    let mut epochs = Vec::new();
    for vain in 1..=MAX_VAIN {
        assert_eq!(scene.state.phase, Phase::Running, "{vain}");
        epochs.push(scene.work["w0"].epoch);
        meet(&mut scene);
        step(&mut scene, 7);
        lose(&mut scene);
    }
    assert_eq!(scene.state.phase, Phase::Failed(exit::STANDSTILL));
    let reason = &scene.state.reason;
    assert!(reason.starts_with("stage \"model\" failed: no step beyond 7 in 3 epochs: "), "{reason}");
    for epoch in epochs {
        assert!(reason.contains(&format!("epoch {epoch}: lost w1: its stream ended")), "{reason}");
    }
}

#[test]
fn a_step_forward_or_a_checkpoint_forward_begins_the_count_anew() {
    let mut scene = training();
    for round in 1..=3 * MAX_VAIN as u64 {
        meet(&mut scene);
        match round % 3 {
            0 => step(&mut scene, round),
            1 => {
                for seat in ["w0", "w1"] {
                    scene.keep(seat, round);
                }
                scene.take_checkpoints();
            }
            _ => {}
        }
        lose(&mut scene);
        assert_eq!(scene.state.phase, Phase::Running, "round {round}");
    }
}

#[test]
fn an_epoch_whose_gang_could_not_meet_does_not_count() {
    let mut scene = training();
    for _ in 0..2 * MAX_VAIN {
        lose(&mut scene);
    }
    assert_eq!(scene.state.phase, Phase::Running);
}

#[test]
fn an_epoch_that_ends_because_its_worker_leaves_does_not_count() {
    let mut scene = training();
    for _ in 0..2 * MAX_VAIN {
        meet(&mut scene);
        scene.fail("w1", Failure { membership: true, ..fault(true) });
        scene.say("w1", Event::Leaving);
        if let Some(work) = scene.work.remove("w0") {
            let failure = Failure { membership: true, ..fault(true) };
            scene.say("w0", Event::Failed { epoch: work.epoch, failure });
        }
        scene.join("w1");
        scene.beat("w1");
    }
    assert_eq!(scene.state.phase, Phase::Running);
}

#[test]
fn an_epoch_that_a_new_coordinator_did_not_find_again_does_not_count() {
    let mut scene = training();
    for _ in 0..2 * MAX_VAIN {
        meet(&mut scene);
        scene.restart();
        for seat in ["w0", "w1"] {
            scene.join(seat);
        }
        for seat in ["w0", "w1"] {
            scene.beat(seat);
        }
    }
    assert_eq!(scene.state.phase, Phase::Running);
}

#[test]
fn the_reason_is_the_cause_and_not_its_effect() {
    let mut scene = training();
    for _ in 0..MAX_VAIN {
        meet(&mut scene);
        scene.fail("w0", Failure { message: "connection reset".into(), membership: true, ..fault(true) });
        if let Some(work) = scene.work.remove("w1") {
            let failure = Failure { message: "out of memory".into(), ..fault(true) };
            scene.say("w1", Event::Failed { epoch: work.epoch, failure });
        }
    }
    let reason = &scene.state.reason;
    assert_eq!(scene.state.phase, Phase::Failed(exit::STANDSTILL));
    assert_eq!(reason.matches("out of memory").count(), MAX_VAIN - 1, "{reason}");
}
