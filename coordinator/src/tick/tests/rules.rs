//! One test per rule about who is here, what a worker is told, and how a run ends; those about who is given what are
//! in `placement`, those about what goes wrong in `failures`.

use fulcrum_common::exit;

use super::{
    builder::{ROWS, SHARD, Scene, Sketch, fault, manifest},
    commands, labelling, training,
};
use crate::{
    Event, Failure, Phase, Progress, ShardState, StageState, WorkerState, status, tick::MAX_WORKERS,
};

#[test]
fn a_run_goes_through_its_plan_and_sends_everybody_home() {
    let mut scene = labelling();
    scene.done("w0");
    scene.done("w1");
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.works_on("w0").as_deref(), Some("goal"));
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.state.phase, Phase::Done);
    assert_eq!(commands(&scene, "w1").last(), Some(&"drain"));
    assert!(!scene.state.settled(2000), "the workers have not left");
    scene.say("w0", Event::Leaving);
    scene.say("w1", Event::Leaving);
    assert!(scene.state.settled(2000));
}

#[test]
fn a_worker_is_given_nothing_before_it_says_that_it_is_free() {
    let mut scene = Scene::new(Sketch::chain(), 1);
    scene.join("w0");
    assert_eq!(commands(&scene, "w0"), ["welcome"]);
    scene.beat("w0");
    assert_eq!(commands(&scene, "w0"), ["welcome", "assignment"]);
}

#[test]
fn workers_of_other_versions_are_refused() {
    for spoil in [|hello: &mut crate::Hello| hello.protocol += 1, |hello: &mut crate::Hello| hello.code += 1]
    {
        let mut scene = Scene::new(Sketch::chain(), 1);
        let mut hello = Scene::hello("w0", 1);
        spoil(&mut hello);
        scene.greet(hello);
        assert_eq!(commands(&scene, "w0"), ["refused"]);
        assert!(scene.state.workers.seats() == 0);
    }
}

#[test]
fn a_new_process_takes_its_seat_and_the_old_one_cannot_come_back() {
    let mut scene = training();
    let old = scene.state.workers["w1"].hello.clone();
    let (stream, work) = (scene.streams["w1"], scene.work["w1"].clone());
    scene.join("w1");
    assert!(scene.said("a newer process has taken its seat"));
    assert_eq!(commands(&scene, "w0").last(), Some(&"abort"));
    let before = scene.records.len();
    scene.step([crate::Input::Worker { session: stream, event: Scene::product(&work) }]);
    assert_eq!(scene.records.len(), before, "what the old process says is ignored");
    assert!(scene.said("ignored a message of the closed stream"));
    scene.greet(old);
    assert_eq!(commands(&scene, "w1").last(), Some(&"refused"));
}

#[test]
fn a_silent_worker_is_lost_when_its_lease_ends_and_its_gang_with_it() {
    let mut scene = training();
    let epoch = scene.work["w0"].epoch;
    for _ in 0..19 {
        scene.beat("w0");
        scene.wait(100);
    }
    assert_eq!(scene.word("model"), "running");
    scene.beat("w0");
    scene.wait(100);
    assert_eq!(scene.state.workers["w1"].state(), WorkerState::Lost);
    assert_eq!(scene.state.workers["w0"].state(), WorkerState::Aborting(epoch));
    assert!(scene.said("w1 is gone: not heard of for 2000 ms"));
    scene.fail("w0", Failure { membership: true, retry: true, ..fault(true) });
    assert!(!scene.work.contains_key("w0"), "a gang of two cannot form of one");
    scene.join("w1");
    scene.beat("w1");
    assert!(scene.work["w0"].epoch > epoch && scene.work["w0"].epoch == scene.work["w1"].epoch);
}

#[test]
fn a_coordinator_that_was_away_blames_nobody_for_silence() {
    let mut scene = training();
    scene.now += 60_000;
    scene.step([]);
    assert_eq!(scene.word("model"), "running");
    assert!(scene.said("the coordinator itself was away for 60000 ms"));
}

#[test]
fn a_stream_that_ends_ends_the_epoch_at_once() {
    let mut scene = training();
    scene.close("w1");
    assert_eq!(commands(&scene, "w0").last(), Some(&"abort"));
    assert_eq!(scene.word("model"), "ready");
    assert_eq!(scene.state.phase, Phase::Running, "a lost worker is not the work's fault");
}

#[test]
fn a_late_result_of_an_epoch_that_is_over_counts_for_nothing() {
    let mut scene = training();
    scene.close("w1");
    scene.done("w0");
    assert!(scene.commits.is_empty());
    assert!(scene.said("the epoch is over"));
    assert_eq!(scene.state.workers["w0"].state(), WorkerState::Idle, "but the worker is free");
}

#[test]
fn a_worker_that_comes_back_in_the_middle_of_an_epoch_is_told_to_give_it_up() {
    let mut scene = training();
    let (hello, epoch) = (scene.state.workers["w1"].hello.clone(), scene.work["w1"].epoch);
    scene.greet(hello);
    scene.say("w1", Event::Heartbeat(Progress { epoch, ..Progress::default() }));
    assert_eq!(commands(&scene, "w1").last(), Some(&"abort"));
    scene.say("w1", Event::Heartbeat(Progress::default()));
    assert_eq!(scene.state.workers["w1"].state(), WorkerState::Idle);
}

#[test]
fn a_heartbeat_from_before_the_assignment_is_no_news_but_dropped_work_is() {
    let mut scene = training();
    scene.say("w0", Event::Heartbeat(Progress::default()));
    assert_eq!(scene.word("model"), "running");
    scene.beat("w0");
    scene.say("w0", Event::Heartbeat(Progress::default()));
    assert!(scene.said("w0 dropped epoch"));
    assert_eq!(scene.word("model"), "ready");
}

#[test]
fn the_meeting_place_goes_from_rank_0_to_the_others_and_from_nobody_else() {
    let mut scene = training();
    let epoch = scene.work["w0"].epoch;
    let meet = |epoch| Event::Rendezvous { epoch, address: "127.0.0.1:1".into() };
    scene.say("w1", meet(epoch));
    scene.say("w0", meet(epoch - 1));
    assert!(!commands(&scene, "w1").contains(&"rendezvous") && scene.said("it is not rank 0"));
    scene.say("w0", meet(epoch));
    assert_eq!(commands(&scene, "w1").last(), Some(&"rendezvous"));
    assert!(!commands(&scene, "w0").contains(&"rendezvous"));
}

#[test]
fn rank_0_speaks_for_its_gang() {
    let mut scene = training();
    scene.done("w1");
    assert_eq!(scene.word("model"), "running");
    assert!(scene.commits.is_empty());
    scene.done("w0");
    assert_eq!(scene.commits[0].files.len(), 1);
    assert_eq!(scene.word("model"), "running", "not before it is committed");
    scene.commit();
    assert_eq!(scene.word("model"), "done");
}

#[test]
fn the_loss_of_a_member_after_rank_0_is_done_harms_nothing() {
    let mut scene = training();
    scene.done("w0");
    assert_eq!(commands(&scene, "w1").last(), Some(&"abort"), "its work is of no use any more");
    scene.close("w1");
    scene.commit();
    assert_eq!(scene.word("model"), "done");
}

#[test]
fn a_lost_worker_costs_its_shard_and_no_other() {
    let mut scene = labelling();
    scene.done("w1");
    scene.close("w0");
    let StageState::Shards(shards) = scene.state.stages[2].state() else { panic!("not in shards") };
    let pending = |state: &ShardState| *state == ShardState::Pending;
    let states: Vec<&ShardState> = shards.iter().map(|shard| &shard.state).collect();
    assert!(pending(states[0]) && matches!(states[1], ShardState::Done(_)));
    scene.done("w1");
    assert_eq!(scene.work["w1"].shard.unwrap().index, 0);
}

#[test]
fn no_rows_are_one_empty_shard() {
    let mut scene = Scene::with(Sketch::chain(), 1, &["w0"]);
    let epoch = scene.work.remove("w0").unwrap().epoch;
    let facts = [("rows/corpus".to_owned(), 0)].into();
    scene.say("w0", Event::Done { epoch, files: vec![], facts });
    scene.commit();
    scene.done("w0");
    scene.commit();
    let shard = scene.work["w0"].shard.unwrap();
    assert_eq!((shard.index, shard.start, shard.end), (0, 0, 0));
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.word("labels"), "done");
}

#[test]
fn data_without_a_row_count_fails_the_run_and_says_so() {
    let mut scene = Scene::with(Sketch::chain(), 1, &["w0"]);
    let epoch = scene.work.remove("w0").unwrap().epoch;
    scene.say("w0", Event::Done { epoch, files: vec![], facts: Default::default() });
    scene.commit();
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.state.phase, Phase::Failed(exit::MISMATCH));
    assert!(scene.state.reason.contains("labels") && scene.state.reason.contains("rows/corpus"));
}

#[test]
fn what_stands_in_the_store_is_not_made_again() {
    let plan = Sketch::chain();
    let mut scene = Scene::new(plan.clone(), 1);
    for stage in &plan.stages()[..2] {
        scene.store.insert(stage.key, manifest(stage));
    }
    scene.restart();
    assert_eq!((scene.word("data"), scene.word("model")), ("cached", "cached"));
    scene.join("w0");
    scene.beat("w0");
    assert_eq!(scene.works_on("w0").as_deref(), Some("labels"));
}

#[test]
fn a_run_whose_goal_stands_in_the_store_is_done_before_anybody_joins() {
    let plan = Sketch::chain();
    let mut scene = Scene::new(plan.clone(), 1);
    let goal = plan.stages().last().unwrap();
    scene.store.insert(goal.key, manifest(goal));
    scene.restart();
    scene.step([]);
    assert_eq!(scene.state.phase, Phase::Done);
    assert!(scene.state.settled(2000));
    scene.join("w0");
    assert_eq!(commands(&scene, "w0"), ["welcome", "drain"]);
}

#[test]
fn a_restart_keeps_finished_shards_and_goes_on_counting_epochs() {
    let mut scene = labelling();
    scene.done("w0");
    let epoch = scene.work["w0"].epoch;
    scene.restart();
    scene.join("w0");
    scene.beat("w0");
    assert!(scene.work["w0"].epoch > epoch);
    assert_eq!(scene.work["w0"].shard.unwrap().index, 1);
}

#[test]
fn a_restart_commits_what_was_made_and_not_yet_committed() {
    let mut scene = training();
    scene.done("w0");
    scene.restart();
    assert_eq!(scene.word("model"), "running");
    scene.commit();
    assert_eq!(scene.word("model"), "done");
}

#[test]
fn asked_to_stop_a_run_finishes_what_it_does_and_starts_nothing() {
    let mut scene = labelling();
    scene.step([crate::Input::Stop]);
    assert_eq!(scene.state.phase, Phase::Stopping);
    assert_eq!(commands(&scene, "w0").last(), Some(&"drain"));
    scene.done("w0");
    assert!(!scene.work.contains_key("w0"));
    scene.now += 60_000;
    scene.step([]);
    assert!(!scene.state.settled(2000), "w1 may take its time");
    scene.step([crate::Input::Stop]);
    assert_eq!(commands(&scene, "w1").last(), Some(&"abort"));
    scene.close("w0");
    scene.close("w1");
    assert!(scene.state.settled(2000));
}

#[test]
fn too_many_workers_are_refused() {
    let mut scene = Scene::new(Sketch::chain(), 1);
    for index in 0..=MAX_WORKERS {
        scene.join(&format!("w{index}"));
    }
    assert_eq!(commands(&scene, &format!("w{}", MAX_WORKERS)), ["refused"]);
}

#[test]
fn the_status_says_how_far_everything_is() {
    let mut scene = labelling();
    scene.done("w1");
    scene.beat("w0");
    let reply = status(&scene.state);
    let words: Vec<_> = reply.stages.iter().map(|stage| stage.state.as_str()).collect();
    assert_eq!(words, ["done", "done", "running", "waiting"]);
    let labels = &reply.stages[2];
    assert_eq!((labels.done, labels.total), (SHARD as u64 + 1, ROWS));
    assert_eq!(reply.workers[0].state, "working");
    assert_eq!(reply.phase, "running");
}
