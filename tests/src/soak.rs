//! Soak: the run of [`chaos`](crate::chaos) again and again, while its processes are killed, stopped and asked to end at
//! random times. Whatever hits it, it must leave the bytes of the undisturbed run. Who is hit, how and when follows from a
//! seed; what the process was doing then does not, which is what many runs are for.

use std::{
    collections::BTreeMap,
    fmt, fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fulcrum_common::rng::Rng;

use crate::{
    chaos::{PATIENCE, Place, difference},
    workplace::{Left, code},
};

/// How often a run that goes on is looked at.
const PULSE: Duration = Duration::from_millis(20);

/// The longest that a process stands still: longer than a lease, shorter than what counts as a hang.
const LONGEST_STOP: f64 = 4.0;

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// No run begins later.
    pub length: Duration,
    /// Mean time between two blows.
    pub mean: Duration,
    /// What victims and waits follow from.
    pub seed: u64,
}

/// Whom a blow hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The worker in this seat, 0 or 1.
    Worker(u8),
    /// The coordinator.
    Coordinator,
    /// `fulcrum run`, which is started again.
    Supervisor,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
    /// SIGTERM.
    End,
}

/// One blow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blow {
    /// How long after the one before, or the beginning.
    pub wait: Duration,
    /// Whom it hits.
    pub victim: Victim,
    /// How.
    pub way: Way,
    /// For how long a process that is stopped stands still.
    pub stop: Duration,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its number, from 0.
    pub run: u64,
    /// How long it took, restarts counted in.
    pub took: Duration,
    /// Blows that hit somebody.
    pub blows: BTreeMap<(Way, Victim), u32>,
    /// What is wrong with it; nothing where it left the bytes of the undisturbed run.
    pub problem: Option<String>,
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(seat) => write!(f, "worker w{seat}"),
            Self::Coordinator => f.write_str("coordinator"),
            Self::Supervisor => f.write_str("fulcrum run"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP, SIGCONT",
            Self::End => "SIGTERM",
        })
    }
}

/// The blows of a run, for ever.
pub fn blows(settings: Settings, run: u64) -> impl Iterator<Item = Blow> {
    let mut chance = Rng::new(settings.seed, "soak", run);
    std::iter::repeat_with(move || {
        // Exponentially distributed: that there was a blow tells nothing of the next.
        let wait = settings.mean.mul_f64(-(1.0 - chance.uniform()).ln());
        let victim = match chance.index(4) {
            0 => Victim::Worker(0),
            1 => Victim::Worker(1),
            2 => Victim::Coordinator,
            _ => Victim::Supervisor,
        };
        let way = match chance.index(4) {
            0 | 1 => Way::Kill,
            2 => Way::Stop,
            _ => Way::End,
        };
        Blow { wait, victim, way, stop: Duration::from_secs_f64(LONGEST_STOP * chance.uniform()) }
    })
}

/// Runs until the time is over, or one run is not as it should be. Each is told when it has ended.
pub fn soak(settings: Settings, expected: &Left, mut tell: impl FnMut(&Ended)) -> Vec<Ended> {
    let (began, mut all) = (Instant::now(), Vec::new());
    while began.elapsed() < settings.length {
        let ended = one(settings, all.len() as u64, expected);
        tell(&ended);
        let wrong = ended.problem.is_some();
        all.push(ended);
        if wrong {
            break;
        }
    }
    all
}

/// One run, with its blows.
fn one(settings: Settings, run: u64, expected: &Left) -> Ended {
    let (place, began) = (Place::new(), Instant::now());
    let mut blows = blows(settings, run);
    let mut next = blows.next();
    let mut due = began + next.map_or(Duration::MAX / 4, |blow| blow.wait);
    let (mut landed, mut restarts) = (BTreeMap::new(), false);
    let mut child = start(&place);
    let problem = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            match code(status) {
                0 => break difference(expected, &place.0.artifacts()),
                // Asked to stop, or killed: the same command goes on.
                10 | -9 | -15 if restarts => (child, restarts) = (start(&place), false),
                other => break Some(format!("the run ended with code {other}")),
            }
        }
        if began.elapsed() > 2 * PATIENCE {
            // What it has started ends with it.
            let _ = child.kill();
            let _ = child.wait();
            break Some(format!("the run did not end within {:?}", 2 * PATIENCE));
        }
        if let Some(blow) = next.filter(|_| Instant::now() >= due) {
            if strike(&child, blow) {
                *landed.entry((blow.way, blow.victim)).or_insert(0) += 1;
                let ends =
                    matches!(blow.victim, Victim::Supervisor | Victim::Coordinator) && blow.way != Way::Stop;
                restarts |= ends;
            }
            next = blows.next();
            due = Instant::now() + next.map_or(Duration::MAX / 4, |blow| blow.wait);
        }
        thread::park_timeout(PULSE);
    };
    let problem = problem.map(|problem| format!("{problem}\n{}", place.0.logs()));
    Ended { run, took: began.elapsed(), blows: landed, problem }
}

fn start(place: &Place) -> Child {
    let mut command = place.command();
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Hits somebody, if he is there; whether he was.
fn strike(supervisor: &Child, blow: Blow) -> bool {
    let Some(process) = find(supervisor.id(), blow.victim) else { return false };
    match blow.way {
        Way::Kill => signal("KILL", process),
        Way::End => signal("TERM", process),
        Way::Stop => {
            let stopped = signal("STOP", process);
            thread::park_timeout(blow.stop);
            stopped && signal("CONT", process)
        }
    }
}

fn signal(name: &str, process: u32) -> bool {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{name}"), &process.to_string()]).stderr(Stdio::null());
    kill.status().is_ok_and(|status| status.success())
}

/// The process of a victim: `fulcrum run` itself, or a child of it.
fn find(supervisor: u32, victim: Victim) -> Option<u32> {
    let is_it = |words: &[String]| match victim {
        Victim::Supervisor => false,
        Victim::Coordinator => words.get(1).is_some_and(|word| word == "coordinator"),
        Victim::Worker(seat) => {
            words.windows(2).any(|pair| pair[0] == "--seat" && pair[1] == format!("w{seat}"))
        }
    };
    if victim == Victim::Supervisor {
        return Some(supervisor);
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|process| parent(*process) == Some(supervisor) && is_it(&words(*process)))
}

/// The process that started this one; the fourth field of its `stat`, behind a name that may hold anything.
fn parent(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Its command line.
fn words(process: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    text.split('\0').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(seed: u64) -> Settings {
        Settings { length: Duration::ZERO, mean: Duration::from_secs(5), seed }
    }

    #[test]
    fn the_seed_decides_who_is_hit_how_and_when() {
        let first = |seed, run| blows(settings(seed), run).take(20).collect::<Vec<_>>();
        assert_eq!(first(7, 3), first(7, 3));
        assert_ne!(first(7, 3), first(7, 4));
        assert_ne!(first(7, 3), first(8, 3));
    }

    #[test]
    fn blows_come_as_often_as_they_should_and_hit_everybody_in_every_way() {
        let many: Vec<Blow> = blows(settings(1), 0).take(4000).collect();
        let mean = many.iter().map(|blow| blow.wait.as_secs_f64()).sum::<f64>() / many.len() as f64;
        assert!((4.6..5.4).contains(&mean), "{mean}");
        let mut kinds = BTreeMap::<_, u32>::new();
        many.iter().for_each(|blow| *kinds.entry((blow.way, blow.victim)).or_default() += 1);
        assert_eq!(kinds.len(), 12);
        assert!(kinds.values().all(|count| *count > 150), "{kinds:?}");
        assert!(many.iter().all(|blow| blow.stop.as_secs_f64() <= LONGEST_STOP));
    }

    #[test]
    fn a_process_is_found_by_its_parent_and_its_words() {
        let me = std::process::id();
        assert_eq!(find(me, Victim::Supervisor), Some(me));
        let mut child =
            Command::new("sh").args(["-c", "read x", "--seat", "w1"]).stdin(Stdio::piped()).spawn().unwrap();
        // Between fork and exec it still has this process's words.
        let began = Instant::now();
        while find(me, Victim::Worker(1)).is_none() && began.elapsed() < Duration::from_secs(60) {
            thread::yield_now();
        }
        assert_eq!(find(me, Victim::Worker(1)), Some(child.id()));
        assert_eq!(find(me, Victim::Worker(0)), None);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
