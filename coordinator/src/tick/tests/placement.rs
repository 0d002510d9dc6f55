//! One test per rule about who is given what: stages, gangs, shards, classes of workers.

use super::{
    builder::{ROWS, SHARD, Scene, Sketch, fault},
    labelling, training,
};
use crate::{Failure, tick::schedule::CLASS_PATIENCE_MS};

#[test]
fn gangs_are_formed_of_equals_only() {
    let mut scene = training();
    scene.close("w1");
    scene.fail("w0", Failure { membership: true, ..fault(true) });
    for (seat, device, threads) in [("w2", "cuda:0", 1), ("w3", "cpu", 2)] {
        let hello = crate::Hello { device: device.into(), threads, ..Scene::hello(seat, 9) };
        scene.greet(hello);
        scene.beat(seat);
    }
    assert!(scene.work.is_empty());
    assert_eq!(scene.state.reason, "\"model\" waits for 2 equal workers to join");
    scene.join("w4");
    scene.beat("w4");
    assert_eq!(scene.work.keys().collect::<Vec<_>>(), ["w0", "w4"]);
}

#[test]
fn stages_run_side_by_side_where_workers_are_free() {
    let mut sketch = Sketch::default();
    let (a, b) = (sketch.prepare("a", 0), sketch.prepare("b", 1));
    sketch.measure("goal", &[("a", a), ("b", b)]);
    let scene = Scene::with(sketch.0, 2, &["w0", "w1"]);
    assert_eq!(scene.works_on("w0").as_deref(), Some("a"));
    assert_eq!(scene.works_on("w1").as_deref(), Some("b"));
}

#[test]
fn small_trainings_run_side_by_side_and_large_ones_take_everybody() {
    let mut sketch = Sketch::default();
    let data = sketch.prepare("data", 0);
    let small = [1, 2, 3].map(|seed| sketch.train_on(&format!("small {seed}"), seed, data, 1));
    let whole = sketch.train("whole", 4, data);
    let wider = sketch.train_on("wider", 5, data, 8);
    sketch.measure("goal", &[("a", small[0]), ("b", small[1]), ("c", small[2]), ("d", whole), ("e", wider)]);
    let mut scene = Scene::with(sketch.0, 2, &["w0", "w1"]);
    scene.done("w0");
    scene.commit();
    let at_work = |scene: &Scene| ["w0", "w1"].map(|seat| scene.works_on(seat).unwrap_or_default());
    assert_eq!(at_work(&scene), ["small 1", "small 2"]);
    scene.done("w1");
    scene.commit();
    assert_eq!(at_work(&scene), ["small 1", "small 3"]);
    for seat in ["w0", "w1"] {
        scene.done(seat);
        scene.commit();
    }
    assert_eq!(at_work(&scene), ["whole", "whole"]);
    scene.done("w1");
    scene.done("w0");
    scene.commit();
    assert_eq!(at_work(&scene), ["wider", "wider"], "no gang is larger than a gang");
}

#[test]
fn a_gang_that_waits_for_busy_workers_holds_back_what_comes_after_it() {
    let mut sketch = Sketch::default();
    let data = sketch.prepare("data", 0);
    let slow = sketch.prepare("slow", 1);
    let model = sketch.train("model", 0, data);
    let later = sketch.measure("later", &[("data", data)]);
    sketch.measure("goal", &[("a", slow), ("b", model), ("c", later)]);
    let mut scene = Scene::with(sketch.0, 2, &["w0", "w1"]);
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.works_on("w0"), None, "w0 is kept for the gang");
    assert_eq!(scene.state.reason, "\"model\" waits for 2 equal workers to be free");
    scene.close("w1");
    assert_eq!(scene.works_on("w0").as_deref(), Some("slow"), "one worker alone does what one can do");
}

#[test]
fn a_gang_that_waits_holds_back_its_own_class_only() {
    let mut sketch = Sketch::default();
    let data = sketch.prepare("data", 0);
    let slow = sketch.prepare("slow", 1);
    let model = sketch.train("model", 0, data);
    let later = sketch.measure("later", &[("data", data)]);
    sketch.measure("goal", &[("a", slow), ("b", model), ("c", later)]);
    let mut scene = Scene::with(sketch.0, 2, &["w0", "w1"]);
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.works_on("w0"), None, "w0 is kept for the gang");
    scene.join_with("w2", 8);
    scene.beat("w2");
    assert_eq!(scene.works_on("w2").as_deref(), Some("later"), "which has no use for w2");
    assert_eq!(scene.works_on("w0"), None);
}

/// [`labelling`] by a worker of one class, with a worker of another beside it, and one shard finished.
fn labelling_beside_another_class() -> Scene {
    let mut scene = labelling();
    scene.close("w1");
    scene.join_with("w2", 8);
    scene.beat("w2");
    scene.done("w0");
    scene
}

#[test]
fn the_shards_of_a_stage_go_to_workers_of_one_class() {
    let mut scene = labelling_beside_another_class();
    assert_eq!(scene.works_on("w2"), None, "it would round otherwise");
    scene.close("w0");
    scene.live(CLASS_PATIENCE_MS - 500, &["w2"]);
    assert_eq!(scene.works_on("w2"), None);
    assert_eq!(scene.state.reason, "\"labels\" waits for a worker of cpu with 1 thread, as made its shards");
    scene.join("w3");
    scene.beat("w3");
    assert_eq!(scene.work["w3"].shard.unwrap().index, 1, "the finished shard is kept");
    assert_eq!(scene.state.reason, "");
}

#[test]
fn shards_whose_class_does_not_come_back_are_made_anew_by_another_also_after_a_restart() {
    for restart in [false, true] {
        let mut scene = labelling_beside_another_class();
        scene.close("w0");
        if restart {
            scene.restart();
            scene.join_with("w2", 8);
        }
        scene.live(CLASS_PATIENCE_MS - 500, &["w2"]);
        assert_eq!(scene.works_on("w2"), None);
        scene.live(1000, &["w2"]);
        assert_eq!(scene.work["w2"].shard.unwrap().index, 0);
        for _ in 0..3 {
            scene.done("w2");
        }
        scene.commit();
        assert_eq!(scene.word("labels"), "done");
    }
}

#[test]
fn shards_go_to_whoever_is_free_and_make_one_artifact_in_order() {
    let mut scene = labelling();
    let ranges =
        |scene: &Scene, seat: &str| scene.work[seat].shard.map(|shard| (shard.start, shard.end)).unwrap();
    assert_eq!(ranges(&scene, "w0"), (0, SHARD as u64));
    scene.done("w1");
    assert_eq!(ranges(&scene, "w1"), (2 * SHARD as u64, ROWS));
    scene.done("w1");
    scene.done("w0");
    let made = &scene.commits[0];
    let names: Vec<_> = made.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["part-0", "part-1", "part-2"]);
    assert_eq!(made.facts["rows/corpus"], ROWS);
}
