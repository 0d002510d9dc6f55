//! Progress as bars on a terminal: a headline and one line per running stage.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Event, Running, event_line};

/// The lines on the terminal.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    headline: ProgressBar,
    stages: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// An empty headline.
    pub(crate) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let headline = all.add(ProgressBar::new(0).with_style(style("{wide_msg:.dim}")));
        Self { all, headline, stages: BTreeMap::new() }
    }

    /// Brings headline and bars up to date; ends and failures become lines that stay above them.
    pub(crate) fn show(&mut self, headline: &str, events: &[Event], running: &[Running]) {
        for event in events.iter().filter(|event| !matches!(event, Event::Began(_))) {
            self.note(&event_line(event));
        }
        self.stages.retain(|name, bar| {
            let runs = running.iter().any(|stage| &stage.name == name);
            if !runs {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            runs
        });
        for stage in running {
            let bar = self.stages.entry(stage.name.clone()).or_insert_with(|| {
                let bar = ProgressBar::new(stage.total)
                    .with_style(style("{prefix:<44} [{bar:16.cyan/dim}] {percent:>3} %  {wide_msg}"))
                    .with_prefix(stage.name.clone());
                self.all.insert_before(&self.headline, bar)
            });
            bar.set_length(stage.total);
            bar.set_position(stage.done);
            bar.set_message(stage.details());
        }
        self.headline.set_message(headline.to_owned());
    }

    /// A line that stays above the bars.
    pub(crate) fn note(&self, line: &str) {
        self.all.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.stages.values().chain([&self.headline]) {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants").progress_chars("━╸─")
}
