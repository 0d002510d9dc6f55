//! Sums with several claims about each, of which one is right: what preferences and questions are made of.

use std::{collections::HashSet, sync::Arc};

use fulcrum_common::{plan::Arithmetic, rng::Rng};
use serde_json::Value;

use super::{Claim, check, near_miss};
use crate::{
    error::{DataError, Result},
    source::{Place, Record, Row},
};

/// Rows with the columns `claims` (a list), `answer` (where the right one is among them, from 0), `right` and `wrong` (the
/// right one, and one of the others); no sum comes twice.
///
/// # Errors
/// When there are too few different sums for so many rows.
pub fn rows(task: &Arithmetic) -> Result<impl Iterator<Item = Result<Row>> + use<>> {
    check(task)?;
    let different = task.most_questions();
    if task.rows > different {
        let (rows, below) = (task.rows, task.below);
        return Err(DataError::value(format!(
            "operands below {below} give {different} sums, {rows} are asked for: raise `below` or ask for fewer"
        )));
    }
    let mut rng = Rng::new(task.seed, "arithmetic questions", 0);
    let (below, mut seen) = (task.below, HashSet::new());
    let file: Arc<str> = "builtin:arithmetic".into();
    Ok((0..task.rows as i64).map(move |row| {
        let (left, right) = loop {
            let terms = (rng.below(below.into()) as u32, rng.below(below.into()) as u32);
            if seen.insert(terms) {
                break terms;
            }
        };
        let record = question(&mut rng, left, right);
        Ok(Row { row, record, place: Place::new(file.clone(), row as u64 + 1) })
    }))
}

fn question(rng: &mut Rng, left: u32, right: u32) -> Record {
    let sum = left + right;
    let mut stated = Vec::with_capacity(Arithmetic::ANSWERS);
    while stated.len() + 1 < Arithmetic::ANSWERS {
        let wrong = near_miss(rng, sum);
        if !stated.contains(&wrong) {
            stated.push(wrong);
        }
    }
    let claim = |stated| Claim { left, right, stated }.to_string();
    let (true_one, wrong) = (claim(sum), claim(stated[0]));
    let answer = rng.index(Arithmetic::ANSWERS);
    stated.insert(answer, sum);
    let claims: Vec<String> = stated.into_iter().map(claim).collect();
    let columns = [
        ("claims", Value::from(claims)),
        ("answer", answer.into()),
        ("right", true_one.into()),
        ("wrong", wrong.into()),
    ];
    columns.map(|(column, value)| (column.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(rows: usize, below: u32) -> Arithmetic {
        Arithmetic { rows, seed: 5, below, noise: 0.0 }
    }

    fn holds(claim: &str) -> bool {
        let (terms, stated) = claim.split_once('=').unwrap();
        terms.split('+').map(|term| term.parse::<u32>().unwrap()).sum::<u32>()
            == stated.parse::<u32>().unwrap()
    }

    #[test]
    fn one_of_the_claims_about_a_sum_holds_and_it_is_the_one_that_is_named() {
        for (rows, below) in [(4, 2), (100, 10), (3_000, 100)] {
            let (mut sums, mut places) = (HashSet::new(), HashSet::new());
            for row in super::rows(&task(rows, below)).unwrap() {
                let record = row.unwrap().record;
                let text = |column: &str| record[column].as_str().unwrap().to_owned();
                let claims: Vec<String> = serde_json::from_value(record["claims"].clone()).unwrap();
                let answer = record["answer"].as_u64().unwrap() as usize;
                let right: Vec<_> = (0..claims.len()).filter(|&at| holds(&claims[at])).collect();
                assert_eq!(right, [answer], "{claims:?}");
                assert_eq!(claims.iter().collect::<HashSet<_>>().len(), Arithmetic::ANSWERS);
                assert_eq!(text("right"), claims[answer]);
                assert!(claims.contains(&text("wrong")) && !holds(&text("wrong")));
                assert!(sums.insert(claims[answer].clone()), "a sum came twice");
                places.insert(answer);
            }
            assert!(rows < 100 || places.len() == Arithmetic::ANSWERS, "the right one is anywhere");
        }
    }

    #[test]
    fn more_rows_than_sums_are_refused() {
        let refused = rows(&task(101, 10)).map(|_| ()).unwrap_err().to_string();
        assert!(refused.starts_with("operands below 10 give 100 sums, 101 are asked for"), "{refused}");
    }
}
