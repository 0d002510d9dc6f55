//! Who held other weights than the rest, and what comes of it.

use super::{
    builder::{Scene, Sketch, fault},
    training,
};
use crate::{Event, Failure, Phase, input::Copied, tick::copies::MOST_NAMED};

fn copy(hash: u64) -> Copied {
    Copied { group: 0, hash }
}

/// A chain whose training has begun on three workers.
fn on_three() -> Scene {
    let mut scene = Scene::with(Sketch::chain(), 3, &["w0", "w1", "w2"]);
    scene.done("w0");
    scene.commit();
    scene
}

fn hold(scene: &mut Scene, step: u64, hashes: &[u64]) {
    for (rank, hash) in hashes.iter().enumerate() {
        scene.hold(&format!("w{rank}"), step, copy(*hash));
    }
}

/// A checkpoint whose ranks hold this.
fn keep(scene: &mut Scene, step: u64, hashes: &[u64]) {
    for (rank, hash) in hashes.iter().enumerate() {
        scene.keep_copy(&format!("w{rank}"), step, Some(copy(*hash)));
    }
    scene.take_checkpoints();
}

/// The members of the epoch that was called off say so, and the next begins.
fn again(scene: &mut Scene, world: usize) {
    for rank in 0..world {
        let seat = format!("w{rank}");
        let epoch = scene.work.remove(&seat).unwrap().epoch;
        scene.say(&seat, Event::Failed { epoch, failure: Failure { membership: true, ..fault(true) } });
    }
}

fn message(scene: &Scene) -> String {
    scene.state.stages.iter().find(|entry| entry.stage.name == "model").unwrap().message.clone()
}

#[test]
fn of_three_the_one_that_differs_is_named_and_all_go_on_from_where_they_agreed() {
    let mut scene = on_three();
    keep(&mut scene, 10, &[5, 5, 5]);
    hold(&mut scene, 15, &[6, 6, 6]);
    let epoch = scene.work["w0"].epoch;
    hold(&mut scene, 20, &[7, 8, 7]);
    assert!(scene.said("w1 held other weights than the rest after step 20"), "{:?}", scene.reasons);
    assert!(message(&scene).contains("were found on w1"), "{}", message(&scene));
    again(&mut scene, 3);
    assert!(scene.work["w0"].epoch > epoch && scene.past("w1") == [10]);
    scene.done("w0");
    scene.commit();
    let made = scene.store.values().find(|made| made.name == "model").unwrap();
    assert_eq!(made.facts["corrupted/w1"], 1, "the report is told");
    assert!(message(&scene).contains("were found on w1"), "status says so to the end: {}", message(&scene));
}

#[test]
fn of_two_both_are_suspected_until_the_replay_says_who_was_wrong() {
    let mut scene = training();
    keep(&mut scene, 10, &[5, 5]);
    hold(&mut scene, 13, &[7, 8]);
    assert!(
        message(&scene).contains("w0 and w1 held different weights after step 13"),
        "{}",
        message(&scene)
    );
    again(&mut scene, 2);
    let told = scene.work["w0"].checkpoints.as_ref().unwrap();
    assert_eq!((told.compare_at, scene.past("w0")), (13, vec![10]));
    hold(&mut scene, 12, &[6, 6]);
    assert!(!scene.said("held corrupted weights"), "that is another step");
    hold(&mut scene, 13, &[8, 8]);
    assert!(scene.said("w0 held corrupted weights after step 13"), "{:?}", scene.reasons);
    assert!(!scene.said("w1 held corrupted"), "{:?}", scene.reasons);
}

#[test]
fn a_replay_that_agrees_with_nobody_names_nobody() {
    let mut scene = training();
    hold(&mut scene, 13, &[7, 8]);
    again(&mut scene, 2);
    hold(&mut scene, 13, &[9, 9]);
    assert!(scene.said("does not tell whether w0 or w1 was wrong"), "{:?}", scene.reasons);
    assert!(!scene.said("held corrupted"), "{:?}", scene.reasons);
    assert!(message(&scene).contains("were found on w0 or w1"), "{}", message(&scene));
}

#[test]
fn a_checkpoint_at_which_ranks_disagree_is_none() {
    let mut scene = training();
    let epoch = scene.work["w0"].epoch;
    keep(&mut scene, 10, &[5, 5]);
    scene.keep_copy("w0", 20, Some(copy(7)));
    scene.keep_copy("w1", 20, Some(copy(8)));
    assert!(scene.keeps.is_empty(), "half of it is of a rank that is wrong");
    assert_eq!(scene.discarded, [(epoch, 20)]);
    again(&mut scene, 2);
    assert_eq!(scene.past("w0"), [10]);
    scene.keep_copy("w0", 20, Some(copy(7)));
    scene.keep_copy("w1", 20, None);
    assert!(scene.keeps.is_empty(), "nobody knows what w1 holds");
}

#[test]
fn only_ranks_that_hold_the_same_are_compared() {
    let mut scene = Scene::with(Sketch::chain(), 4, &["w0", "w1", "w2", "w3"]);
    scene.done("w0");
    scene.commit();
    let say = |scene: &mut Scene, step, hashes: [u64; 4]| {
        for (rank, hash) in hashes.into_iter().enumerate() {
            scene.hold(&format!("w{rank}"), step, Copied { group: rank as u64 % 2, hash });
        }
    };
    say(&mut scene, 5, [1, 2, 1, 2]);
    assert!(!scene.said("silent corruption"));
    say(&mut scene, 6, [1, 2, 1, 3]);
    assert!(scene.said("w1 and w3 held different weights after step 6"), "{:?}", scene.reasons);
}

#[test]
fn a_worker_that_is_wrong_again_and_again_gets_no_more_work() {
    let mut scene = on_three();
    for step in 1..=MOST_NAMED {
        assert_eq!(scene.state.phase, Phase::Running);
        keep(&mut scene, 10 * step, &[5, 5, 5]);
        hold(&mut scene, 10 * step + 1, &[7, 7, 8]);
        if step < MOST_NAMED {
            again(&mut scene, 3);
            assert_eq!(scene.works_on("w2").as_deref(), Some("model"), "named {step} times");
        }
    }
    assert!(scene.said("w2 is not used any more"), "{:?}", scene.reasons);
    let Phase::Failed(code) = scene.state.phase else { panic!("three workers are wanted, and two are left") };
    assert_eq!(code, fulcrum_common::exit::NO_PROGRESS);
    assert!(scene.state.reason.contains("w2 is not used any more"), "{}", scene.state.reason);
}

#[test]
fn where_fewer_may_go_on_they_do_without_the_worker_that_is_wrong() {
    let mut scene = on_three();
    scene.state.fewest = 2;
    for step in 1..=MOST_NAMED {
        hold(&mut scene, step, &[7, 7, 8]);
        again(&mut scene, 3);
    }
    assert_eq!(scene.state.phase, Phase::Running);
    for _ in 0..40 {
        scene.live(1000, &["w0", "w1", "w2"]);
    }
    assert_eq!(scene.works_on("w0").as_deref(), Some("model"));
    assert_eq!(scene.works_on("w2"), None);
}

/// The coordinator is killed and started again, and the workers say hello with nothing to do.
fn restart(scene: &mut Scene, world: usize) {
    scene.restart();
    for rank in 0..world {
        scene.join(&format!("w{rank}"));
    }
}

#[test]
fn a_restart_forgets_neither_how_often_a_worker_was_wrong_nor_that_it_gets_no_work() {
    let mut scene = on_three();
    for step in 1..=MOST_NAMED {
        hold(&mut scene, step, &[7, 7, 8]);
        assert_eq!(scene.said("w2 is not used any more"), step == MOST_NAMED, "time {step}");
        restart(&mut scene, 3);
        scene.state.fewest = 2;
        assert!(message(&scene).contains("were found on w2"), "{}", message(&scene));
        for _ in 0..40 {
            scene.live(1000, &["w0", "w1", "w2"]);
        }
        assert_eq!(scene.works_on("w0").as_deref(), Some("model"));
        let used = (step < MOST_NAMED).then_some("model");
        assert_eq!(scene.works_on("w2").as_deref(), used, "named {step} times");
    }
    assert!(scene.said("w2 gets no work"), "{:?}", scene.reasons);
}

#[test]
fn a_replay_after_a_restart_says_who_was_wrong() {
    let mut scene = training();
    hold(&mut scene, 13, &[7, 8]);
    restart(&mut scene, 2);
    scene.live(1000, &["w0", "w1"]);
    assert_eq!(scene.work["w0"].checkpoints.as_ref().unwrap().compare_at, 13);
    hold(&mut scene, 13, &[8, 8]);
    assert!(scene.said("w0 held corrupted weights after step 13"), "{:?}", scene.reasons);
    restart(&mut scene, 2);
    scene.live(1000, &["w0", "w1"]);
    assert_eq!(scene.work["w0"].checkpoints.as_ref().unwrap().compare_at, 0, "that is settled");
}

#[test]
fn what_a_gang_made_counts_once_all_have_said_that_they_hold_the_same_in_the_end() {
    let mut scene = on_three();
    hold(&mut scene, 30, &[7, 7]);
    scene.done("w0");
    assert!(scene.commits.is_empty(), "w2 has not said what it holds");
    scene.hold("w2", 30, copy(7));
    assert_eq!(scene.commits.len(), 1);
}

#[test]
fn who_holds_something_else_in_the_end_is_named_and_what_was_made_is_made_again() {
    let mut scene = on_three();
    keep(&mut scene, 20, &[5, 5, 5]);
    let epoch = scene.work["w1"].epoch;
    hold(&mut scene, 30, &[8, 7]);
    scene.done("w0");
    scene.hold("w2", 30, copy(7));
    assert!(scene.commits.is_empty());
    assert!(scene.said("w0 held other weights than the rest after step 30"), "{:?}", scene.reasons);
    for seat in ["w1", "w2"] {
        let epoch = scene.work.remove(seat).unwrap().epoch;
        scene.say(seat, Event::Failed { epoch, failure: Failure { membership: true, ..fault(true) } });
    }
    scene.beat("w0");
    assert!(scene.work["w0"].epoch > epoch && scene.past("w1") == [20], "{:?}", scene.reasons);
}

#[test]
fn a_rank_that_came_to_the_end_without_a_word_is_not_waited_for() {
    let mut scene = on_three();
    hold(&mut scene, 30, &[7, 7]);
    let quiet = scene.work["w2"].epoch;
    scene.done("w0");
    scene.work.remove("w2");
    scene.say("w2", Event::Done { epoch: quiet, files: vec![], facts: Default::default() });
    assert_eq!(scene.commits.len(), 1);
}

#[test]
fn a_gang_that_loses_a_rank_before_it_said_what_it_holds_makes_its_stage_again() {
    let mut scene = on_three();
    keep(&mut scene, 20, &[5, 5, 5]);
    hold(&mut scene, 30, &[7, 7]);
    scene.done("w0");
    scene.close("w2");
    assert!(scene.commits.is_empty() && scene.said("lost w2"), "{:?}", scene.reasons);
}
