//! Throughput and time left of a stage, from what was seen of it lately.

use std::{collections::VecDeque, time::Duration};

/// How far back the throughput looks.
const WINDOW: Duration = Duration::from_secs(10);

/// A throughput from less than this would jump about.
const LEAST: Duration = Duration::from_millis(500);

/// Watches a counter that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    seen: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Notes the counter at `now` (time since any fixed moment). A counter that fell starts anew: the stage
    /// was begun again.
    pub(crate) fn observe(&mut self, now: Duration, count: u64) {
        if self.seen.back().is_some_and(|&(_, last)| count < last) {
            self.seen.clear();
        }
        self.seen.push_back((now, count));
        while self.seen.len() > 2 && self.seen[1].0 + WINDOW < now {
            self.seen.pop_front();
        }
    }

    /// Counts per second over the window; none until something has been counted for a while.
    pub(crate) fn rate(&self) -> Option<f64> {
        let (&(start, from), &(end, to)) = (self.seen.front()?, self.seen.back()?);
        let elapsed = end.saturating_sub(start);
        (elapsed >= LEAST && to > from).then(|| (to - from) as f64 / elapsed.as_secs_f64())
    }

    /// Time until the counter is at `total`; none where that is not ahead.
    pub(crate) fn left(&self, total: u64) -> Option<Duration> {
        let open = total.checked_sub(self.seen.back()?.1)?;
        Duration::try_from_secs_f64(open as f64 / self.rate()?).ok()
    }
}

/// `0:07`, `12:30`, `3:05:00`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `0.42`, `9.1`, `850`, `1,234,567`: three digits are enough for a rate, and all of them for a count.
pub(crate) fn rate_text(rate: f64) -> String {
    match rate {
        r if r < 0.995 => format!("{r:.2}"),
        r if r < 99.5 => format!("{r:.1}"),
        r => thousands(r.round() as u64),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_steady_stage_has_its_rate_and_time_left() {
        let mut meter = Meter::default();
        for second in 0..60 {
            meter.observe(seconds(second), second * 50);
        }
        assert_eq!(meter.rate(), Some(50.0));
        assert_eq!(meter.left(59 * 50 + 500), Some(seconds(10)));
    }

    #[test]
    fn the_rate_forgets_what_is_long_past() {
        let mut meter = Meter::default();
        meter.observe(seconds(0), 0);
        meter.observe(seconds(100), 10);
        for second in 101..130 {
            meter.observe(seconds(second), (second - 100) * 1000);
        }
        assert!(meter.rate().unwrap() > 900.0, "{:?}", meter.rate());
    }

    #[test]
    fn a_stage_begun_again_starts_a_new_measurement() {
        let mut meter = Meter::default();
        meter.observe(seconds(0), 500);
        meter.observe(seconds(10), 900);
        meter.observe(seconds(11), 0);
        assert_eq!(meter.rate(), None);
        meter.observe(seconds(13), 20);
        assert_eq!(meter.rate(), Some(10.0));
    }

    #[test]
    fn nothing_seen_gives_no_rate_and_no_time() {
        let mut meter = Meter::default();
        assert_eq!((meter.rate(), meter.left(5)), (None, None));
        meter.observe(seconds(3), 0);
        meter.observe(seconds(9), 0);
        assert_eq!((meter.rate(), meter.left(5)), (None, None));
    }

    #[test]
    fn numbers_read_well() {
        let clocks = [(0, "0:00"), (67, "1:07"), (750, "12:30"), (11_100, "3:05:00")];
        assert!(clocks.iter().all(|&(s, text)| clock(seconds(s)) == text));
        let rates = [(0.421, "0.42"), (0.999, "1.0"), (9.06, "9.1"), (99.7, "100"), (1234.4, "1,234")];
        assert!(rates.iter().all(|&(rate, text)| rate_text(rate) == text));
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
