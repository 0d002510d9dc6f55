//! The numbers of two runs, method by method and pair by pair.

use fulcrum_common::{
    metrics::{Bootstrap, argmax, hits, percentiles},
    plan::Role,
    results::{Results, Summary},
};
use serde::Serialize;

use crate::predictions::{Predictions, Said};

/// Draws behind an interval of a difference.
const DRAWS: Bootstrap = Bootstrap { draws: 1000, seed: 0 };

/// A method between a pair of models.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) method: String,
    pub(super) weak: String,
    pub(super) strong: String,
    pub(super) numbers: Vec<Line>,
}

/// One number of both runs.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// What it is.
    pub(super) number: &'static str,
    /// Of the first run; none where it has no such number.
    pub(super) first: Option<f64>,
    /// Of the second run.
    pub(super) second: Option<f64>,
    /// Second less first.
    pub(super) difference: Option<f64>,
    /// The 95 % interval of the difference, where it is paired.
    pub(super) interval: Option<[f64; 2]>,
}

/// A number of a pair: what it is called, whose it is, where the summary has it.
type Kind<'a> = (&'static str, &'a dyn Fn(&Role) -> bool, fn(&Summary) -> f64);

/// The pairs that both runs have, in the order of the first, then those that one has.
pub(super) fn pairs(results: [&Results; 2], said: Option<&[Predictions; 2]>) -> Vec<Pair> {
    let [first, second] = results;
    let of =
        |results: &Results, one: &Summary| results.summary.iter().find(|other| same(one, other)).cloned();
    let mut both: Vec<(Option<Summary>, Option<Summary>)> =
        first.summary.iter().map(|one| (Some(one.clone()), of(second, one))).collect();
    both.sort_by_key(|(_, second)| second.is_none());
    let only = second.summary.iter().filter(|one| of(first, one).is_none());
    both.extend(only.map(|one| (None, Some(one.clone()))));
    both.into_iter().filter_map(|(first, second)| pair(first, second, said)).collect()
}

fn same(one: &Summary, other: &Summary) -> bool {
    (&one.method, &one.weak, &one.strong) == (&other.method, &other.weak, &other.strong)
}

fn pair(first: Option<Summary>, second: Option<Summary>, said: Option<&[Predictions; 2]>) -> Option<Pair> {
    let Summary { method, weak, strong, .. } = first.as_ref().or(second.as_ref())?.clone();
    let is_weak = |role: &Role| matches!(role, Role::Weak { model } if *model == weak);
    let own = Role::Ceiling { model: strong.clone(), method: Some(method.clone()) };
    let has_own =
        said.is_some_and(|said| said.iter().any(|run| run.models.iter().any(|said| said.role == own)));
    let ceiling = if has_own { own } else { Role::Ceiling { model: strong.clone(), method: None } };
    let is_ceiling = |role: &Role| *role == ceiling;
    let is_student = |role: &Role| matches!(role, Role::Student { method: m, weak: w, strong: s } if (m, w, s) == (&method, &weak, &strong));
    let kinds: [Kind<'_>; 3] = [
        ("weak accuracy", &is_weak, |s| s.weak_accuracy.mean),
        ("student accuracy", &is_student, |s| s.student_accuracy.mean),
        ("ceiling accuracy", &is_ceiling, |s| s.ceiling_accuracy.mean),
    ];
    let mut numbers = Vec::new();
    for (number, is, of) in kinds {
        let interval = said.filter(|_| first.is_some() && second.is_some()).and_then(|said| paired(said, is));
        numbers.push(line(number, first.as_ref().map(of), second.as_ref().map(of), interval));
    }
    let pgr = |summary: &Option<Summary>| Some(summary.as_ref()?.pgr?.mean);
    numbers.push(line("PGR", pgr(&first), pgr(&second), None));
    Some(Pair { method, weak, strong, numbers })
}

fn line(number: &'static str, first: Option<f64>, second: Option<f64>, interval: Option<[f64; 2]>) -> Line {
    let difference = first.zip(second).map(|(first, second)| second - first);
    Line { number, first, second, difference, interval }
}

/// The interval of the difference in mean accuracy over the seeds that both runs have. None where the seeds of the two
/// are not the same: the means that are shown are of other seeds then.
fn paired(said: &[Predictions; 2], is: &dyn Fn(&Role) -> bool) -> Option<[f64; 2]> {
    let [first, second] = said;
    let of = |run: &Predictions| -> Vec<(u64, Vec<bool>)> {
        let ends = run.models.iter().filter(|said| said.progress.is_none() && is(&said.role));
        let mut found: Vec<_> = ends.map(|said| (said.seed, correct(said, &run.labels))).collect();
        found.sort();
        found
    };
    let (one, other) = (of(first), of(second));
    let seeds = |found: &[(u64, Vec<bool>)]| found.iter().map(|(seed, _)| *seed).collect::<Vec<_>>();
    if one.is_empty() || seeds(&one) != seeds(&other) || first.rows != second.rows {
        return None;
    }
    let rows = first.rows.len();
    let by_draw = DRAWS.rows(rows, |times| -> Vec<f64> {
        let share = |correct: &[bool]| hits(correct, times) as f64 / rows as f64;
        one.iter().zip(&other).map(|((_, first), (_, second))| share(second) - share(first)).collect()
    });
    let mean = |(draw, differences): (usize, &Vec<f64>)| {
        let picked = DRAWS.seeds(draw, differences.len());
        picked.iter().map(|&seed| differences[seed]).sum::<f64>() / picked.len() as f64
    };
    let (low, high) = percentiles(by_draw.iter().enumerate().map(mean).collect());
    Some([low, high])
}

fn correct(said: &Said, labels: &[i32]) -> Vec<bool> {
    let right = |(row, label): (&Vec<f32>, &i32)| i32::try_from(argmax(row)) == Ok(*label);
    said.probabilities.iter().zip(labels).map(right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_results;

    /// Students that are right on all rows but every so-manieth.
    fn predictions(every: usize) -> Predictions {
        let row = |row: usize| if row.is_multiple_of(every) { vec![0.9, 0.1] } else { vec![0.1, 0.9] };
        let said = |seed| Said {
            role: Role::Student { method: "naive".into(), weak: "small".into(), strong: "large".into() },
            seed,
            progress: None,
            probabilities: (0..200).map(row).collect(),
        };
        let models = vec![said(0), said(1)];
        Predictions { task: "t".into(), rows: (0..200).collect(), labels: vec![1; 200], models }
    }

    #[test]
    fn a_difference_on_the_same_rows_is_paired() {
        let results = sample_results();
        let mut other = results.clone();
        let at = results.summary.iter().position(|s| s.strong == "large").unwrap();
        other.summary[at].student_accuracy.mean += 0.1;
        other.summary.retain(|s| s.method == "naive");
        let found = pairs([&results, &other], Some(&[predictions(2), predictions(5)]));
        assert_eq!(found.len(), results.summary.len());
        assert!(found[..3].iter().all(|pair| pair.numbers[1].second.is_some()), "what both have comes first");
        let line = &found[1].numbers[1];
        assert!((line.difference.unwrap() - 0.1).abs() < 1e-12, "{line:?}");
        // 100 and 160 of 200 rows are right; the first run is never right where the second is wrong but on rows 5, 15...
        let [low, high] = line.interval.unwrap();
        assert!(low < 0.3 && 0.3 < high && low > 0.15 && high < 0.45, "{line:?}");
        assert_eq!(found[0].numbers[1].interval, None, "nobody predicted for it");
        assert_eq!(found[5].numbers[1].difference, None, "one run alone");
    }

    #[test]
    fn runs_that_are_alike_differ_by_nothing() {
        let results = sample_results();
        for pair in pairs([&results, &results], Some(&[predictions(3), predictions(3)])) {
            for line in pair.numbers {
                assert!(line.difference.is_none_or(|difference| difference == 0.0), "{line:?}");
                assert!(line.interval.is_none_or(|interval| interval == [0.0, 0.0]), "{line:?}");
            }
        }
    }
}
