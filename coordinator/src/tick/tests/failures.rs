//! One test per rule about what a failure costs: work, shards, commits, files of the wrong attempt.

use fulcrum_common::exit;

use super::{
    builder::{Scene, Sketch, fault},
    commands, labelling, training,
};
use crate::{
    Event, Failure, Phase, Record, StageState, status,
    tick::{
        faults::{MAX_MEMBERSHIP_FAULTS, MAX_WORK_FAULTS},
        results::COMMIT_PAUSE_MS,
    },
};

#[test]
fn a_failure_for_good_fails_the_run_and_calls_everybody_off() {
    let mut scene = training();
    scene.fail("w1", Failure { code: exit::DIGEST, ..fault(false) });
    assert_eq!(scene.state.phase, Phase::Failed(exit::DIGEST));
    assert_eq!(scene.state.reason, "stage \"model\" failed: out of memory");
    assert!(commands(&scene, "w0").ends_with(&["abort", "drain"]), "{:?}", commands(&scene, "w0"));
    assert_eq!(scene.word("model"), "failed");
}

#[test]
fn work_that_fails_again_and_again_ends_the_run() {
    let mut scene = training();
    for attempt in 1..=MAX_WORK_FAULTS {
        assert_eq!(scene.state.phase, Phase::Running, "attempt {attempt}");
        scene.fail("w1", fault(true));
        let epoch = scene.work.remove("w0").unwrap().epoch;
        scene.say("w0", Event::Failed { epoch, failure: Failure { membership: true, ..fault(true) } });
    }
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS));
}

#[test]
fn work_that_ends_the_run_gives_it_its_own_exit_code() {
    for (code, ends) in [(0, exit::NO_PROGRESS), (exit::INTERNAL, exit::INTERNAL)] {
        let mut scene = Scene::with(Sketch::chain(), 1, &["w0"]);
        for _ in 0..MAX_WORK_FAULTS {
            scene.fail("w0", Failure { code, ..fault(true) });
        }
        assert_eq!(scene.state.phase, Phase::Failed(ends));
    }
    let mut scene = Scene::with(Sketch::chain(), 1, &["w0"]);
    for _ in 0..MAX_MEMBERSHIP_FAULTS {
        scene.fail("w0", Failure { code: exit::INTERNAL, membership: true, ..fault(true) });
    }
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS), "what a peer did is not the work's bug");
}

#[test]
fn a_shard_that_fails_again_and_again_ends_the_run_whatever_others_do() {
    let mut scene = labelling();
    scene.allow_poison(0);
    for attempt in 1..=MAX_WORK_FAULTS {
        if attempt == 3 {
            // It waits, and others go on.
            scene.done("w1");
            scene.done("w0");
            scene.live(1_000, &["w0", "w1"]);
        }
        assert_eq!(scene.work["w0"].shard.unwrap().index, 0, "attempt {attempt}");
        scene.fail("w0", fault(true));
    }
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS));
    assert!(scene.state.reason.contains("shard 0: out of memory"), "{}", scene.state.reason);
}

#[test]
fn lost_workers_end_the_run_only_after_very_many() {
    let mut scene = training();
    for attempt in 1..=MAX_MEMBERSHIP_FAULTS {
        assert_eq!(scene.state.phase, Phase::Running, "attempt {attempt}");
        scene.close("w0");
        scene.close("w1");
        for seat in ["w0", "w1"] {
            scene.join(seat);
            scene.beat(seat);
        }
    }
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS));
}

#[test]
fn the_cause_counts_also_when_a_peer_told_its_effect_first() {
    let mut scene = training();
    scene.fail("w0", Failure::membership("connection reset".into()));
    assert_eq!(scene.state.phase, Phase::Running);
    scene.fail("w1", fault(false));
    assert_eq!(scene.state.phase, Phase::Failed(exit::MISMATCH));
    assert!(scene.state.reason.contains("out of memory"));
}

#[test]
fn a_refused_commit_makes_the_stage_anew() {
    let mut scene = labelling();
    scene.done("w0");
    scene.done("w1");
    scene.done("w0");
    scene.commit_fails("part-0 is missing", true);
    assert_eq!(scene.work["w0"].shard.unwrap().index, 0);
    assert!(scene.said("commit failed: part-0 is missing"));
}

#[test]
fn what_the_store_could_not_take_is_kept_and_committed_again_after_a_pause() {
    let mut scene = training();
    scene.done("w0");
    scene.fail("w1", Failure { membership: true, ..fault(true) });
    let made = scene.commits[0].clone();
    for _ in 0..2 * MAX_WORK_FAULTS {
        scene.commit_fails("no space left", false);
        assert_eq!((scene.word("model"), scene.commits.len()), ("running", 0));
        scene.live(COMMIT_PAUSE_MS - 500, &["w0", "w1"]);
        assert!(scene.commits.is_empty() && scene.work.is_empty(), "not yet");
        let reply = status(&scene.state);
        assert!(reply.reason.contains("\"model\": commit failed") && reply.reason.contains("no space left"));
        scene.live(500, &["w0", "w1"]);
        assert_eq!(scene.commits, std::slice::from_ref(&made));
    }
    let told = scene.records.iter().filter(|record| {
        matches!(record, Record::Stage { message, pending: Some(_), .. } if message.contains("no space"))
    });
    assert_eq!(told.count(), 1, "the same failure is no news");
    scene.commit();
    assert_eq!((scene.word("model"), scene.state.reason.as_str()), ("done", ""));
}

#[test]
fn a_run_that_is_stopped_does_not_wait_for_a_store_that_takes_nothing() {
    let mut scene = Scene::with(Sketch::chain(), 1, &["w0"]);
    scene.done("w0");
    scene.step([crate::Input::Stop]);
    scene.say("w0", Event::Leaving);
    assert!(!scene.state.settled(2000), "the commit is under way");
    scene.commit_fails("no space left", false);
    assert!(scene.state.settled(2000));
    scene.restart();
    scene.commit();
    assert_eq!(scene.word("data"), "done", "the journal has kept it");
}

#[test]
fn files_of_another_attempt_are_no_result_of_this_one() {
    for shards in [false, true] {
        let mut scene = if shards { labelling() } else { training() };
        let Event::Done { epoch, mut files, facts } = Scene::product(&scene.work["w0"]) else { panic!() };
        files[0].path = files[0].path.replace(&format!("/{epoch}/"), &format!("/{}/", epoch - 1));
        scene.work.remove("w0");
        scene.say("w0", Event::Done { epoch, files, facts });
        assert!(scene.said(&format!("not in epoch {epoch}")));
        assert!(scene.commits.is_empty() && scene.state.phase == Phase::Running);
        let again = scene.state.stages.iter().find(|entry| !entry.message.is_empty()).unwrap();
        assert!(again.message.contains("not in epoch") && !again.state().is_made());
        if shards {
            assert_eq!(scene.work["w0"].shard.unwrap().index, 0, "the shard is made again");
        }
    }
}

#[test]
fn a_stage_that_no_message_could_be_about_fails_with_the_way_out() {
    let mut scene = labelling();
    let StageState::Shards(shards) = scene.state.stages[2].state() else { panic!("not in shards") };
    assert_eq!(shards.count(), 3);
    scene.done("w0");
    scene.done("w1");
    scene.done("w0");
    let file = scene.commits[0].files[0].clone();
    scene.commits[0].files = vec![file; 100_000];
    scene.commit();
    assert_eq!(scene.state.phase, Phase::Failed(exit::MISMATCH));
    assert!(scene.state.reason.contains("raise `shard` under [infer]"), "{}", scene.state.reason);
}

#[test]
fn too_many_shards_fail_the_run_and_name_the_key_that_helps() {
    let mut scene = Scene::with(Sketch::chain(), 1, &["w0"]);
    let epoch = scene.work.remove("w0").unwrap().epoch;
    let facts = [("rows/corpus".to_owned(), 1 << 20)].into();
    scene.say("w0", Event::Done { epoch, files: vec![], facts });
    scene.commit();
    scene.done("w0");
    scene.commit();
    assert!(scene.state.reason.contains("1048576 rows in shards of 4"), "{}", scene.state.reason);
    assert!(scene.state.reason.contains("raise `shard` under [infer]"), "{}", scene.state.reason);
}
