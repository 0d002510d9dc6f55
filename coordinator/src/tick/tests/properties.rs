//! Whatever happens in whatever order: the invariants hold (every step of a [`Scene`] checks them), and
//! while workers keep coming the run comes to its end.

use proptest::prelude::*;

use super::builder::{Scene, Sketch, fault};
use crate::{Event, Failure, Phase, Progress};

const SEATS: [&str; 3] = ["w0", "w1", "w2"];

/// Losses that a run outlives whatever else happens, see `MAX_MEMBERSHIP_FAULTS`.
const LOSSES: usize = 15;

#[derive(Clone, Debug)]
enum Happening {
    /// A process with so many threads.
    Join(usize, u32),
    Beat(usize),
    Done(usize),
    Break(usize),
    Fail(usize),
    Close(usize),
    /// A worker repeats a result it has given before, or one of an epoch that never was.
    Repeat(usize, usize),
    Lie(usize, u64),
    Commit,
    CommitFails {
        damaged: bool,
    },
    /// A share of a checkpoint is durable.
    Keep(usize, u64),
    TakeCheckpoints,
    Wait(u64),
    Restart,
    /// A worker that went on without a coordinator comes back.
    ComeBack(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    let seat = 0..SEATS.len();
    prop_oneof![
        4 => seat.clone().prop_map(|seat| Happening::Join(seat, 1)),
        1 => seat.clone().prop_map(|seat| Happening::Join(seat, 2)),
        6 => seat.clone().prop_map(Happening::Beat),
        8 => seat.clone().prop_map(Happening::Done),
        1 => seat.clone().prop_map(Happening::Break),
        1 => seat.clone().prop_map(Happening::Fail),
        1 => seat.clone().prop_map(Happening::Close),
        2 => (seat.clone(), 0..8_usize).prop_map(|(seat, nth)| Happening::Repeat(seat, nth)),
        1 => (seat.clone(), 0..20_u64).prop_map(|(seat, epoch)| Happening::Lie(seat, epoch)),
        4 => (seat.clone(), 1..4_u64).prop_map(|(seat, step)| Happening::Keep(seat, step)),
        2 => Just(Happening::TakeCheckpoints),
        4 => seat.prop_map(Happening::ComeBack),
        6 => Just(Happening::Commit),
        1 => any::<bool>().prop_map(|damaged| Happening::CommitFails { damaged }),
        2 => (1..25_u64).prop_map(|tenths| Happening::Wait(tenths * 100)),
        1 => Just(Happening::Restart),
    ]
}

/// A scene in which things happen, and what workers have said in it.
struct Story {
    scene: Scene,
    results: Vec<Event>,
    losses: usize,
}

impl Story {
    fn happen(&mut self, what: Happening) {
        let scene = &mut self.scene;
        let present = |scene: &Scene, seat: usize| scene.streams.contains_key(SEATS[seat]);
        match what {
            Happening::Join(seat, threads) if self.losses < LOSSES => {
                self.losses += usize::from(scene.work.contains_key(SEATS[seat]));
                scene.join_with(SEATS[seat], threads);
            }
            Happening::Beat(seat) if present(scene, seat) => scene.beat(SEATS[seat]),
            Happening::Done(seat) => {
                if let Some(work) = scene.work.get(SEATS[seat]) {
                    self.results.push(Scene::product(work));
                    scene.done(SEATS[seat]);
                }
            }
            Happening::Break(seat) if scene.work.contains_key(SEATS[seat]) && self.losses < LOSSES => {
                self.losses += 1;
                scene.fail(SEATS[seat], Failure { membership: true, ..fault(true) });
            }
            Happening::Fail(seat) if scene.work.contains_key(SEATS[seat]) => {
                scene.fail(SEATS[seat], fault(true));
            }
            Happening::Close(seat) if present(scene, seat) && self.losses < LOSSES => {
                self.losses += 1;
                scene.close(SEATS[seat]);
            }
            Happening::Repeat(seat, nth) if present(scene, seat) => {
                if let Some(event) = self.results.get(nth).cloned() {
                    let current = scene.work.get(SEATS[seat]).map(|work| work.epoch);
                    if !matches!(&event, Event::Done { epoch, .. } if Some(*epoch) == current) {
                        scene.say(SEATS[seat], event);
                    }
                }
            }
            Happening::Lie(seat, epoch) if present(scene, seat) => {
                let idle = !scene.work.contains_key(SEATS[seat]);
                if idle {
                    scene.say(SEATS[seat], Event::Heartbeat(Progress { epoch, ..Progress::default() }));
                }
            }
            Happening::Commit => scene.commit(),
            Happening::CommitFails { damaged } if !scene.commits.is_empty() => {
                scene.commit_fails("no space", damaged);
            }
            Happening::Wait(ms) if self.losses < LOSSES => {
                self.losses += usize::from(ms >= 1000);
                scene.wait(ms);
            }
            Happening::Keep(seat, step) if scene.work.contains_key(SEATS[seat]) => {
                scene.keep(SEATS[seat], step);
            }
            Happening::TakeCheckpoints => scene.take_checkpoints(),
            Happening::Restart => scene.restart(),
            Happening::ComeBack(seat) if scene.is_orphan(SEATS[seat]) => scene.come_back(SEATS[seat]),
            _ => {}
        }
    }

    /// From here on everybody does what it should, and what is lost comes back. Time passes: longer than a commit
    /// that failed waits, and longer than shards wait for a class of workers that does not come back.
    fn heal(&mut self) {
        let scene = &mut self.scene;
        for seat in SEATS {
            scene.join(seat);
        }
        for _ in 0..100 {
            scene.now += 250;
            scene.commit();
            for seat in SEATS {
                scene.beat(seat);
                if scene.work.contains_key(seat) {
                    scene.beat(seat);
                    scene.done(seat);
                }
            }
        }
    }
}

fn tell(happenings: Vec<Happening>) -> Scene {
    let mut story = Story { scene: Scene::new(Sketch::chain(), 2), results: vec![], losses: 0 };
    for what in happenings {
        story.happen(what);
    }
    story.heal();
    story.scene
}

fn is_the_works_fault(what: &Happening) -> bool {
    matches!(what, Happening::Fail(_) | Happening::CommitFails { damaged: true })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stage_ends_done_while_workers_keep_coming(happenings in prop::collection::vec(happening(), 0..120)) {
        let happenings = happenings.into_iter().filter(|what| !is_the_works_fault(what)).collect();
        let scene = tell(happenings);
        prop_assert_eq!(scene.state.phase, Phase::Done, "{:?}", scene.reasons);
        prop_assert_eq!(scene.store.len(), scene.plan.stages().len());
    }

    #[test]
    fn a_run_ends_done_or_says_which_stage_failed(happenings in prop::collection::vec(happening(), 0..120)) {
        let scene = tell(happenings);
        match scene.state.phase {
            Phase::Done => prop_assert_eq!(scene.store.len(), scene.plan.stages().len()),
            Phase::Failed(code) => {
                prop_assert_eq!(code, fulcrum_common::exit::NO_PROGRESS);
                prop_assert!(scene.state.reason.starts_with("stage \""), "{}", scene.state.reason);
            }
            phase => prop_assert!(false, "still {:?}: {}", phase, scene.state.reason),
        }
    }

    #[test]
    fn the_same_history_gives_the_same_decisions(happenings in prop::collection::vec(happening(), 0..60)) {
        let (one, two) = (tell(happenings.clone()), tell(happenings));
        prop_assert_eq!(one.reasons, two.reasons);
        prop_assert_eq!(one.records, two.records);
        prop_assert_eq!(one.sent, two.sent);
    }
}
