//! The rules of the coordinator: one test per rule, and what holds in whatever order things happen.

mod adoption;
pub(crate) mod builder;
mod checkpoints;
mod copies;
mod failures;
mod fewer;
mod placement;
mod poison;
mod progress;
mod properties;
mod rules;
mod sketch;
mod stall;
mod stragglers;

use fulcrum_common::protocol::command::Command;

use builder::{Scene, Sketch};

/// What a worker was sent, in one word each.
fn commands(scene: &Scene, seat: &str) -> Vec<&'static str> {
    let word = |command: &Command| match command {
        Command::Welcome(_) => "welcome",
        Command::Refused(_) => "refused",
        Command::Assignment(_) => "assignment",
        Command::Rendezvous(_) => "rendezvous",
        Command::Abort(_) => "abort",
        Command::Drain(_) => "drain",
        Command::Committed(_) => "committed",
    };
    scene.sent.iter().filter(|(to, _)| to == seat).map(|(_, command)| word(command)).collect()
}

/// A chain whose training has begun on two workers.
fn training() -> Scene {
    let mut scene = Scene::with(Sketch::chain(), 2, &["w0", "w1"]);
    scene.done("w0");
    scene.commit();
    assert_eq!(scene.works_on("w1").as_deref(), Some("model"));
    scene
}

/// A chain whose inference has begun on two workers.
fn labelling() -> Scene {
    let mut scene = training();
    scene.done("w0");
    scene.done("w1");
    scene.commit();
    assert_eq!(scene.works_on("w0").as_deref(), Some("labels"));
    scene
}
