//! The outcome as rows: what the page's tables, its first sentences and the CSV file say.

use fulcrum_common::results::{Interval, Results, Score, Student, Summary};
use serde::Serialize;

use super::{
    accuracy_plot::methods,
    colours::Colours,
    pgr_plot::why_none,
    scale::{size, three, two},
};

/// A number and its interval as texts.
#[derive(Debug, Serialize)]
pub(super) struct Range {
    mean: String,
    low: String,
    high: String,
}

/// A row of the summary table.
#[derive(Debug, Serialize)]
pub(super) struct SummaryRow {
    method: String,
    weak: String,
    strong: String,
    colour: usize,
    seeds: u64,
    weak_accuracy: Range,
    student_accuracy: Range,
    ceiling_accuracy: Range,
    pgr: Option<Range>,
    note: &'static str,
}

/// A row of the table of all trained models.
#[derive(Debug, Serialize)]
pub(super) struct RunRow {
    role: &'static str,
    method: String,
    weak: String,
    model: String,
    size: String,
    seed: u64,
    accuracy: String,
    agreement: String,
    pgr: String,
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
}

/// The summary table.
pub(super) fn summary(results: &Results, colours: &Colours) -> Vec<SummaryRow> {
    let row = |summary: &Summary| SummaryRow {
        method: summary.method.clone(),
        weak: summary.weak.clone(),
        strong: summary.strong.clone(),
        colour: colours.of(&summary.weak),
        seeds: summary.seeds,
        weak_accuracy: range(summary.weak_accuracy, three),
        student_accuracy: range(summary.student_accuracy, three),
        ceiling_accuracy: range(summary.ceiling_accuracy, three),
        pgr: summary.pgr.map(|pgr| range(pgr, two)),
        note: if summary.pgr.is_none() { why_none(summary) } else { "" },
    };
    results.summary.iter().map(row).collect()
}

fn range(interval: Interval, text: fn(f64) -> String) -> Range {
    Range { mean: text(interval.mean), low: text(interval.low), high: text(interval.high) }
}

/// The table of all trained models.
pub(super) fn runs(results: &Results) -> Vec<RunRow> {
    let size_of = |name: &str| parameters(results, name).map_or_else(String::new, size);
    let trained = |role: &'static str| {
        move |score: &Score| RunRow {
            role,
            method: String::new(),
            weak: String::new(),
            model: score.model.clone(),
            size: size_of(&score.model),
            seed: score.seed,
            accuracy: three(score.accuracy),
            agreement: String::new(),
            pgr: String::new(),
        }
    };
    let student = |student: &Student| RunRow {
        role: "student",
        method: student.method.clone(),
        weak: student.weak.clone(),
        model: student.strong.clone(),
        size: size_of(&student.strong),
        seed: student.seed,
        accuracy: three(student.accuracy),
        agreement: three(student.agreement.overall),
        pgr: student.pgr.map_or_else(|| "n/a".into(), two),
    };
    let weak = results.supervisors.iter().map(trained("weak supervisor"));
    let ceilings = results.ceilings.iter().map(trained("strong ceiling"));
    weak.chain(ceilings).chain(results.students.iter().map(student)).collect()
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
    };
    methods(results).into_iter().filter_map(widest).map(lead).collect()
}

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
    fn a_group_without_pgr_keeps_its_reason() {
        let results = sample::results();
        let rows = summary(&results, &Colours::new(&results));
        let missing = rows.iter().find(|row| row.pgr.is_none()).unwrap();
        assert!(missing.note.contains("not above noise"), "{missing:?}");
    }
}
