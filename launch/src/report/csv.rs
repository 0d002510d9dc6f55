//! `results.csv`: the outcome for other programs, one row per trained model, numbers in full.

use anyhow::Result;
use fulcrum_common::results::{Probabilistic, Results, Score, Student};

use super::rows::parameters;

/// The columns; those that a model has no number for are empty.
const COLUMNS: [&str; 20] = [
    "role",
    "method",
    "weak",
    "model",
    "parameters",
    "seed",
    "accuracy",
    "agreement",
    "agreement_supervisor_right",
    "agreement_supervisor_wrong",
    "pgr",
    "balanced_accuracy",
    "log_loss",
    "ece",
    "ece_sweep",
    "auroc",
    "confident",
    "contradiction_rate",
    "overconfidence",
    "errors_copied",
];

/// The bytes of the file.
///
/// # Errors
/// Never for results that were read from a file.
pub(crate) fn csv(results: &Results) -> Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(COLUMNS)?;
    for (role, scores) in [("weak", &results.supervisors), ("ceiling", &results.ceilings)] {
        for score in scores {
            out.write_record(trained(results, role, score))?;
        }
    }
    for one in &results.students {
        out.write_record(student(results, one))?;
    }
    Ok(out.into_inner()?)
}

fn trained(results: &Results, role: &str, score: &Score) -> Vec<String> {
    let method = score.method.clone().unwrap_or_default();
    let mut row = vec![role.to_owned(), method, String::new(), score.model.clone()];
    row.extend([size(results, &score.model), score.seed.to_string(), score.accuracy.to_string()]);
    row.extend(vec![String::new(); 4]);
    row.push(score.balanced_accuracy.to_string());
    row.extend(of_probabilities(score.probabilistic));
    row.resize(COLUMNS.len(), String::new());
    row
}

fn student(results: &Results, student: &Student) -> Vec<String> {
    let (agreement, contradiction) = (student.agreement, student.contradiction);
    let mut row =
        vec!["student".to_owned(), student.method.clone(), student.weak.clone(), student.strong.clone()];
    row.extend([size(results, &student.strong), student.seed.to_string(), student.accuracy.to_string()]);
    row.push(agreement.overall.to_string());
    row.extend([agreement.supervisor_right, agreement.supervisor_wrong, student.pgr].map(number));
    row.push(student.balanced_accuracy.to_string());
    row.extend(of_probabilities(student.probabilistic));
    row.extend(
        [
            contradiction.map(|c| c.confident),
            contradiction.and_then(|c| c.rate),
            contradiction.map(|c| c.overconfidence),
            contradiction.and_then(|c| c.errors_copied),
        ]
        .map(number),
    );
    row
}

fn of_probabilities(found: Option<Probabilistic>) -> [String; 4] {
    [
        found.map(|p| p.log_loss),
        found.map(|p| p.ece),
        found.and_then(|p| p.ece_sweep),
        found.and_then(|p| p.auroc),
    ]
    .map(number)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn size(results: &Results, model: &str) -> String {
    parameters(results, model).map_or_else(String::new, |parameters| parameters.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_csv_has_one_row_per_trained_model_and_reads_back() {
        let results = sample::results();
        let bytes = csv(&results).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), results.supervisors.len() + results.ceilings.len() + results.students.len());
        assert_eq!(
            rows[0].iter().take(7).collect::<Vec<_>>(),
            ["weak", "", "", "small", "236800", "0", "0.707"]
        );
        let student = &rows[rows.len() - 1];
        let last = results.students.last().unwrap();
        let of = |column: &str| {
            let at = COLUMNS.iter().position(|name| *name == column).unwrap();
            student[at].parse::<f64>().unwrap()
        };
        assert_eq!((of("accuracy"), of("pgr")), (last.accuracy, last.pgr.unwrap()));
        assert_eq!(of("auroc"), last.probabilistic.unwrap().auroc.unwrap());
        assert_eq!(of("errors_copied"), last.contradiction.unwrap().errors_copied.unwrap());
        assert!(rows[0].iter().skip(16).all(str::is_empty), "a supervisor contradicts nobody");
    }
}
