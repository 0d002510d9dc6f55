//! Rows that cannot be computed: which failures make rows suspect, how they are looked for, and what is left out.

use std::collections::BTreeSet;

use fulcrum_common::{
    exit,
    plan::rows_left_out,
    protocol::{Assignment, command::Command},
};

use super::{
    builder::{ROWS, SHARD as SIZE, Scene, fault},
    labelling,
};
use crate::{
    Event, Failure, Fell, Phase, Record, StageState,
    input::{Hello, Input},
    status,
    tick::faults::MAX_WORK_FAULTS,
};

const SHARD: u64 = SIZE as u64;

/// The rows that an assignment computes, by position; a row's number is ten times that.
fn computed(work: &Assignment) -> Vec<u64> {
    let shard = work.shard.expect("it is of an inference");
    let rows = work.trial.map_or(shard.start..shard.end, |trial| trial.start..trial.end);
    rows.filter(|row| !work.skip.contains(row)).collect()
}

fn name(position: u64) -> i64 {
    10 * position as i64
}

/// A failure within rows.
fn harm(work: &Assignment, retry: bool) -> Failure {
    let row = if let [row] = computed(work)[..] { Some(name(row)) } else { None };
    Failure { message: "it fails".into(), row, ..fault(retry) }
}

/// What a worker says that finished this assignment.
fn product(work: &Assignment) -> Event {
    let Event::Done { epoch, files, mut facts } = Scene::product(work) else { panic!("it is done") };
    if work.trial.is_some() {
        return Event::Done { epoch, files: vec![], facts: Default::default() };
    }
    facts.extend(work.skip.iter().map(|row| (fulcrum_common::plan::left_out(name(*row)), 1)));
    if !work.skip.is_empty() {
        facts.insert(fulcrum_common::plan::LEFT_OUT.to_owned(), work.skip.len() as u64);
    }
    Event::Done { epoch, files, facts }
}

/// A new process in the seat, which knows where the one before it died.
fn fall(scene: &mut Scene, seat: &str) {
    let work = scene.work[seat].clone();
    let row = if let [row] = computed(&work)[..] { Some(name(row)) } else { None };
    scene.close(seat);
    let fell = Some(Fell { epoch: work.epoch, row });
    let hello = Hello { fell, ..Scene::hello(seat, work.epoch) };
    scene.greet(hello);
    scene.beat(seat);
}

/// Works until nothing is left to do; what is asked of `poison` does `harm` to the worker.
fn work(scene: &mut Scene, poison: &[u64], mut harms: impl FnMut(&mut Scene, &str)) -> Vec<(u64, u64)> {
    let mut trials = Vec::new();
    for _ in 0..400 {
        scene.now += 500;
        scene.step([]);
        for seat in ["w0", "w1"] {
            scene.beat(seat);
            let Some(work) = scene.work.get(seat).filter(|work| work.shard.is_some()).cloned() else {
                continue;
            };
            trials.extend(work.trial.map(|trial| (trial.start, trial.end)));
            if computed(&work).iter().any(|row| poison.contains(row)) {
                harms(scene, seat);
            } else {
                scene.work.remove(seat);
                scene.say(seat, product(&work));
            }
        }
        if scene.state.phase != Phase::Running || !scene.commits.is_empty() {
            break;
        }
    }
    trials
}

fn fails(scene: &mut Scene, seat: &str, retry: bool) {
    let failure = harm(&scene.work[seat], retry);
    scene.fail(seat, failure);
}

fn left_out(scene: &Scene) -> BTreeSet<i64> {
    let manifest =
        scene.commits.first().unwrap_or_else(|| panic!("{}: {:?}", scene.state.reason, scene.reasons));
    rows_left_out(&manifest.facts).unwrap()
}

#[test]
fn a_row_that_fails_or_kills_is_found_and_left_out_by_name_and_all_others_are_there() {
    let poison = [1, SHARD + 2];
    let harms: [fn(&mut Scene, &str); 3] =
        [fall, |scene, seat| fails(scene, seat, true), |scene, seat| fails(scene, seat, false)];
    for harm in harms {
        let mut scene = labelling();
        let trials = work(&mut scene, &poison, harm);
        assert_eq!(left_out(&scene), poison.map(name).into());
        assert_eq!(scene.commits[0].files.len() as u64, ROWS.div_ceil(SHARD));
        assert!(trials.contains(&(0, 0)) && trials.contains(&(1, 2)), "{trials:?}");
        scene.commit();
        let stage = &status(&scene.state).stages[2];
        assert_eq!(stage.note, format!("rows that cannot be computed are left out: 10, {}", name(SHARD + 2)));
    }
}

/// Does nothing until it is called off, and ends itself, while the other worker does what it can; the next process in its seat knows where, if that was the reason.
fn hang(scene: &mut Scene, seat: &str, poison: u64) {
    let other = if seat == "w0" { "w1" } else { "w0" };
    let epoch = scene.work[seat].epoch;
    for _ in 0..2_000 {
        let abort = scene.sent.iter().find_map(|(_, command)| match command {
            Command::Abort(abort) if abort.epoch == epoch => Some(abort.stalled),
            _ => None,
        });
        match abort {
            Some(true) => return fall(scene, seat),
            Some(false) => return scene.close(seat),
            None => scene.live(500, &["w0", "w1"]),
        }
        if let Some(work) = scene.work.get(other).filter(|work| !computed(work).contains(&poison)).cloned() {
            scene.work.remove(other);
            scene.say(other, product(&work));
        }
    }
    panic!("{seat} hangs in epoch {epoch} and is not called off: {:?}", scene.reasons);
}

#[test]
fn a_row_that_never_ends_is_found_and_costs_the_whole_patience_only_until_it_is_suspected() {
    const PATIENCE: u64 = 600_000;
    let mut scene = labelling();
    scene.state.stall = PATIENCE;
    let trials = work(&mut scene, &[SHARD + 2], |scene, seat| hang(scene, seat, SHARD + 2));
    assert_eq!(left_out(&scene), [name(SHARD + 2)].into());
    assert!(trials.len() > 4, "{trials:?}");
    assert!(scene.now < 3 * PATIENCE, "{} ms", scene.now);
}

#[test]
fn one_failure_that_may_pass_or_one_death_suspects_no_row() {
    for (harm, again) in
        [(fall as fn(&mut Scene, &str), false), (|scene, seat| fails(scene, seat, true), false)]
    {
        let (mut scene, mut harmed) = (labelling(), again);
        let trials = work(&mut scene, &[1], |scene, seat| {
            if std::mem::replace(&mut harmed, true) {
                let done = product(&scene.work.remove(seat).unwrap());
                scene.say(seat, done);
            } else {
                harm(scene, seat);
            }
        });
        assert_eq!((trials, left_out(&scene)), (vec![], BTreeSet::new()));
    }
}

#[test]
fn workers_that_are_lost_elsewhere_condemn_nothing() {
    let mut scene = labelling();
    for _ in 0..5 {
        // A successor that knows of no death, and one that knows of another assignment's.
        scene.close("w0");
        scene.join("w0");
        scene.beat("w0");
        let epoch = scene.work.get("w0").map_or(0, |work| work.epoch);
        scene.close("w0");
        scene.greet(Hello {
            fell: Some(Fell { epoch: epoch + 1000, row: None }),
            ..Scene::hello("w0", epoch)
        });
        scene.live(5_000, &["w0", "w1"]);
    }
    let trials = work(&mut scene, &[], fall);
    assert_eq!((trials, left_out(&scene)), (vec![], BTreeSet::new()));
}

#[test]
fn what_fails_without_any_row_is_not_the_rows_and_ends_the_run_as_ever() {
    let mut scene = labelling();
    let mut failures = 0;
    for _ in 0..200 {
        scene.now += 500;
        for seat in ["w0", "w1"] {
            scene.beat(seat);
            if scene.work.contains_key(seat) && scene.state.phase == Phase::Running {
                failures += 1;
                scene.fail(seat, fault(true));
            }
        }
    }
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS));
    assert!(scene.state.reason.ends_with("out of memory"), "{}", scene.state.reason);
    assert!(failures <= 4 * MAX_WORK_FAULTS, "{failures}");
}

#[test]
fn a_configuration_that_fails_every_row_alike_costs_a_handful_of_trials() {
    let mut scene = labelling();
    let all: Vec<u64> = (0..ROWS).collect();
    let mut harmed = 0;
    work(&mut scene, &all, |scene, seat| {
        harmed += 1;
        fails(scene, seat, false);
    });
    assert_eq!(scene.state.phase, Phase::Failed(exit::MISMATCH));
    assert!(
        scene.state.reason.contains("every row that was tried alone fails: it fails"),
        "{}",
        scene.state.reason
    );
    assert!(harmed <= 8, "{harmed}: two shards, three rows each");
    // Whoever starts the run again may have mended it.
    scene.restart();
    for seat in ["w0", "w1"] {
        scene.join(seat);
        scene.beat(seat);
    }
    let trials = work(&mut scene, &[], fall);
    assert_eq!((trials, left_out(&scene)), (vec![], BTreeSet::new()));
}

#[test]
fn more_rows_than_may_be_left_out_end_the_run_with_their_names_and_the_key() {
    let mut scene = labelling();
    scene.allow_poison(1);
    work(&mut scene, &[1, SHARD + 2], fall);
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS));
    let rows = format!("rows 10, {} cannot be computed", name(SHARD + 2));
    let reason = &scene.state.reason;
    assert!(reason.contains(&rows) && reason.contains("poison_rows under [infer] lets 1 be"), "{reason}");
}

#[test]
fn where_no_row_may_be_left_out_nothing_is_looked_for() {
    let mut scene = labelling();
    scene.allow_poison(0);
    let trials = work(&mut scene, &[1], |scene, seat| fails(scene, seat, true));
    assert_eq!((trials, scene.state.phase), (vec![], Phase::Failed(exit::NO_PROGRESS)));
}

#[test]
fn rows_that_fail_only_together_end_the_run_with_their_failure() {
    let mut scene = labelling();
    // Alone each does well: the worker decides by how many it is given.
    let trials = work(&mut scene, &[0, 1], |scene, seat| {
        let work = scene.work[seat].clone();
        if [0, 1].iter().all(|row| computed(&work).contains(row)) {
            return fails(scene, seat, true);
        }
        scene.work.remove(seat);
        scene.say(seat, product(&work));
    });
    assert!(trials.contains(&(0, 1)) && trials.contains(&(1, 2)), "{trials:?}");
    assert_eq!(scene.state.phase, Phase::Failed(exit::NO_PROGRESS));
    assert!(
        scene.state.reason.ends_with("though each of its rows can be computed alone"),
        "{}",
        scene.state.reason
    );
}

#[test]
fn a_restarted_coordinator_goes_on_searching_and_forgets_with_the_shards() {
    let mut scene = labelling();
    let mut restarts = 0;
    let trials = work(&mut scene, &[2], |scene, seat| {
        let trial = scene.work[seat].trial.is_some();
        fails(scene, seat, true);
        if trial && restarts < 3 {
            restarts += 1;
            scene.restart();
            for seat in ["w0", "w1"] {
                scene.join(seat);
                scene.beat(seat);
            }
        }
    });
    assert_eq!((restarts, left_out(&scene)), (3, [name(2)].into()));
    let alone = trials.iter().filter(|rows| **rows == (2, 3)).count();
    assert_eq!(alone, 3, "strikes are kept: {trials:?}");
    scene.commit();
    let last = scene
        .records
        .iter()
        .rev()
        .find(|record| matches!(record, Record::Search { .. } | Record::ShardsDropped { .. }));
    assert!(matches!(last, Some(Record::ShardsDropped { .. })));
}

#[test]
fn a_trial_is_given_to_one_worker_and_tells_nothing_of_how_long_shards_take() {
    let mut scene = labelling();
    while scene.state.shards(2).is_some_and(|shards| shards.searches().next().is_none()) {
        scene.now += 500;
        for seat in ["w0", "w1"] {
            scene.beat(seat);
            let Some(work) = scene.work.get(seat).cloned() else { continue };
            if computed(&work).contains(&1) {
                fails(&mut scene, seat, true);
            } else {
                scene.work.remove(seat);
                scene.say(seat, product(&work));
            }
        }
    }
    scene.live(60_000, &["w0", "w1"]);
    let StageState::Shards(shards) = scene.state.stages[2].state() else { panic!("it is searched") };
    let tried = shards.leases().filter(|(index, _)| shards.shard(*index).asks().is_some()).count();
    assert_eq!((tried, shards.copies().count()), (1, 0));
    let answers = status(&scene.state).stages[2].answers;
    let seat =
        scene.work.iter().find(|(_, work)| work.trial.is_some()).map(|(seat, _)| seat.clone()).unwrap();
    let work = scene.work.remove(&seat).unwrap();
    scene.say(&seat, product(&work));
    assert_eq!(status(&scene.state).stages[2].answers, answers + 1);
}

#[test]
fn a_death_that_is_told_after_its_rows_were_computed_elsewhere_changes_nothing() {
    let mut scene = labelling();
    let work = scene.work["w0"].clone();
    scene.close("w0");
    scene.live(500, &["w1"]);
    while scene.work.contains_key("w1") {
        let work = scene.work.remove("w1").unwrap();
        scene.say("w1", product(&work));
    }
    scene.greet(Hello { fell: Some(Fell { epoch: work.epoch, row: None }), ..Scene::hello("w0", 99) });
    assert!(!scene.said("ended in epoch"));
    scene.step(std::iter::empty::<Input>());
    assert_eq!(left_out(&scene), BTreeSet::new());
}
