//! PGR by the rule of the notebook that was released with Burns et al. 2023, so that numbers made with it compare.
//!
//! Accuracies of supervisors and ceilings are means over all seeds; every student has a PGR with these; students of
//! their own size and pairs whose ceiling is not above the supervisor are dropped; the median over all that are left,
//! pairs and seeds alike, is the method's.

use fulcrum_common::{
    metrics::{median, pgr},
    results::{Results, Score},
};
use serde::Serialize;

use super::accuracy_plot::methods;

/// One method's PGR by that rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Released {
    /// The method.
    pub(crate) method: String,
    /// Students that count.
    pub(crate) students: usize,
    /// Students that were dropped.
    pub(crate) dropped: usize,
    /// The median; none where all were dropped.
    pub(crate) pgr: Option<f64>,
}

/// Every method's PGR by that rule.
pub(crate) fn released(results: &Results) -> Vec<Released> {
    let of_method = |method: &str| {
        let students = results.students.iter().filter(|student| student.method == method);
        let (mut found, mut all) = (Vec::new(), 0);
        for student in students {
            all += 1;
            let weak = mean(&results.supervisors, &student.weak, None);
            let own = mean(&results.ceilings, &student.strong, Some(method));
            let ceiling = own.or_else(|| mean(&results.ceilings, &student.strong, None));
            if let (Some(weak), Some(ceiling), true) = (weak, ceiling, student.weak != student.strong) {
                found.extend(pgr(weak, student.accuracy, ceiling));
            }
        }
        let students = found.len();
        Released { method: method.to_owned(), students, dropped: all - students, pgr: median(found) }
    };
    methods(results).into_iter().map(of_method).collect()
}

/// Mean accuracy of a model over the seeds, as the ceiling of one method where that is asked for.
fn mean(scores: &[Score], model: &str, method: Option<&str>) -> Option<f64> {
    let found: Vec<f64> = scores
        .iter()
        .filter(|score| score.model == model && score.method.as_deref() == method)
        .map(|score| score.accuracy)
        .collect();
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_rule_is_that_of_the_hand_computation() {
        let mut results = sample::results();
        let naive = |results: &Results| released(results).into_iter().find(|r| r.method == "naive").unwrap();
        // weak .712 and .803, ceilings .826 and .931; students of seeds 0 and 1 lie .008 below and above.
        let small_middle = [0.782, 0.798].map(|accuracy| (accuracy - 0.712) / (0.826 - 0.712));
        let small_large = [0.834, 0.85].map(|accuracy| (accuracy - 0.712) / (0.931 - 0.712));
        let middle_large = [0.877, 0.893].map(|accuracy| (accuracy - 0.803) / (0.931 - 0.803));
        let mut all = [small_middle, small_large, middle_large].concat();
        all.sort_by(f64::total_cmp);
        let expected = (all[2] + all[3]) / 2.0;
        let found = naive(&results);
        assert!((found.pgr.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
        assert_eq!((found.students, found.dropped), (6, 0));
        // A ceiling below its supervisor drops the pair, and so does a student of its supervisor's size.
        results.ceilings.iter_mut().filter(|c| c.model == "middle").for_each(|c| c.accuracy = 0.7);
        results.students.iter_mut().filter(|s| s.weak == "middle").for_each(|s| s.strong = "middle".into());
        let found = naive(&results);
        assert_eq!((found.students, found.dropped), (2, 4));
        results.ceilings.clear();
        assert_eq!((naive(&results).pgr, naive(&results).dropped), (None, 6));
    }

    #[test]
    fn a_median_stands_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
