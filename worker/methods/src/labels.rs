//! Which label belongs to which row: weak labels and predictions are joined by row id, never by place.

use std::collections::HashMap;

use fulcrum_data::{Labels, Probabilities};

use crate::Error;

/// The probabilities of `rows` in their order. Every row has exactly one line, and every line its row.
pub(crate) fn join(rows: &[i64], found: Probabilities) -> Result<Vec<Vec<f32>>, Error> {
    let extra = found.rows.len();
    // A row that comes twice was refused when the prediction was read.
    let mut by_row: HashMap<i64, Vec<f32>> = found.rows.into_iter().zip(found.probabilities).collect();
    let joined = rows
        .iter()
        .map(|row| {
            let absent =
                || Error::Mismatch(format!("row {row} has no prediction: it was made of other rows"));
            by_row.remove(row).ok_or_else(absent)
        })
        .collect::<Result<Vec<_>, _>>()?;
    match by_row.keys().min() {
        Some(row) => Err(Error::Mismatch(format!(
            "row {row} is predicted but not among the {} rows ({extra} predictions): it was made of other rows",
            rows.len()
        ))),
        None => Ok(joined),
    }
}

/// Weak labels of the table's rows, one probability per class, row after row.
pub(crate) fn soft(table: &Labels, labels: Probabilities, classes: usize) -> Result<Vec<f32>, Error> {
    let joined = join(&table.rows, labels)?;
    match joined.iter().find(|row| row.len() != classes) {
        Some(row) => {
            Err(Error::Mismatch(format!("the labels have {} classes, the student has {classes}", row.len())))
        }
        None => Ok(joined.concat()),
    }
}

/// The table's own labels, one-hot.
pub(crate) fn hard(table: &Labels, classes: usize) -> Result<Vec<f32>, Error> {
    let labels = table.labels.as_ref();
    let labels =
        labels.ok_or_else(|| Error::Mismatch("the rows carry no labels: name a label column".into()))?;
    let mut values = vec![0.0; labels.len() * classes];
    for (place, &label) in labels.iter().enumerate() {
        let class = usize::try_from(label).ok().filter(|&class| class < classes).ok_or_else(|| {
            Error::Mismatch(format!(
                "row {} has label {label}, the model has {classes} classes",
                table.rows[place]
            ))
        })?;
        values[place * classes + class] = 1.0;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Labels {
        Labels { rows: vec![7, 3], labels: Some(vec![1, 0]), ..Labels::default() }
    }

    fn weak(rows: &[i64]) -> Probabilities {
        let probabilities =
            rows.iter().map(|&row| vec![row as f32 / 10.0, 1.0 - row as f32 / 10.0]).collect();
        Probabilities { rows: rows.to_vec(), probabilities }
    }

    #[test]
    fn weak_labels_follow_the_row_ids() {
        assert_eq!(soft(&table(), weak(&[3, 7]), 2).unwrap(), soft(&table(), weak(&[7, 3]), 2).unwrap());
        assert_eq!(soft(&table(), weak(&[3, 7]), 2).unwrap()[0], 0.7);
    }

    #[test]
    fn labels_of_other_rows_or_classes_are_refused() {
        let error = |rows: &[i64], classes| soft(&table(), weak(rows), classes).unwrap_err().to_string();
        assert!(error(&[3], 2).starts_with("row 7 has no prediction"));
        assert!(error(&[3, 7, 9], 2).starts_with("row 9 is predicted but not among the 2 rows"));
        assert!(error(&[3, 7], 3).starts_with("the labels have 2 classes, the student has 3"));
    }

    #[test]
    fn hard_labels_are_one_hot_and_within_the_classes() {
        assert_eq!(hard(&table(), 2).unwrap(), [0.0, 1.0, 1.0, 0.0]);
        assert!(hard(&table(), 1).unwrap_err().to_string().starts_with("row 7 has label 1"));
        let unlabelled = Labels { labels: None, ..table() };
        assert!(hard(&unlabelled, 2).unwrap_err().to_string().contains("no labels"));
    }
}
