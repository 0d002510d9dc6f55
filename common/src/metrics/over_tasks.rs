//! The median over tasks, as the figures of Burns et al. 2023 have it (section 4.2).

use super::{Bootstrap, percentiles};
use crate::results::{Interval, PairOfTask, PairOverTasks, Results};

/// Draws of tasks behind the interval of a median.
const DRAWS: Bootstrap = Bootstrap { draws: 1000, seed: 0 };

/// Every pair of models over all tasks that have it. A task is its name and what was measured in it.
pub fn over_tasks<'a>(tasks: impl IntoIterator<Item = (&'a str, &'a Results)>) -> Vec<PairOverTasks> {
    let mut pairs: Vec<PairOverTasks> = Vec::new();
    for (task, results) in tasks {
        for summary in &results.summary {
            let found = PairOfTask::new(task, summary);
            let is = |pair: &&mut PairOverTasks| {
                (&pair.method, &pair.weak, &pair.strong) == (&summary.method, &summary.weak, &summary.strong)
            };
            match pairs.iter_mut().find(is) {
                Some(pair) => pair.tasks.push(found),
                None => pairs.push(PairOverTasks {
                    method: summary.method.clone(),
                    weak: summary.weak.clone(),
                    strong: summary.strong.clone(),
                    tasks: vec![found],
                    counted: 0,
                    median_pgr: None,
                }),
            }
        }
    }
    for pair in &mut pairs {
        let found: Vec<f64> = pair.tasks.iter().filter_map(|task| Some(task.pgr?.mean)).collect();
        (pair.counted, pair.median_pgr) = (found.len(), median_of(&found));
    }
    pairs
}

/// The median of some PGRs, and how much it would move had other tasks been drawn.
fn median_of(pgrs: &[f64]) -> Option<Interval> {
    let mean = median(pgrs.to_vec())?;
    let drawn = DRAWS.rows(pgrs.len(), |times| {
        let repeated = pgrs.iter().zip(times).flat_map(|(&pgr, &n)| std::iter::repeat_n(pgr, n as usize));
        median(repeated.collect()).expect("a draw has as many tasks as there are")
    });
    let (low, high) = percentiles(drawn);
    Some(Interval { mean, low, high })
}

/// The middle value; the mean of the two in the middle where there are as many.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, -1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn the_interval_of_a_median_lies_within_the_tasks_and_is_a_point_for_one() {
        let found = median_of(&[0.5, 0.1, 0.9, 0.3]).unwrap();
        assert_eq!(found.mean, 0.4);
        assert!(0.1 <= found.low && found.low < 0.4 && 0.4 < found.high && found.high <= 0.9, "{found:?}");
        assert_eq!(median_of(&[0.5]), Some(Interval { mean: 0.5, low: 0.5, high: 0.5 }));
        assert_eq!(median_of(&[]), None);
    }
}
