//! The outcome as rows: what the page's tables and its first sentences say.

use fulcrum_common::{
    plan::Role,
    results::{Flag, Interval, Legality, Probabilistic, Results, Score, Student, Summary},
};
use serde::Serialize;

use super::{
    accuracy_plot::methods,
    artifacts::Artifacts,
    colours::Colours,
    pgr_plot::why_none,
    scale::{size, three, two},
};

/// A table that can be sorted by each of its columns.
#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Column {
    name: &'static str,
    number: bool,
}

/// What stands in one place of a table.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Cell {
    pub(super) text: String,
    /// An interval, smaller.
    pub(super) range: String,
    /// What it is sorted by; empty for the text itself.
    pub(super) value: String,
    /// First digits of the artifact that the number is of.
    pub(super) artifact: Option<String>,
    /// Another page that tells more.
    pub(super) page: Option<String>,
    pub(super) title: String,
    pub(super) number: bool,
    pub(super) strong: bool,
    /// Colour of a supervisor.
    pub(super) swatch: Option<usize>,
}

/// A sentence at the head of the page: one method between the weakest supervisor and the strongest student.
#[derive(Debug, Serialize)]
pub(super) struct Lead {
    method: String,
    weak: String,
    strong: String,
    weak_accuracy: String,
    student_accuracy: String,
    ceiling_accuracy: String,
    pgr: Option<String>,
    why_none: &'static str,
}

/// A flag and the pairs that have it.
#[derive(Debug, Serialize)]
pub(super) struct Flagged {
    words: &'static str,
    pairs: Vec<String>,
    withholds: bool,
}

pub(super) fn columns(texts: &[&'static str], numbers: &[&'static str]) -> Vec<Column> {
    let column = |number| move |name: &&'static str| Column { name, number };
    texts.iter().map(column(false)).chain(numbers.iter().map(column(true))).collect()
}

pub(super) fn text(text: &str) -> Cell {
    Cell { text: text.to_owned(), ..Cell::default() }
}

fn number(value: Option<f64>, shown: fn(f64) -> String, artifact: Option<&str>) -> Cell {
    Cell {
        text: value.map_or_else(String::new, shown),
        value: value.map_or_else(String::new, |value| value.to_string()),
        artifact: artifact.filter(|_| value.is_some()).map(str::to_owned),
        number: true,
        ..Cell::default()
    }
}

pub(super) fn interval(found: Option<Interval>, shown: fn(f64) -> String, artifact: Option<&str>) -> Cell {
    let range = found.map_or_else(String::new, |i| format!("[{}, {}]", shown(i.low), shown(i.high)));
    let cell = number(found.map(|interval| interval.mean), shown, artifact);
    let text = if found.is_none() { "n/a".to_owned() } else { cell.text };
    Cell { text, range, ..cell }
}

/// The table of methods and pairs, every number of it the measurement's.
pub(super) fn summary(results: &Results, colours: &Colours, artifacts: &Artifacts) -> Table {
    let areas = results.summary.iter().any(|summary| summary.auroc.is_some());
    let measure = artifacts.measure();
    let mut named = vec!["weak accuracy", "student accuracy", "ceiling accuracy", "gap", "PGR"];
    named.extend(areas.then_some("PGR of AUROC"));
    named.push("agrees with errors");
    let row = |s: &Summary| {
        let strong = |cell: Cell| Cell { strong: true, ..cell };
        let pgr = strong(interval(s.pgr, two, measure));
        let mut cells = vec![
            text(&s.method),
            Cell { swatch: Some(colours.of(&s.weak)), ..text(&s.weak) },
            text(&s.strong),
            interval(Some(s.weak_accuracy), three, measure),
            strong(interval(Some(s.student_accuracy), three, measure)),
            interval(Some(s.ceiling_accuracy), three, measure),
            interval(Some(s.gap), three, measure),
            Cell { title: if s.pgr.is_none() { why_none(s).to_owned() } else { String::new() }, ..pgr },
        ];
        cells.extend(areas.then(|| interval(s.auroc.and_then(|areas| areas.pgr), two, measure)));
        cells.push(interval(s.agreement.supervisor_wrong, two, measure));
        cells
    };
    Table {
        columns: columns(&["method", "weak supervisor", "strong student"], &named),
        rows: results.summary.iter().map(row).collect(),
    }
}

/// The table of answers that are chess moves; none where answers are no moves.
pub(super) fn legality(results: &Results, colours: &Colours, artifacts: &Artifacts) -> Option<Table> {
    let measure = artifacts.measure();
    let row = |s: &Summary| {
        let Legality { weak, student, ceiling } = s.legality?;
        let names =
            [text(&s.method), Cell { swatch: Some(colours.of(&s.weak)), ..text(&s.weak) }, text(&s.strong)];
        let shares = [weak, student, ceiling].map(|moves| {
            let title = format!(
                "{} legal, {} illegal, {} no move at all",
                moves.legal, moves.illegal, moves.unreadable
            );
            Cell { title, ..number(Some(moves.share_legal()), three, measure) }
        });
        Some(names.into_iter().chain(shares).collect())
    };
    let rows: Vec<_> = results.summary.iter().map(row).collect::<Option<_>>()?;
    let columns = columns(
        &["method", "weak supervisor", "strong student"],
        &["weak legal", "student legal", "ceiling legal"],
    );
    (!rows.is_empty()).then_some(Table { columns, rows })
}

/// The table of all trained models, every number that of the model's predictions.
pub(super) fn runs(results: &Results, artifacts: &Artifacts) -> Table {
    let numbers = [
        "parameters",
        "seed",
        "accuracy",
        "balanced",
        "AUROC",
        "log-loss",
        "ECE",
        "agreement",
        "with errors",
        "contradicts",
        "PGR",
    ];
    let weak = |score: &Score| Role::Weak { model: score.model.clone() };
    let supervisors =
        results.supervisors.iter().map(|one| trained(results, artifacts, "weak supervisor", one, &weak(one)));
    let ceilings =
        results.ceilings.iter().map(|one| trained(results, artifacts, "strong ceiling", one, &ceiling(one)));
    let students = results.students.iter().map(|one| student(results, artifacts, one));
    Table {
        columns: columns(&["role", "method", "taught by", "model"], &numbers),
        rows: supervisors.chain(ceilings).chain(students).collect(),
    }
}

fn ceiling(score: &Score) -> Role {
    Role::Ceiling { model: score.model.clone(), method: score.method.clone() }
}

fn trained(results: &Results, artifacts: &Artifacts, role: &str, score: &Score, is: &Role) -> Vec<Cell> {
    let artifact = artifacts.prediction(is, score.seed);
    let mut cells =
        vec![text(role), text(score.method.as_deref().unwrap_or_default()), text(""), text(&score.model)];
    cells.extend(head(results, &score.model, score.seed));
    cells.push(number(Some(score.accuracy), three, artifact));
    cells.push(number(Some(score.balanced_accuracy), three, artifact));
    cells.extend(of_probabilities(score.probabilistic, artifact));
    cells.extend([(); 4].map(|()| number(None, three, None)));
    cells
}

fn student(results: &Results, artifacts: &Artifacts, one: &Student) -> Vec<Cell> {
    let role =
        Role::Student { method: one.method.clone(), weak: one.weak.clone(), strong: one.strong.clone() };
    let artifact = artifacts.prediction(&role, one.seed);
    let mut cells = vec![text("student"), text(&one.method), text(&one.weak), text(&one.strong)];
    cells.extend(head(results, &one.strong, one.seed));
    cells.push(number(Some(one.accuracy), three, artifact));
    cells.push(number(Some(one.balanced_accuracy), three, artifact));
    cells.extend(of_probabilities(one.probabilistic, artifact));
    let measure = artifacts.measure();
    cells.push(number(Some(one.agreement.overall), three, measure));
    cells.push(number(one.agreement.supervisor_wrong, three, measure));
    cells.push(number(one.contradiction.and_then(|found| found.rate), three, measure));
    let pgr = number(one.pgr, two, measure);
    cells.push(if one.pgr.is_none() { Cell { text: "n/a".into(), ..pgr } } else { pgr });
    cells
}

fn head(results: &Results, model: &str, seed: u64) -> [Cell; 2] {
    let parameters = parameters(results, model);
    let shown = Cell {
        text: parameters.map_or_else(String::new, size),
        ..number(parameters.map(|n| n as f64), three, None)
    };
    [shown, Cell { text: seed.to_string(), ..number(Some(seed as f64), three, None) }]
}

fn of_probabilities(found: Option<Probabilistic>, artifact: Option<&str>) -> [Cell; 3] {
    [found.and_then(|p| p.auroc), found.map(|p| p.log_loss), found.map(|p| p.ece)]
        .map(|value| number(value, three, artifact))
}

/// One sentence per method.
pub(super) fn leads(results: &Results) -> Vec<Lead> {
    let place = |name: &str| results.ladder.iter().position(|model| model.name == name);
    let widest = |method: &str| {
        let of_method = results.summary.iter().filter(|summary| summary.method == method);
        of_method.max_by_key(|summary| (std::cmp::Reverse(place(&summary.weak)), place(&summary.strong)))
    };
    let lead = |summary: &Summary| Lead {
        method: summary.method.clone(),
        weak: summary.weak.clone(),
        strong: summary.strong.clone(),
        weak_accuracy: three(summary.weak_accuracy.mean),
        student_accuracy: three(summary.student_accuracy.mean),
        ceiling_accuracy: three(summary.ceiling_accuracy.mean),
        pgr: summary.pgr.map(|pgr| format!("{} [{}, {}]", two(pgr.mean), two(pgr.low), two(pgr.high))),
        why_none: why_none(summary),
    };
    methods(results).into_iter().filter_map(widest).map(lead).collect()
}

/// Every flag that a pair has, and the pairs, each once whatever its methods; or the methods, where the flag is theirs.
pub(super) fn flagged(results: &Results) -> Vec<Flagged> {
    let all = [
        Flag::CeilingBelowWeak,
        Flag::GapWithinNoise,
        Flag::CeilingAtChance,
        Flag::WeakAtChance,
        Flag::SawTruth,
    ];
    let of = |flag: Flag| {
        let mut pairs: Vec<String> = Vec::new();
        for summary in results.summary.iter().filter(|summary| summary.flags.contains(&flag)) {
            let pair = bearer(flag, summary, "→");
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        Flagged { words: flag.words(), pairs, withholds: flag.withholds_pgr() }
    };
    all.map(of).into_iter().filter(|flagged| !flagged.pairs.is_empty()).collect()
}

/// Whose a flag is: a pair's, or a method's whatever the pair.
pub(super) fn bearer(flag: Flag, summary: &Summary, arrow: &str) -> String {
    match flag {
        Flag::SawTruth => summary.method.clone(),
        _ => format!("{} {arrow} {}", summary.weak, summary.strong),
    }
}

/// How many numbers of a model were trained.
pub(super) fn parameters(results: &Results, name: &str) -> Option<u64> {
    results.ladder.iter().find(|model| model.name == name).map(|model| model.parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_lead_of_a_method_spans_the_whole_ladder() {
        let leads = leads(&sample::results());
        let told: Vec<_> =
            leads.iter().map(|l| (l.method.as_str(), l.weak.as_str(), l.strong.as_str())).collect();
        assert_eq!(told, [("naive", "small", "large"), ("confidence", "small", "large")]);
        assert_eq!(leads[0].pgr.as_deref(), Some("0.61 [0.48, 0.73]"));
    }

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        let mut results = sample::results();
        for without in [false, true] {
            if without {
                results.summary.iter_mut().for_each(|summary| summary.auroc = None);
                results.students.iter_mut().for_each(|student| student.probabilistic = None);
            }
            let summary = summary(&results, &Colours::new(&results), &Artifacts::default());
            for table in [summary, runs(&results, &Artifacts::default())] {
                assert!(!table.rows.is_empty());
                for row in &table.rows {
                    let kinds = |cells: &[Cell]| cells.iter().map(|cell| cell.number).collect::<Vec<_>>();
                    assert_eq!(kinds(row), table.columns.iter().map(|c| c.number).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_pair_without_pgr_keeps_its_reason() {
        let results = sample::results();
        let table = summary(&results, &Colours::new(&results), &Artifacts::default());
        let missing = table.rows.iter().flatten().find(|cell| cell.text == "n/a").unwrap();
        assert!(missing.title.contains("not above noise"), "{missing:?}");
        let flags = flagged(&results);
        assert_eq!(flags.len(), 1);
        assert_eq!(
            (flags[0].pairs.as_slice(), flags[0].withholds),
            (&["small → middle".to_owned()][..], true)
        );
    }
}
