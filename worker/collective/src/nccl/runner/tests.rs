//! The thread, driving a communicator that does what each test says. No device is needed.

use std::sync::{
    Condvar,
    atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::Solo;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

/// What the communicator is doing, as the test sees and sets it.
#[derive(Debug, Default)]
struct Script {
    /// Calls stay under way.
    connecting: AtomicBool,
    /// Operations whose work the device has done.
    reached: Mutex<usize>,
    failed: Mutex<Option<String>>,
    aborted: Flag,
    left: Flag,
    /// Until when an abort hangs.
    release: Option<Flag>,
}

/// Raised once.
#[derive(Debug, Default)]
struct Flag(Mutex<bool>, Condvar);

impl Flag {
    fn raise(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let up = self.1.wait_while(self.0.lock().unwrap(), |up| !*up).unwrap();
        drop(up);
    }
}

struct Fake {
    script: Arc<Script>,
    started: usize,
}

impl Link for Fake {
    type Call = ();
    type Mark = usize;

    fn start(&mut self, (): &()) -> Result<(), String> {
        self.started += 1;
        Ok(())
    }

    fn progress(&mut self) -> Progress {
        match self.script.failed.lock().unwrap().clone() {
            Some(reason) => Progress::Failed(reason),
            None if self.script.connecting.load(Ordering::SeqCst) => Progress::Busy,
            None => Progress::Ready,
        }
    }

    fn mark(&mut self) -> Result<usize, String> {
        Ok(self.started)
    }

    fn reached(&mut self, mark: &usize) -> Result<bool, String> {
        Ok(*self.script.reached.lock().unwrap() >= *mark)
    }

    fn leave(self) {
        self.script.left.raise();
    }

    fn abort(self) {
        self.script.aborted.raise();
        if let Some(release) = &self.script.release {
            release.wait();
        }
    }
}

struct Scene {
    script: Arc<Script>,
    others: Arc<Solo>,
    end: Arc<End>,
    runner: Runner<()>,
}

fn common(timeout: Duration) -> (Arc<Solo>, Common) {
    let others = Arc::new(Solo::new());
    let common = Common { rank: 3, timeout, end: Arc::default(), others: Arc::clone(&others) as _ };
    (others, common)
}

fn scene(timeout: Duration, script: Script) -> Scene {
    let ((others, common), script) = (common(timeout), Arc::new(script));
    let (end, played) = (Arc::clone(&common.end), Arc::clone(&script));
    let runner = Runner::start(common, |_| Ok(Fake { script: played, started: 0 })).unwrap();
    Scene { script, others, end, runner }
}

impl Scene {
    fn run(&self) -> Handle {
        self.runner.run("all_reduce", (), Vec::new()).unwrap()
    }
}

fn reason(result: Result<(), Error>) -> String {
    match result.unwrap_err() {
        Error::Broken { reason, rank: 3, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_are_done_when_the_device_has_done_them_in_whatever_order_they_are_waited_for() {
    let scene = scene(LONG, Script::default());
    let handles = [scene.run(), scene.run(), scene.run()];
    *scene.script.reached.lock().unwrap() = 3;
    for handle in handles.into_iter().rev() {
        handle.wait().unwrap();
    }
    scene.end.check(3).unwrap();
    drop(scene.runner);
    scene.script.left.wait();
}

#[test]
fn an_operation_without_end_breaks_the_gang_for_everybody_after_its_time() {
    let scene = scene(SHORT, Script::default());
    let (first, second) = (scene.run(), scene.run());
    assert_eq!(reason(first.wait()), "no end within 50ms");
    assert_eq!(reason(second.wait()), "no end within 50ms");
    assert!(scene.others.health().is_err(), "the others are told");
    scene.script.aborted.wait();
}

#[test]
fn an_operation_that_never_gets_to_the_device_ends_the_same_way() {
    let scene = scene(SHORT, Script { connecting: true.into(), ..Script::default() });
    assert_eq!(reason(scene.run().wait()), "no end within 50ms");
    scene.script.aborted.wait();
}

#[test]
fn a_failure_that_nccl_reports_later_fails_what_is_in_flight_even_if_the_device_seems_done() {
    let scene = scene(LONG, Script::default());
    let handle = scene.run();
    *scene.script.failed.lock().unwrap() = Some("remote process exited".into());
    *scene.script.reached.lock().unwrap() = 1;
    assert_eq!(reason(handle.wait()), "remote process exited");
    assert_eq!(reason(scene.end.check(3)), "remote process exited");
}

#[test]
fn a_member_that_is_gone_fails_what_is_in_flight_and_what_comes_later() {
    for connecting in [false, true] {
        let scene = scene(LONG, Script { connecting: connecting.into(), ..Script::default() });
        let handle = scene.run();
        scene.others.abort("a member is gone");
        assert_eq!(reason(handle.wait()), "a member is gone");
        scene.script.aborted.wait();
        let later = scene.runner.run("barrier", (), Vec::new()).and_then(Handle::wait);
        assert!(later.is_err());
    }
}

#[test]
fn a_member_that_aborts_hears_its_own_reason() {
    let scene = scene(LONG, Script::default());
    let handle = scene.run();
    scene.end.abort("on purpose");
    scene.others.abort("on purpose");
    assert_eq!(handle.wait().unwrap_err(), Error::Aborted { rank: 3, reason: "on purpose".into() });
}

#[test]
fn an_abort_that_hangs_holds_up_neither_who_waits_nor_who_leaves() {
    let scene = scene(LONG, Script { release: Some(Flag::default()), ..Script::default() });
    let (handle, begun) = (scene.run(), Instant::now());
    scene.others.abort("a member is gone");
    assert_eq!(reason(handle.wait()), "a member is gone");
    drop(scene.runner);
    assert!(begun.elapsed() < LONG / 2);
    scene.script.release.as_ref().unwrap().raise();
}

#[test]
fn leaving_with_operations_in_flight_is_an_abort() {
    let scene = scene(LONG, Script::default());
    let handle = scene.run();
    drop(scene.runner);
    assert_eq!(reason(handle.wait()), "left with operations in flight");
    scene.script.aborted.wait();
    assert!(scene.others.health().is_err(), "the others are told");
}

#[test]
fn members_that_do_not_meet_are_an_error_and_nobody_waits_longer_than_told() {
    let refused = Runner::start(common(LONG).1, |_| Err::<Fake, _>("no such device".into()));
    assert_eq!(refused.unwrap_err(), "no such device");
    let alone = Runner::start(common(SHORT).1, |patience| -> Result<Fake, String> {
        loop {
            patience()?;
        }
    });
    assert_eq!(alone.unwrap_err(), "no end within 50ms");
}
