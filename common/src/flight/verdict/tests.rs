//! One view of a gang for each thing that can hold it up.

use super::*;
use crate::protocol::{FlightCall, FlightGroup};

/// Rank `rank` of a gang of three, in forward of step 41, heard of just now, with three operations behind it.
fn rank(rank: u32) -> WorkerStatus {
    let groups = vec![FlightGroup { name: "all".into(), begun: 317, ended: 317 }];
    WorkerStatus {
        worker: format!("w{rank}"),
        host: "a".into(),
        state: "working".into(),
        stage: "student".into(),
        rank,
        world: 3,
        got_on_ms: 12_000,
        flight: Some(Flight {
            doing: "forward".into(),
            doing_ms: 12_000,
            step: 41,
            groups,
            ..Flight::default()
        }),
        ..WorkerStatus::default()
    }
}

fn flight(worker: &mut WorkerStatus) -> &mut Flight {
    worker.flight.as_mut().unwrap()
}

fn does(doing: &str, mut worker: WorkerStatus) -> WorkerStatus {
    flight(&mut worker).doing = doing.into();
    worker
}

/// It has begun operation 318 and waits for it.
fn waits(operation: &str, bytes: u64, worker: WorkerStatus) -> WorkerStatus {
    waits_in("all", 318, operation, bytes, worker)
}

fn waits_in(group: &str, sequence: u64, operation: &str, bytes: u64, worker: WorkerStatus) -> WorkerStatus {
    let mut worker = does("communication", worker);
    let it = flight(&mut worker);
    it.groups.retain(|other| other.name != group);
    it.groups.push(FlightGroup { name: group.into(), begun: sequence, ended: sequence - 1 });
    let (group, operation) = (group.into(), operation.into());
    it.waits = Some(FlightCall { group, sequence, operation, bytes, ms: 11_000 });
    worker
}

fn said(workers: Vec<WorkerStatus>) -> String {
    verdict(&StatusReply { phase: "running".into(), workers, ..StatusReply::default() }).verdict
}

fn reduces(at: u32) -> WorkerStatus {
    waits("all-reduce", 1_200_000, rank(at))
}

#[test]
fn a_rank_that_computes_holds_up_those_that_wait_for_it() {
    let late = does("backward", rank(1));
    assert_eq!(
        said(vec![reduces(0), late, reduces(2)]),
        "student step 41: ranks 0 and 2 wait in all-reduce 318 of 1.2 MB for rank 1 (worker w1 on a), which has \
         been in backward for 12.0 s"
    );
}

#[test]
fn what_holds_a_late_rank_up_is_said() {
    for (doing, told) in [
        ("snapshot", "has been waiting for a snapshot to be copied for 12.0 s"),
        ("data", "has been preparing rows for 12.0 s"),
        ("optimizer", "has been in the optimizer's update for 12.0 s"),
    ] {
        let line = said(vec![reduces(0), does(doing, rank(1)), reduces(2)]);
        assert!(line.contains("for rank 1 (worker w1 on a), which ") && line.ends_with(told), "{line}");
    }
    let mut poor = does("forward", rank(1));
    flight(&mut poor).out_of_memory = true;
    let line = said(vec![reduces(0), poor, reduces(2)]);
    assert!(
        line.ends_with(
            "ran out of memory in this step, tries smaller slots and has been in forward for 12.0 s"
        )
    );
}

#[test]
fn the_time_since_the_last_heartbeat_counts() {
    let mut late = does("backward", rank(1));
    late.heard_ms = 400;
    assert!(said(vec![reduces(0), late, reduces(2)]).ends_with("for 12.4 s"));
}

#[test]
fn several_late_ranks_are_all_named() {
    let line = said(vec![reduces(0), does("backward", rank(1)), does("data", rank(2))]);
    assert!(line.contains(": rank 0 waits in all-reduce 318"), "{line}");
    assert!(line.contains("rank 1 (worker w1 on a)") && line.contains("rank 2 (worker w2 on a)"), "{line}");
}

#[test]
fn a_rank_that_is_not_there_comes_before_everything_else() {
    let mut silent = rank(2);
    silent.heard_ms = 5_000;
    let line = said(vec![reduces(0), silent]);
    assert!(
        line.ends_with("rank 0 waits in all-reduce 318 of 1.2 MB for rank 1, which is not there"),
        "{line}"
    );
}

#[test]
fn a_silent_rank_is_waited_for_whatever_it_said_last() {
    let mut silent = reduces(1);
    silent.heard_ms = 1_700;
    let line = said(vec![reduces(0), silent, reduces(2)]);
    assert!(line.ends_with("for rank 1 (worker w1 on a), which has not been heard of for 1.7 s"), "{line}");
}

#[test]
fn ranks_in_other_operations_of_the_same_number_contradict_each_other() {
    for other in [waits("all-gather", 1_200_000, rank(1)), waits("all-reduce", 4, rank(1))] {
        let line = said(vec![reduces(0), other, reduces(2)]);
        assert!(
            line.contains("the ranks contradict each other: rank 0 (worker w0 on a) is in all-reduce 318")
        );
        assert!(line.contains("and rank 1 (worker w1 on a) is in "), "{line}");
    }
}

#[test]
fn where_all_are_in_one_operation_it_is_the_network() {
    let mut far = reduces(2);
    far.host = "b".into();
    let line = said(vec![reduces(0), reduces(1), far]);
    assert!(line.contains("ranks 0, 1 and 2 wait in all-reduce 318 of 1.2 MB for 11.0 s"), "{line}");
    assert!(line.ends_with("every rank has begun it: it is the network between a and b"), "{line}");
}

#[test]
fn groups_are_told_apart_and_the_chain_is_followed_to_its_end() {
    // Rank 0 waits for rank 1 in its row, rank 1 for rank 2 in the gang, and rank 2 computes.
    let row = |begun| FlightGroup { name: "shards 0".into(), begun, ended: begun };
    let first = waits_in("shards 0", 9, "all-gather", 64, rank(0));
    let mut second = reduces(1);
    flight(&mut second).groups.push(row(8));
    let line = said(vec![first, second, does("backward", rank(2))]);
    assert!(line.ends_with("for rank 2 (worker w2 on a), which has been in backward for 12.0 s"), "{line}");
    // Where rank 2 waits for rank 0, they all wait.
    let third = waits_in("copies 0", 5, "all-reduce", 8, rank(2));
    let mut first = waits_in("shards 0", 9, "all-gather", 64, rank(0));
    flight(&mut first).groups.push(FlightGroup { name: "copies 0".into(), begun: 4, ended: 4 });
    let mut second = reduces(1);
    flight(&mut second).groups.push(row(8));
    let line = said(vec![first, second, third]);
    assert!(
        line.contains("the ranks wait for each other: rank 0 (worker w0 on a) in all-gather 9"),
        "{line}"
    );
}

#[test]
fn who_meets_waits_for_those_that_come_late() {
    let begins = |at, doing| {
        let mut worker = does(doing, rank(at));
        flight(&mut worker).groups.clear();
        worker
    };
    let line = said(vec![begins(0, "meeting"), begins(1, "inputs"), begins(2, "meeting")]);
    assert_eq!(
        line,
        "student: ranks 0 and 2 wait to meet rank 1 (worker w1 on a), which has been reading its inputs for 12.0 s"
    );
    let line = said((0..3).map(|at| begins(at, "meeting")).collect());
    assert!(line.ends_with("wait for 12.0 s to meet, and nobody is missing: it is the network"), "{line}");
}

#[test]
fn where_nobody_waits_the_longest_is_named_or_it_gets_on() {
    let line = said((0..3).map(rank).collect());
    assert!(line.ends_with("has been in forward for 12.0 s, and nobody waits"), "{line}");
    let quick = |at| WorkerStatus { got_on_ms: 300, ..rank(at) };
    let line = said((0..3).map(quick).collect());
    assert_eq!(line, "student step 41: it gets on, last 0.3 s ago");
    // A wait that has just begun is none, and one that lasts is, although another step was told meanwhile.
    let mut waiting = WorkerStatus { got_on_ms: 300, ..reduces(0) };
    assert!(said(vec![waiting.clone(), quick(1), quick(2)]).contains("waits in all-reduce"));
    flight(&mut waiting).waits.as_mut().unwrap().ms = 200;
    assert!(said(vec![waiting, quick(1), quick(2)]).contains("it gets on"));
}

#[test]
fn a_shard_is_measured_by_those_that_are_finished() {
    let out = |shard, working_ms, got_on_ms| {
        let mut worker = does("work", rank(0));
        (worker.shard, worker.stage, worker.got_on_ms) = (Some(shard), "labels".into(), got_on_ms);
        flight(&mut worker).working_ms = working_ms;
        worker
    };
    let said = |usual, workers| {
        let stage = StageStatus { name: "labels".into(), shard_ms: usual, ..StageStatus::default() };
        verdict(&StatusReply {
            phase: "running".into(),
            stages: vec![stage],
            workers,
            ..StatusReply::default()
        })
        .verdict
    };
    assert_eq!(
        said(8_000, vec![out(3, 2_000, 100), out(7, 48_000, 20_000)]),
        "labels: shard 7 is out with worker w0 on a for 48.0 s, and half of the finished ones took 8.0 s at most; it \
         has been at work for 12.0 s"
    );
    let line = said(8_000, vec![out(3, 2_000, 100), out(7, 9_000, 100)]);
    assert!(line.starts_with("labels: it gets on, shard 7 is out") && !line.contains("at work"), "{line}");
    assert!(said(0, vec![out(7, 9_000, 100)]).ends_with("and none is finished to compare with"));
    let silent = WorkerStatus { heard_ms: 1_500, ..out(7, 9_000, 100) };
    assert!(said(0, vec![silent]).ends_with("it has not been heard of for 1.5 s"));
}

#[test]
fn what_is_held_up_longest_comes_first_and_reasons_of_waiting_last() {
    let mut other = does("work", rank(0));
    (other.stage, other.shard, other.got_on_ms) = ("labels".into(), Some(2), 100);
    let workers = vec![other, reduces(0), does("backward", rank(1)), reduces(2)];
    let reason = "\"merge\": no space left on device".to_owned();
    let found = verdict(&StatusReply { phase: "running".into(), reason, workers, ..StatusReply::default() });
    assert!(found.verdict.starts_with("student step 41: ranks 0 and 2 wait"), "{}", found.verdict);
    assert_eq!(found.more.last().unwrap(), "waiting: \"merge\": no space left on device");
    assert_eq!(found.more.len(), 2);
    let cells: Vec<_> = found.ranks.iter().map(|row| (row.place.as_str(), row.step)).collect();
    let expected =
        [("shard 2", None), ("rank 0 of 3", Some(41)), ("rank 1 of 3", Some(41)), ("rank 2 of 3", Some(41))];
    assert_eq!(cells, expected);
    assert_eq!(found.ranks[1].collective, "waits in all-reduce 318 (all) for 11.0 s");
    assert_eq!(found.ranks[2].collective, "317 of 317 ended (all)");
}

#[test]
fn a_run_in_which_nobody_works_says_what_it_waits_for() {
    let stage = |name: &str, state: &str| StageStatus {
        name: name.into(),
        state: state.into(),
        ..StageStatus::default()
    };
    let reply = |phase: &str, reason: &str, stages| StatusReply {
        run: "tiny".into(),
        phase: phase.into(),
        reason: reason.into(),
        stages,
        ..StatusReply::default()
    };
    for (reply, line) in [
        (
            reply("running", "\"a\" waits for 2 equal workers to join", vec![]),
            "waiting: \"a\" waits for 2 equal workers to join",
        ),
        (reply("running", "", vec![stage("a", "running")]), "a is on its way into the store"),
        (reply("running", "", vec![stage("a", "ready")]), "a waits for workers: 0 are here"),
        (reply("failed", "no space", vec![]), "tiny is failed: no space"),
    ] {
        assert_eq!(verdict(&reply).verdict, line);
    }
}
