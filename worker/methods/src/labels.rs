//! Which label belongs to which row: weak labels and predictions are joined by row id, never by place.

use std::collections::HashMap;

use fulcrum_data::{Completions, Labels};

use crate::{Error, job::Prediction};

/// The probabilities of `rows` in their order. Every row has exactly one line, or none where it is known to be left out,
/// and every line its row.
pub(crate) fn join(rows: &[i64], prediction: Prediction) -> Result<Vec<Option<Vec<f32>>>, Error> {
    let Prediction { found, left_out } = prediction;
    by_row(rows, found.rows.into_iter().zip(found.probabilities), |row| left_out.contains(&row))
}

/// What was written after the prompts of `rows`, in their order: one text each.
pub(crate) fn written(rows: &[i64], found: Completions) -> Result<Vec<String>, Error> {
    if let Some(other) = found.0.iter().find(|completion| completion.sample > 0) {
        let row = other.row;
        return Err(Error::Mismatch(format!("row {row} has several completions: one of each is an answer")));
    }
    let found = found.0.into_iter().map(|completion| (completion.row, completion.text));
    Ok(by_row(rows, found, |_| false)?.into_iter().flatten().collect())
}

fn by_row<T>(
    rows: &[i64],
    found: impl Iterator<Item = (i64, T)>,
    may_lack: impl Fn(i64) -> bool,
) -> Result<Vec<Option<T>>, Error> {
    // A row that comes twice was refused when the prediction was read.
    let mut found: HashMap<i64, T> = found.collect();
    let extra = found.len();
    let joined = rows
        .iter()
        .map(|row| match found.remove(row) {
            None if !may_lack(*row) => {
                Err(Error::Mismatch(format!("row {row} has no prediction: it was made of other rows")))
            }
            found => Ok(found),
        })
        .collect::<Result<Vec<_>, _>>()?;
    match found.keys().min() {
        Some(row) => Err(Error::Mismatch(format!(
            "row {row} is predicted but not among the {} rows ({extra} predictions): it was made of other rows",
            rows.len()
        ))),
        None => Ok(joined),
    }
}

/// The places that have no gap, in order, and what each of the columns has there.
pub(crate) fn whole<T>(columns: Vec<Vec<Option<T>>>) -> (Vec<usize>, Vec<Vec<T>>) {
    let rows = columns.first().map_or(0, Vec::len);
    let kept: Vec<usize> =
        (0..rows).filter(|&row| columns.iter().all(|column| column[row].is_some())).collect();
    let of = |mut column: Vec<Option<T>>| kept.iter().filter_map(|&row| column[row].take()).collect();
    let columns = columns.into_iter().map(of).collect();
    (kept, columns)
}

/// Weak labels of the table's rows, one probability per class, row after row, and the places of the rows that have any.
pub(crate) fn soft(
    table: &Labels,
    labels: Prediction,
    classes: usize,
) -> Result<(Vec<usize>, Vec<f32>), Error> {
    let (kept, joined) = whole(vec![join(&table.rows, labels)?]);
    let joined = joined.concat();
    match joined.iter().find(|row| row.len() != classes) {
        Some(row) => {
            Err(Error::Mismatch(format!("the labels have {} classes, the student has {classes}", row.len())))
        }
        None => Ok((kept, joined.concat())),
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
    use fulcrum_data::{Completion, Probabilities, completions::Finish};

    use super::*;

    fn table() -> Labels {
        Labels { rows: vec![7, 3], labels: Some(vec![1, 0]), ..Labels::default() }
    }

    fn weak(rows: &[i64]) -> Prediction {
        let probabilities =
            rows.iter().map(|&row| vec![row as f32 / 10.0, 1.0 - row as f32 / 10.0]).collect();
        let found = Probabilities { rows: rows.to_vec(), probabilities };
        Prediction { found, ..Prediction::default() }
    }

    #[test]
    fn weak_labels_follow_the_row_ids() {
        assert_eq!(soft(&table(), weak(&[3, 7]), 2).unwrap(), soft(&table(), weak(&[7, 3]), 2).unwrap());
        assert_eq!(soft(&table(), weak(&[3, 7]), 2).unwrap().1[0], 0.7);
    }

    #[test]
    fn only_a_row_that_is_known_to_be_left_out_may_lack_its_label() {
        let known = |row| Prediction { left_out: [row].into(), ..weak(&[3]) };
        assert_eq!(soft(&table(), known(7), 2).unwrap(), (vec![1], vec![0.3, 0.7]));
        let error = soft(&table(), known(8), 2).unwrap_err().to_string();
        assert!(error.starts_with("row 7 has no prediction"), "{error}");
    }

    #[test]
    fn what_has_a_gap_in_one_column_is_left_out_of_all() {
        let columns = vec![vec![Some(1), None, Some(3)], vec![Some(4), Some(5), Some(6)]];
        assert_eq!(whole(columns), (vec![0, 2], vec![vec![1, 3], vec![4, 6]]));
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

    #[test]
    fn an_answer_is_the_one_completion_of_its_row() {
        let line = |row, sample, text: &str| Completion {
            row,
            sample,
            text: text.to_owned(),
            tokens: 1,
            log_probability: -1.0,
            finish: Finish::Stop,
        };
        let found = || Completions(vec![line(3, 0, "three"), line(7, 0, "seven")]);
        assert_eq!(written(&[7, 3], found()).unwrap(), ["seven", "three"]);
        let error = written(&[7, 3, 4], found()).unwrap_err().to_string();
        assert!(error.contains("row 4 has no prediction"), "{error}");
        let two = Completions(vec![line(3, 0, "three"), line(3, 1, "3")]);
        let error = written(&[3], two).unwrap_err().to_string();
        assert!(error.contains("row 3 has several completions"), "{error}");
    }
}
