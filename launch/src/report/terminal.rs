//! The summary as a table on the terminal.

use comfy_table::Cell;
use fulcrum_common::results::{Interval, Results};

use super::scale::{three, two};
use crate::table::{self, number};

/// The table that ends a run; below it, why a PGR is not available.
pub(crate) fn table(results: &Results) -> String {
    let mut table = table::table([
        "method",
        "weak",
        "strong",
        "weak accuracy",
        "student accuracy",
        "ceiling accuracy",
        "PGR",
    ]);
    let mut notes: Vec<&str> = Vec::new();
    for summary in &results.summary {
        let pgr = summary.pgr.map_or_else(|| "n/a".to_owned(), |pgr| with_interval(pgr, two));
        table.add_row([
            Cell::new(&summary.method),
            Cell::new(&summary.weak),
            Cell::new(&summary.strong),
            number(with_interval(summary.weak_accuracy, three)),
            number(with_interval(summary.student_accuracy, three)),
            number(with_interval(summary.ceiling_accuracy, three)),
            number(pgr),
        ]);
        notes.extend(summary.note.as_deref().filter(|note| !notes.contains(note)));
    }
    let notes: String = notes.into_iter().map(|note| format!("\n{note}")).collect();
    format!("{table}{notes}")
}

fn with_interval(interval: Interval, text: fn(f64) -> String) -> String {
    format!("{} [{}, {}]", text(interval.mean), text(interval.low), text(interval.high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_table_has_every_group_its_intervals_and_one_reason() {
        let text = table(&sample::results());
        assert!(text.contains("0.842 [0.818, 0.864]"), "{text}");
        assert!(text.contains("0.61 [0.48, 0.73]"), "{text}");
        assert_eq!(text.matches("not above noise").count(), 1, "{text}");
        assert_eq!(
            text.lines().filter(|line| line.contains("naive") || line.contains("confidence")).count(),
            6
        );
    }
}
