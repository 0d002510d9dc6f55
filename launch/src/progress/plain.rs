//! Progress as lines for logs and pipes: every event, and every few seconds how far each stage is.

use std::{collections::BTreeMap, io::Write, time::Duration};

use super::{Event, Running, event_line, thousands};

/// A running stage says how far it is no more often than this.
const EVERY: Duration = Duration::from_secs(5);

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Plain<W> {
    out: W,
    told: BTreeMap<String, (Duration, u64)>,
}

impl<W: Write> Plain<W> {
    /// Nothing told yet.
    pub(crate) fn new(out: W) -> Self {
        Self { out, told: BTreeMap::new() }
    }

    /// Tells the events, and of the running stages what is due and has changed.
    pub(crate) fn show(&mut self, now: Duration, events: &[Event], running: &[Running]) {
        for event in events {
            self.note(&event_line(event));
        }
        self.told.retain(|name, _| running.iter().any(|stage| &stage.name == name));
        for stage in running {
            let (when, done) = *self.told.entry(stage.name.clone()).or_insert((now, stage.done));
            if now >= when + EVERY && stage.done != done {
                self.told.insert(stage.name.clone(), (now, stage.done));
                self.note(&line(stage));
            }
        }
    }

    /// Writes one line. A closed standard error is no reason to stop a run.
    pub(crate) fn note(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}

fn line(stage: &Running) -> String {
    let done = thousands(stage.done);
    let (percent, done) = match (stage.done * 100).checked_div(stage.total) {
        Some(percent) => (format!("{percent} %"), format!("{done} of {}", thousands(stage.total))),
        None => ("...".to_owned(), done),
    };
    let details = stage.details();
    let comma = if details.is_empty() { "" } else { ", " };
    format!("{percent:>6}  {}: {done}{comma}{details}", stage.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(done: u64) -> Running {
        Running { name: "weak".into(), done, total: 2000, rate: Some(100.0), left: None, loss: None }
    }

    fn lines(moments: &[(u64, Vec<Event>, Vec<Running>)]) -> String {
        let mut plain = Plain::new(Vec::new());
        for (second, events, stages) in moments {
            plain.show(Duration::from_secs(*second), events, stages);
        }
        String::from_utf8(plain.out).unwrap()
    }

    #[test]
    fn a_stage_is_told_every_few_seconds_and_only_when_it_moved() {
        let moments: Vec<_> = (0..12).map(|s| (s, vec![], vec![running(s * 100)])).collect();
        assert_eq!(
            lines(&moments),
            "  25 %  weak: 500 of 2,000, 100 examples/s\n  50 %  weak: 1,000 of 2,000, 100 examples/s\n"
        );
        let still: Vec<_> = (0..60).map(|s| (s, vec![], vec![running(7)])).collect();
        assert_eq!(lines(&still), "");
    }

    #[test]
    fn events_are_told_at_once() {
        let events = vec![
            Event::Began("a".into()),
            Event::Done("b".into(), Some(Duration::from_millis(3210))),
            Event::Done("b2".into(), None),
            Event::Failed("c".into(), "no luck".into()),
        ];
        assert_eq!(
            lines(&[(0, events, vec![])]),
            "began   a\ndone    b  (3.2 s)\ndone    b2\nfailed  c: no luck\n"
        );
    }
}
