//! Gangs that outlive their coordinator.

use super::{builder::Scene, commands, training};
use crate::{Event, tick::adoption::PATIENCE_MS};

/// A training whose coordinator was killed and has just been started again.
fn orphaned() -> (Scene, u64) {
    let mut scene = training();
    let epoch = scene.work["w0"].epoch;
    scene.restart();
    scene.step([]);
    assert_eq!(scene.word("model"), "running");
    (scene, epoch)
}

#[test]
fn a_gang_goes_on_under_the_next_coordinator() {
    let (mut scene, epoch) = orphaned();
    scene.come_back("w1");
    scene.keep("w1", 10);
    scene.come_back("w0");
    scene.live(PATIENCE_MS + 1_000, &["w0", "w1"]);
    assert!(!commands(&scene, "w0").contains(&"abort"));
    scene.keep("w0", 10);
    scene.take_checkpoints();
    assert_eq!((scene.work["w0"].epoch, scene.work["w1"].epoch), (epoch, epoch));
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.word("model"), "done");
    assert!(
        scene
            .store
            .values()
            .any(|made| made.name == "model" && made.files[0].path.contains(&epoch.to_string()))
    );
}

#[test]
fn what_a_gang_finished_in_between_counts() {
    let (mut scene, _) = orphaned();
    let done = Scene::product(&scene.carried("w0"));
    let hello = scene.hello_again("w0");
    scene.greet(hello);
    // What could not be told comes before the first heartbeat.
    scene.say("w0", done);
    scene.beat("w0");
    scene.commit();
    assert_eq!(scene.word("model"), "done");
}

#[test]
fn members_hear_where_they_meet_whenever_they_come_back() {
    for order in [["w0", "w1"], ["w1", "w0"]] {
        let (mut scene, epoch) = orphaned();
        for seat in order {
            scene.come_back(seat);
            if seat == "w0" {
                scene.say("w0", Event::Rendezvous { epoch, address: "host:1".into() });
            }
        }
        assert_eq!(commands(&scene, "w1").last(), Some(&"rendezvous"), "{order:?}");
    }
}

#[test]
fn a_gang_is_over_where_a_member_is_another_process_or_has_dropped_it_or_does_not_come() {
    let ends: [fn(&mut Scene); 3] = [
        |scene| scene.join("w1"),
        |scene| {
            let hello = scene.hello_again("w1");
            scene.greet(hello);
            scene.beat("w1");
        },
        |scene| scene.live(PATIENCE_MS + 1_000, &["w0"]),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut scene, epoch) = orphaned();
        scene.come_back("w0");
        end(&mut scene);
        assert!(commands(&scene, "w0").contains(&"abort"), "case {number}");
        scene.fail("w0", super::builder::fault(true));
        scene.join("w1");
        scene.beat("w1");
        assert!(scene.work["w0"].epoch > epoch, "case {number}: the stage begins anew");
    }
}
