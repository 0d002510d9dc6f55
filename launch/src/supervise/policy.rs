//! What to do about a child process that ended: a pure decision from how it ended and what was achieved.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use fulcrum_common::exit;

use crate::failure::Failure;

/// A child that ends so often without anything having been achieved in between is given up.
pub(crate) const DEATHS_WITHOUT_PROGRESS: u32 = 5;

const SLOWEST_RESPAWN: Duration = Duration::from_secs(5);

/// What a child process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Decides who does what; its clean end is the end of the run.
    Coordinator,
    /// Does the work.
    Worker,
    /// Does the work for a coordinator that somebody else looks after: it ends well when it is sent home.
    Guest,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// It exited.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Death {
    /// Whether it was a worker that did what its coordinator told it to.
    pub(crate) fn is_sent_home(self) -> bool {
        matches!(self, Self::Code(exit::DONE | exit::STOPPED))
    }
}

impl From<ExitStatus> for Death {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(number) {
                Ok(signal) => write!(f, "signal {signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// What follows from a death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The coordinator is done, and so is the run.
    Finished,
    /// The run was stopped elsewhere, and may go on another time.
    Stopped,
    /// Start it again after this time.
    Respawn(Duration),
    /// Another start would end the same way.
    GiveUp(Failure),
}

/// The deaths of one seat since the run last moved on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    deaths: u32,
    reached: u64,
}

impl Record {
    /// Judges the death of `seat`. `reached` is a measure of the whole run's progress that never falls.
    pub(crate) fn judge(&mut self, seat: &str, part: Part, death: Death, reached: u64) -> Verdict {
        if reached > self.reached {
            *self = Self { deaths: 0, reached };
        }
        self.deaths += 1;
        match (part, death) {
            (Part::Coordinator | Part::Guest, Death::Code(exit::DONE)) => Verdict::Finished,
            (Part::Guest, Death::Code(exit::STOPPED)) => Verdict::Stopped,
            (
                Part::Coordinator,
                Death::Code(code @ (exit::PREEMPTED | exit::NO_PROGRESS | exit::STANDSTILL)),
            )
            | (_, Death::Code(code @ (exit::USAGE | exit::MISMATCH | exit::DIGEST))) => {
                Verdict::GiveUp(Failure::new(code, format!("{seat} ended with {death} and would again")))
            }
            _ if self.deaths >= DEATHS_WITHOUT_PROGRESS => {
                // A bug that every start runs into stays a bug.
                let code =
                    if death == Death::Code(exit::INTERNAL) { exit::INTERNAL } else { exit::NO_PROGRESS };
                let times = self.deaths;
                let reason = format!("{seat} ended {times} times without progress, last with {death}");
                Verdict::GiveUp(Failure::new(code, reason))
            }
            (_, death) => Verdict::Respawn(self.delay(death)),
        }
    }

    /// At once the first time, then ever more slowly. A worker that left by itself gets a second at least:
    /// most often the coordinator has sent it home and is about to end too.
    fn delay(&self, death: Death) -> Duration {
        let backoff = match self.deaths {
            0 | 1 => Duration::ZERO,
            n => Duration::from_millis(100 << n.min(10)).min(SLOWEST_RESPAWN),
        };
        if death.is_sent_home() { backoff.max(Duration::from_secs(1)) } else { backoff }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Death = Death::Signal(9);

    #[test]
    fn a_bug_at_every_start_ends_the_run_as_a_bug() {
        for (death, code) in [(Death::Code(exit::INTERNAL), exit::INTERNAL), (KILLED, exit::NO_PROGRESS)] {
            let mut record = Record::default();
            let verdicts = (0..DEATHS_WITHOUT_PROGRESS).map(|_| record.judge("w0", Part::Worker, death, 0));
            let Some(Verdict::GiveUp(failure)) = verdicts.last() else { panic!("{death}: not given up") };
            assert_eq!(failure.code, code);
        }
    }

    #[test]
    fn the_coordinators_clean_end_is_the_end_of_the_run_and_a_guests_of_its_stay() {
        for part in [Part::Coordinator, Part::Guest] {
            let verdict = Record::default().judge("it", part, Death::Code(exit::DONE), 0);
            assert_eq!(verdict, Verdict::Finished, "{part:?}");
        }
    }

    #[test]
    fn a_guest_of_a_run_that_was_stopped_is_told_from_one_of_a_run_that_is_over() {
        let verdict = Record::default().judge("w0", Part::Guest, Death::Code(exit::STOPPED), 0);
        assert_eq!(verdict, Verdict::Stopped);
    }

    #[test]
    fn the_first_death_is_answered_at_once_whoever_died() {
        for part in [Part::Coordinator, Part::Worker] {
            for death in
                [KILLED, Death::Code(exit::MEMBERSHIP), Death::Code(exit::INTERNAL), Death::Code(101)]
            {
                let verdict = Record::default().judge("w0", part, death, 0);
                assert_eq!(verdict, Verdict::Respawn(Duration::ZERO), "{part:?} {death}");
            }
        }
    }

    #[test]
    fn a_worker_that_left_cleanly_comes_back_after_a_pause() {
        for code in [exit::DONE, exit::STOPPED] {
            let verdict = Record::default().judge("w0", Part::Worker, Death::Code(code), 0);
            assert_eq!(verdict, Verdict::Respawn(Duration::from_secs(1)), "{code}");
        }
    }

    #[test]
    fn codes_that_forbid_another_try_end_the_run_with_the_same_code() {
        let cases = [
            (Part::Worker, exit::USAGE),
            (Part::Worker, exit::MISMATCH),
            (Part::Worker, exit::DIGEST),
            (Part::Coordinator, exit::MISMATCH),
            (Part::Coordinator, exit::NO_PROGRESS),
            (Part::Coordinator, exit::STANDSTILL),
            (Part::Coordinator, exit::PREEMPTED),
        ];
        for (part, code) in cases {
            let Verdict::GiveUp(failure) = Record::default().judge("seat", part, Death::Code(code), 7) else {
                panic!("{part:?} with exit code {code} was started again")
            };
            assert_eq!(failure.code, code);
        }
    }

    #[test]
    fn deaths_without_progress_slow_down_and_end_with_no_progress() {
        let mut record = Record::default();
        let mut delays = Vec::new();
        let failure = loop {
            match record.judge("w1", Part::Worker, KILLED, 3) {
                Verdict::Respawn(delay) => delays.push(delay),
                Verdict::GiveUp(failure) => break failure,
                Verdict::Finished | Verdict::Stopped => panic!("a worker cannot end the run"),
            }
        };
        assert_eq!(delays.len() as u32 + 1, DEATHS_WITHOUT_PROGRESS);
        assert!(delays.is_sorted() && *delays.last().unwrap() <= SLOWEST_RESPAWN, "{delays:?}");
        assert_eq!(failure.code, exit::NO_PROGRESS);
        assert_eq!(failure.message, "w1 ended 5 times without progress, last with signal SIGKILL");
    }

    #[test]
    fn progress_forgives_earlier_deaths() {
        let mut record = Record::default();
        for reached in 1..100 {
            let verdict = record.judge("w0", Part::Worker, KILLED, reached);
            assert_eq!(verdict, Verdict::Respawn(Duration::ZERO), "after {reached}");
        }
    }
}
