//! How far a long step is: a bar on a terminal, a line every tenth elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

const MEGABYTE: u64 = 1_000_000;
/// Less than this is done before anybody wonders, so it gets no lines.
const BYTES_WORTH_LINES: u64 = 100 * MEGABYTE;
const TEMPLATE: &str =
    "{msg:28} [{bar:32}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";

/// A count of bytes on its way to a known total.
pub(crate) struct Progress {
    label: String,
    bytes: u64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    /// The last tenth that was written.
    Lines(Cell<u64>),
}

impl Progress {
    /// Starts at what is done already, which does not count as speed.
    pub(crate) fn new(label: &str, bytes: u64, done: u64) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(TEMPLATE).expect("the template is a constant");
            let bar = ProgressBar::new(bytes)
                .with_style(style.progress_chars("=> "))
                .with_message(label.to_owned());
            bar.set_position(done);
            bar.reset_eta();
            Shown::Bar(bar)
        } else {
            Shown::Lines(Cell::new(done * 10 / bytes.max(1)))
        };
        Progress { label: label.to_owned(), bytes, shown }
    }

    /// Tells how many bytes are done.
    pub(crate) fn at(&self, bytes: u64) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_position(bytes),
            Shown::Lines(last) => {
                let tenth = bytes * 10 / self.bytes.max(1);
                if last.replace(tenth) < tenth && self.bytes >= BYTES_WORTH_LINES {
                    eprintln!("{}: {} of {} MB", self.label, bytes / MEGABYTE, self.bytes / MEGABYTE);
                }
            }
        }
    }

    /// Ends at the given number of bytes and leaves the last state on the screen.
    pub(crate) fn end(self, bytes: u64) {
        self.at(bytes);
        if let Shown::Bar(bar) = self.shown {
            bar.abandon();
        }
    }
}
