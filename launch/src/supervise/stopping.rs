//! How a run that is asked to stop is brought to its end: politely, for a while.

use std::time::Duration;

/// What runs may go on for so long after the first Ctrl-C.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// After the grace, so long to put everything away.
const LAST: Duration = Duration::from_secs(5);

/// The way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Nothing new is started, what runs may finish.
    Finish,
    /// What runs is given up, processes end by themselves.
    GiveUp,
    /// Processes are killed. Whatever stands in the store is whole all the same.
    Kill,
}

/// The step to be at, `elapsed` after the first request, with so many requests made.
pub(super) fn step(elapsed: Duration, requests: u32) -> Step {
    match (requests, elapsed) {
        (2.., _) => Step::Kill,
        (_, time) if time < GRACE => Step::Finish,
        (_, time) if time < GRACE + LAST => Step::GiveUp,
        _ => Step::Kill,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_is_polite_first_and_bounded() {
        let seconds = Duration::from_secs;
        let cases = [
            (seconds(0), 1, Step::Finish),
            (seconds(9), 1, Step::Finish),
            (seconds(10), 1, Step::GiveUp),
            (seconds(14), 1, Step::GiveUp),
            (seconds(15), 1, Step::Kill),
            (seconds(0), 2, Step::Kill),
            (seconds(99), 3, Step::Kill),
        ];
        for (elapsed, requests, expected) in cases {
            assert_eq!(step(elapsed, requests), expected, "{elapsed:?} {requests}");
        }
    }
}
