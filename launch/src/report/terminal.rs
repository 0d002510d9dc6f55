//! The summary as a table on the terminal.

use comfy_table::Cell;
use fulcrum_common::results::{Flag, Interval, Legality, Results};

use super::{
    rows::bearer,
    scale::{three, two},
};
use crate::table::{self, number};

/// The table that ends a run; below it, why a PGR is not available, and the same of questions where there are some.
pub(crate) fn table(results: &Results) -> String {
    let rows = match legality(results) {
        Some(moves) => format!("{}\n\nanswers that are legal moves:\n{moves}", table_of(results)),
        None => table_of(results),
    };
    match &results.per_question {
        None => rows,
        Some(questions) => {
            let (count, chance) = (questions.test_rows, three(questions.chance));
            format!("{rows}\n\nper question ({count}, chance {chance}):\n{}", table_of(questions))
        }
    }
}

fn table_of(results: &Results) -> String {
    let mut table = table::table([
        "method",
        "weak",
        "strong",
        "weak accuracy",
        "student accuracy",
        "ceiling accuracy",
        "PGR",
    ]);
    let mut flagged: Vec<(Flag, Vec<String>)> = Vec::new();
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
        for &flag in &summary.flags {
            let pair = bearer(flag, summary, ">");
            match flagged.iter_mut().find(|(known, _)| *known == flag) {
                Some((_, pairs)) if pairs.contains(&pair) => {}
                Some((_, pairs)) => pairs.push(pair),
                None => flagged.push((flag, vec![pair])),
            }
        }
    }
    flagged.sort_by_key(|(flag, _)| *flag);
    let notes: String = flagged.iter().map(|(flag, pairs)| format!("\n{}", note(*flag, pairs))).collect();
    format!("{table}{notes}")
}

/// How many answers are moves that can be made; none where answers are no moves.
fn legality(results: &Results) -> Option<String> {
    let mut table =
        table::table(["method", "weak", "strong", "weak legal", "student legal", "ceiling legal"]);
    for summary in &results.summary {
        let Legality { weak, student, ceiling } = summary.legality?;
        let names = [&summary.method, &summary.weak, &summary.strong].map(Cell::new);
        let shares = [weak, student, ceiling].map(|moves| number(three(moves.share_legal())));
        table.add_row(names.into_iter().chain(shares));
    }
    (!results.summary.is_empty()).then(|| table.to_string())
}

/// One line on a flag and the pairs that have it, of which three are named.
fn note(flag: Flag, pairs: &[String]) -> String {
    let (named, more) =
        (pairs.iter().take(3).cloned().collect::<Vec<_>>().join(", "), pairs.len().saturating_sub(3));
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let so = if flag.withholds_pgr() { ", so it has no PGR" } else { "" };
    format!("{named}{more}: {}{so}", flag.words())
}

pub(super) fn with_interval(interval: Interval, text: fn(f64) -> String) -> String {
    format!("{} [{}, {}]", text(interval.mean), text(interval.low), text(interval.high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn questions_have_a_table_of_their_own() {
        let mut results = sample::results();
        results.per_question = Some(Box::new(Results { test_rows: 250, chance: 0.25, ..sample::results() }));
        let text = table(&results);
        let (rows, questions) = text.split_once("\n\nper question (250, chance 0.250):\n").unwrap();
        assert_eq!(rows, questions);
    }

    #[test]
    fn moves_have_a_table_of_their_own() {
        let text = table(&sample::of_chess());
        let (rows, moves) = text.split_once("\n\nanswers that are legal moves:\n").unwrap();
        assert_eq!(rows, table(&sample::results()));
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let first = moves.lines().map(words).find(|words| words.contains(&"naive".to_owned())).unwrap();
        for share in ["0.600", "0.800", "0.900"] {
            assert!(first.iter().any(|word| word == share), "{first:?}");
        }
    }

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
