//! What the environment arms.

use std::{
    fs,
    path::PathBuf,
    process::{self, Command},
    str::FromStr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Injected, POINTS, Who};

/// How long a `delay` is.
const DELAY: Duration = Duration::from_millis(300);

/// How long a `stop` is, in seconds: longer than a lease.
const STOP: u32 = 4;

/// A fault that is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    name: &'static str,
    rank: Option<Rank>,
    step: Option<usize>,
    /// The row whose fault it is, which it stays however often it is tried.
    row: Option<i64>,
    kind: Kind,
}

/// Which rank it hits; any where it is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Number(usize),
    Last,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The operation fails.
    Error,
    /// The thread panics.
    Panic,
    /// The process is gone, as after SIGKILL.
    Kill,
    /// The process stands still, and goes on after its lease has run out.
    Stop,
    /// The thread never comes back.
    Hang,
    /// The thread comes late.
    Delay,
    /// Whoever asks flips a bit.
    Flip,
}

/// What is armed, and where marks are left.
struct Armed {
    faults: Vec<Fault>,
    marks: PathBuf,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
static WHO: Mutex<Who> = Mutex::new(Who::Rank(0, 1));
static STEP: AtomicUsize = AtomicUsize::new(0);

pub(super) fn i_am(who: Who) {
    *WHO.lock().unwrap_or_else(PoisonError::into_inner) = who;
}

pub(super) fn at_step(step: usize) {
    STEP.store(step, Ordering::Relaxed);
}

pub(super) fn point(name: &'static str) -> Result<(), Injected> {
    struck(name, None, |kind| kind != Kind::Flip).map_or(Ok(()), happen)
}

pub(super) fn at_row(name: &'static str, row: i64) -> Result<(), Injected> {
    struck(name, Some(row), |kind| kind != Kind::Flip).map_or(Ok(()), happen)
}

pub(super) fn flips(name: &'static str) -> bool {
    struck(name, None, |kind| kind == Kind::Flip).is_some()
}

/// The fault that strikes here: once, or each time where it is a row's.
fn struck(name: &'static str, row: Option<i64>, of: impl Fn(Kind) -> bool) -> Option<&'static Fault> {
    debug_assert!(POINTS.contains(&name), "{name} is not in the list of fault points");
    let armed = ARMED.get_or_init(read).as_ref()?;
    let (who, step) = (*WHO.lock().unwrap_or_else(PoisonError::into_inner), STEP.load(Ordering::Relaxed));
    for (number, fault) in armed.faults.iter().enumerate() {
        let here =
            of(fault.kind) && fault.is_for(name, who, step) && (fault.row.is_none() || fault.row == row);
        // The mark is left each time: a fault that left none did not strike.
        if here && (is_first(armed, number) || fault.row.is_some()) {
            tracing::warn!("injected: {:?} at {name}, {who}, step {step}", fault.kind);
            return Some(fault);
        }
    }
    None
}

/// What the environment says. A test that arms what cannot be is told so at once.
fn read() -> Option<Armed> {
    let text = std::env::var("FULCRUM_FAULT").ok()?;
    let faults =
        text.split(';').map(|fault| fault.parse().unwrap_or_else(|error| panic!("FULCRUM_FAULT: {error}")));
    let marks = std::env::var_os("FULCRUM_FAULT_ONCE").expect("FULCRUM_FAULT_ONCE names a folder for marks");
    Some(Armed { faults: faults.collect(), marks: marks.into() })
}

/// Whether nobody was struck by this fault before.
fn is_first(armed: &Armed, number: usize) -> bool {
    fs::OpenOptions::new().write(true).create_new(true).open(armed.marks.join(number.to_string())).is_ok()
}

fn happen(fault: &Fault) -> Result<(), Injected> {
    let me = process::id();
    match fault.kind {
        Kind::Error => return Err(Injected(fault.name)),
        Kind::Panic => panic!("injected at {}", fault.name),
        Kind::Kill => {
            shell(&format!("kill -KILL {me}"));
            wait();
        }
        Kind::Stop => {
            shell(&format!("kill -STOP {me}; (sleep {STOP}; kill -CONT {me}) > /dev/null 2>&1 &"));
        }
        Kind::Hang => wait(),
        Kind::Delay => thread::sleep(DELAY),
        Kind::Flip => {}
    }
    Ok(())
}

/// A signal to oneself needs either `unsafe` or a helper.
fn shell(command: &str) {
    let status = Command::new("sh").arg("-c").arg(command).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

fn wait() -> ! {
    loop {
        thread::park();
    }
}

impl Fault {
    fn is_for(&self, name: &str, who: Who, step: usize) -> bool {
        let rank = match (self.rank, who) {
            (None, _) => true,
            (Some(Rank::Number(number)), Who::Rank(rank, _)) => number == rank,
            (Some(Rank::Last), Who::Rank(rank, world)) => world > 1 && rank + 1 == world,
            (Some(_), Who::Coordinator) => false,
        };
        self.name == name && rank && self.step.is_none_or(|wanted| wanted == step)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let known = POINTS.iter().find(|point| **point == name);
        let name = known.ok_or_else(|| format!("{name:?} is no fault point"))?;
        let (mut rank, mut step, mut row, mut kind) = (None, None, None, None);
        for word in words {
            let number = |text: &str| text.parse::<usize>().map_err(|error| format!("{word:?}: {error}"));
            match word.split_once('=') {
                Some(("rank", "last")) => rank = Some(Rank::Last),
                Some(("rank", text)) => rank = Some(Rank::Number(number(text)?)),
                Some(("step", text)) => step = Some(number(text)?),
                Some(("row", text)) => row = Some(number(text)? as i64),
                Some(("kind", text)) => kind = Some(text.parse()?),
                _ => return Err(format!("{word:?} is none of rank=, step=, row=, kind=")),
            }
        }
        Ok(Self { name, rank, step, row, kind: kind.ok_or("kind= is missing")? })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "error" => Self::Error,
            "panic" => Self::Panic,
            "kill" => Self::Kill,
            "stop" => Self::Stop,
            "hang" => Self::Hang,
            "delay" => Self::Delay,
            "flip" => Self::Flip,
            _ => return Err(format!("{text:?} is none of error, panic, kill, stop, hang, delay, flip")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_where_who_when_and_what() {
        let fault: Fault = "step.update rank=last step=7 kind=kill".parse().unwrap();
        assert!(fault.is_for("step.update", Who::Rank(1, 2), 7));
        assert!(!fault.is_for("step.update", Who::Rank(0, 2), 7));
        assert!(!fault.is_for("step.update", Who::Rank(0, 1), 7), "who is alone is no last rank");
        assert!(!fault.is_for("step.update", Who::Rank(1, 2), 8));
        assert!(!fault.is_for("step.clip", Who::Rank(1, 2), 7));
        assert!(!fault.is_for("step.update", Who::Coordinator, 7));
        let any: Fault = "store.put.before kind=error".parse().unwrap();
        assert!(
            any.is_for("store.put.before", Who::Coordinator, 0)
                && any.is_for("store.put.before", Who::Rank(3, 4), 9)
        );
        for wrong in [
            "",
            "step.update",
            "nowhere kind=kill",
            "step.end kind=fire",
            "step.end rank=x kind=kill",
            "step.end who=1 kind=kill",
        ] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_fault_strikes_once() {
        let marks = tempfile::tempdir().unwrap();
        let armed = Armed { faults: Vec::new(), marks: marks.path().to_owned() };
        assert_eq!([0, 0, 1, 0, 1].map(|number| is_first(&armed, number)), [true, false, true, false, false]);
    }

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = POINTS.iter().collect();
        assert_eq!(names.len(), POINTS.len());
        assert!(POINTS.len() >= 40);
    }
}
