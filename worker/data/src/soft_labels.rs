//! Soft labels that stand in a column of a source: what another program's weak supervisor said.

use std::path::PathBuf;

use fulcrum_common::plan::Source;
use serde_json::Value;

use crate::{
    Probabilities,
    error::Result,
    prepare::located,
    source::{self, Row},
};

/// How far the probabilities of a row may add up to something other than 1: they were f32 or less once.
const SUM_TOLERANCE: f64 = 1e-2;

/// Reads the probabilities of every row: a list of `classes` numbers that add up to 1, or of two classes the
/// probability of class 1 alone.
///
/// # Errors
/// The first row without them, with file, line and what was found.
pub fn read(source: &Source, paths: &[PathBuf], column: &str, classes: usize) -> Result<Probabilities> {
    let mut found = Probabilities::default();
    for row in source::read(located(source, paths)?, &[]) {
        let row = row?;
        found.probabilities.push(probabilities(&row, column, classes).map_err(|what| row.place.fault(what))?);
        found.rows.push(row.row);
    }
    Ok(found)
}

fn probabilities(row: &Row, column: &str, classes: usize) -> std::result::Result<Vec<f32>, String> {
    let Some(value) = row.record.get(column) else {
        let there: Vec<_> = row.record.keys().map(String::as_str).take(20).collect();
        return Err(format!("no column `{column}`; columns are {}", there.join(", ")));
    };
    let number =
        |value: &Value| value.as_f64().filter(|p| (-1e-4..=1.0 + 1e-4).contains(p)).map(|p| p.max(0.0));
    let numbers = match value {
        Value::Array(values) => values.iter().map(number).collect::<Option<Vec<f64>>>(),
        one if classes == 2 => number(one).map(|one| vec![(1.0 - one).max(0.0), one]),
        _ => None,
    };
    let wrong =
        |what: String| format!("column `{column}` {what}: give {classes} probabilities that add up to 1");
    let numbers = numbers.ok_or_else(|| {
        let shown: String = value.to_string().chars().take(60).collect();
        wrong(format!("is {shown}"))
    })?;
    let sum: f64 = numbers.iter().sum();
    match numbers.len() {
        found if found != classes => Err(wrong(format!("has {found} numbers"))),
        _ if (sum - 1.0).abs() > SUM_TOLERANCE => Err(wrong(format!("adds up to {sum}"))),
        _ => Ok(numbers.into_iter().map(|p| (p / sum) as f32).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fulcrum_common::{Key, plan::FileDigest};

    use super::*;

    fn read_lines(lines: &str, classes: usize) -> Result<Probabilities> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.jsonl");
        fs::write(&path, lines).unwrap();
        let file = FileDigest { name: "labels.jsonl".into(), digest: Key::of(lines.as_bytes()) };
        read(&Source::Files { files: vec![file] }, &[path], "soft_label", classes)
    }

    #[test]
    fn lists_and_single_probabilities_are_read_row_by_row() {
        let found = read_lines(
            "{\"soft_label\": [0.25, 0.75]}\n{\"soft_label\": 0.5}\n{\"soft_label\": [0.5, 0.499]}",
            2,
        );
        let found = found.unwrap();
        assert_eq!(found.rows, [0, 1, 2]);
        assert_eq!(found.probabilities[..2], [vec![0.25, 0.75], vec![0.5, 0.5]]);
        assert!((found.probabilities[2].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_probability_is_named_with_its_line() {
        let good = "{\"soft_label\": [0.25, 0.75]}\n";
        for (line, classes, expected) in [
            ("{\"label\": 1}", 2, "line 2: no column `soft_label`; columns are label"),
            ("{\"soft_label\": \"0.5\"}", 2, "line 2: column `soft_label` is \"0.5\""),
            ("{\"soft_label\": null}", 2, "line 2: column `soft_label` is null"),
            ("{\"soft_label\": [1.5, -0.5]}", 2, "line 2: column `soft_label` is [1.5,-0.5]"),
            ("{\"soft_label\": [0.5, 0.4]}", 2, "line 2: column `soft_label` adds up to 0.9"),
            ("{\"soft_label\": [0.2, 0.3, 0.5]}", 2, "line 2: column `soft_label` has 3 numbers"),
        ] {
            let message = read_lines(&format!("{good}{line}"), classes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let message = read_lines("{\"soft_label\": 0.5}", 3).unwrap_err().to_string();
        assert!(message.contains("line 1: column `soft_label` is 0.5: give 3 probabilities"), "{message}");
    }
}
