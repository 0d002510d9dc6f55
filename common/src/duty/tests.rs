//! One test per rule of a worker's duty.

use super::*;
use crate::protocol::{Abort, Committed, Done, Drain, Welcome};

#[derive(Clone, Debug, PartialEq)]
struct Piece(u64, bool);

impl Work for Piece {
    fn read(it: Assignment) -> Result<Self, Failed> {
        let refused = Failed { epoch: it.epoch, message: "no stage".into(), ..Failed::default() };
        if it.stage.is_empty() { Err(refused) } else { Ok(Self(it.epoch, it.stage == "train")) }
    }

    fn epoch(&self) -> u64 {
        self.0
    }

    fn keeps(&self) -> bool {
        self.1
    }
}

fn assignment(epoch: u64, stage: &str) -> Command {
    Command::Assignment(Assignment { epoch, stage: stage.into(), ..Assignment::default() })
}

fn abort(epoch: u64) -> Command {
    Command::Abort(Abort { epoch, reason: "a peer is gone".into(), stalled: false })
}

fn done(epoch: u64) -> Event {
    Event::Done(Done { epoch, ..Done::default() })
}

/// A worker that is at epoch 7 of a stage of this kind.
fn at_work(stage: &str) -> Duty<Piece> {
    let mut duty = Duty::new(0);
    assert_eq!(duty.connected(None), []);
    assert_eq!(duty.hear(0, assignment(7, stage)), [Act::Start(Piece(7, stage == "train"))]);
    duty
}

#[test]
fn an_assignment_is_begun_and_its_end_told() {
    let mut duty = at_work("infer");
    assert_eq!(duty.epoch(), Some(7));
    assert_eq!(duty.report(5, done(7)), [Act::Say(done(7))]);
    assert_eq!((duty.epoch(), duty.wakes()), (None, None));
    let welcome = Command::Welcome(Welcome { heartbeat_ms: 1, lease_ms: 2 });
    assert_eq!(duty.hear(6, welcome), [Act::Pulse(10)]);
}

#[test]
fn what_cannot_be_read_is_told_and_leaves_the_worker_free() {
    let mut duty = Duty::<Piece>::new(0);
    duty.connected(None);
    let acts = duty.hear(0, assignment(7, ""));
    assert!(matches!(&acts[..], [Act::Say(Event::Failed(it))] if it.epoch == 7), "{acts:?}");
    assert_eq!(duty.epoch(), None);
}

#[test]
fn an_engine_that_does_not_come_back_ends_the_process() {
    let mut duty = at_work("infer");
    assert_eq!(duty.hear(100, abort(8)), [], "of another epoch");
    assert_eq!(duty.hear(100, abort(7)), [Act::CallOff(Call::because("a peer is gone"))]);
    assert_eq!(duty.hear(500, abort(7)), [], "once");
    assert_eq!(duty.wakes(), Some(100 + ABORT_PATIENCE_MS));
    assert_eq!(duty.wake(1_099, 0), []);
    assert_eq!(duty.wake(1_100, 0), [Act::Exit(exit::MEMBERSHIP)]);
}

#[test]
fn the_next_assignment_waits_for_the_engine() {
    let mut duty = at_work("infer");
    duty.hear(0, abort(7));
    assert_eq!(duty.hear(1, assignment(8, "infer")), []);
    assert_eq!(duty.report(2, done(7)), [Act::Say(done(7)), Act::Start(Piece(8, false))]);
    duty.hear(3, abort(8));
    duty.hear(3, assignment(9, "infer"));
    let acts = duty.hear(4, abort(9));
    assert!(matches!(&acts[..], [Act::Say(Event::Failed(it))] if it.epoch == 9 && it.membership), "{acts:?}");
    assert_eq!(duty.report(5, done(8)), [Act::Say(done(8))], "what was called off is not begun");
}

#[test]
fn what_happens_without_a_coordinator_is_told_to_the_next_one_first() {
    let mut duty = at_work("train");
    assert_eq!(duty.lost(10), []);
    assert_eq!(duty.report(20, done(7)), []);
    let meeting = Rendezvous { epoch: 7, address: "a:1".into() };
    let told = Act::Say(Event::Rendezvous(meeting.clone()));
    assert_eq!(duty.connected(Some(meeting)), [Act::Say(done(7)), told]);
    duty.unsaid(done(7));
    assert!(duty.owes());
}

#[test]
fn the_assignment_that_waited_goes_with_its_stream() {
    let mut duty = at_work("infer");
    duty.hear(0, abort(7));
    duty.hear(0, assignment(8, "infer"));
    duty.lost(1);
    duty.connected(None);
    assert_eq!(duty.report(2, done(7)), [Act::Say(done(7))]);
}

#[test]
fn a_training_leaves_in_good_order_within_its_grace_and_other_work_at_once() {
    let mut duty = at_work("infer");
    assert!(matches!(&duty.terminate(0, 50)[..], [Act::CallOff(_)]));
    assert_eq!(duty.report(1, done(7)), [Act::Say(done(7)), Act::Leave(exit::PREEMPTED)]);
    let mut duty = at_work("train");
    assert_eq!((duty.terminate(0, 50), duty.wakes()), (vec![Act::Finish], Some(50)));
    assert_eq!(duty.wake(49, 0), []);
    assert_eq!(duty.wake(50, 0), [Act::CallOff(Call::because("the grace is over"))]);
    let mut duty = at_work("train");
    duty.terminate(0, 50);
    assert!(matches!(&duty.terminate(1, 50)[..], [Act::CallOff(_)]), "asked again");
}

#[test]
fn who_is_sent_home_finishes_first() {
    let mut duty = at_work("train");
    assert_eq!(duty.hear(0, Command::Drain(Drain::default())), [Act::Finish]);
    duty.lost(1);
    assert_eq!(duty.report(2, done(7)), [Act::Exit(exit::DONE)], "nobody is there to say goodbye to");
    let mut idle = Duty::<Piece>::new(0);
    idle.connected(None);
    for (stopped, code) in [(false, exit::DONE), (true, exit::STOPPED)] {
        assert_eq!(idle.clone().hear(0, Command::Drain(Drain { stopped })), [Act::Leave(code)]);
    }
}

#[test]
fn only_what_is_of_the_gang_under_way_is_passed_on() {
    let mut duty = at_work("train");
    let meet = |epoch| Command::Rendezvous(Rendezvous { epoch, address: "a:1".into() });
    let committed = |epoch| Command::Committed(Committed { epoch, step: 3 });
    assert_eq!((duty.hear(0, meet(6)), duty.hear(0, meet(7))), (vec![], vec![Act::Meet("a:1".into())]));
    assert_eq!((duty.hear(0, committed(6)), duty.hear(0, committed(7))), (vec![], vec![Act::Committed(3)]));
}

#[test]
fn who_is_idle_and_alone_for_long_gives_up() {
    let mut duty = Duty::<Piece>::new(0);
    assert_eq!(duty.wake(99, 100), []);
    assert_eq!(duty.wake(100, 100), [Act::Exit(exit::NO_PROGRESS)]);
    duty.connected(None);
    assert_eq!(duty.wake(1_000, 100), []);
    let mut busy = at_work("infer");
    busy.lost(0);
    assert_eq!(busy.wake(1_000, 100), []);
}
