//! `builtin:arithmetic`: generated claims such as `37+45=082`, right or nearly right.
//!
//! A task that needs no download and whose answers can be checked. It shows the machinery, not a finding. A model
//! learns the language of claims from a corpus in which each ends in a mark, `T` for right and `F` for wrong, some of
//! them flipped; then it is finetuned to tell right claims from wrong ones, reading its answer where the mark would be.
//!
//! Two choices make the ladder of tiny models separate. Digits stand in fixed columns, because a model of two layers
//! cannot align numbers of changing width. And wrong sums are wrong in one way only: of several ways a weak model
//! learns one and misses another, and its student copies exactly that.

pub mod questions;

use std::{collections::HashSet, fmt, sync::Arc};

use fulcrum_common::{plan::Arithmetic, rng::Rng};
use serde_json::Value;

use crate::{
    Table,
    error::{DataError, Result},
    source::{Place, Record, Row},
};

/// A sum and what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Claim {
    left: u32,
    right: u32,
    stated: u32,
}

impl Claim {
    fn holds(self) -> bool {
        self.left + self.right == self.stated
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}+{:02}={:03}", self.left, self.right, self.stated)
    }
}

/// The labelled claims: rows with the columns `text` and `label` (`right` or `wrong`), the two in turn, no claim twice.
///
/// # Errors
/// When there are too few different claims for so many rows.
pub fn rows(task: &Arithmetic) -> Result<impl Iterator<Item = Result<Row>> + use<>> {
    check(task)?;
    let different = task.most_rows();
    if task.rows > different {
        let (rows, below) = (task.rows, task.below);
        return Err(DataError::value(format!(
            "operands below {below} give {different} claims at most, {rows} are asked for: raise `below` or ask for fewer"
        )));
    }
    let mut rng = Rng::new(task.seed, "arithmetic claims", 0);
    let (below, mut seen) = (task.below, HashSet::new());
    let file: Arc<str> = "builtin:arithmetic".into();
    Ok((0..task.rows as i64).map(move |row| {
        let right = row % 2 == 1;
        let claim = loop {
            let claim = draw(&mut rng, below, right);
            if seen.insert(claim) {
                break claim;
            }
        };
        let label = Arithmetic::CLASSES[usize::from(claim.holds())];
        let columns = [("text", Value::from(claim.to_string())), ("label", label.into())];
        let record: Record = columns.map(|(column, value)| (column.to_owned(), value)).into();
        Ok(Row { row, record, place: Place::new(file.clone(), row as u64 + 1) })
    }))
}

/// The corpus: claims with marks, of which the share `noise` is flipped. Claims may come again, as text does.
///
/// # Errors
/// When the parameters are out of range.
pub fn corpus(task: &Arithmetic) -> Result<Table> {
    check(task)?;
    let mut rng = Rng::new(task.seed, "arithmetic corpus", 0);
    let texts = (0..task.rows).map(|_| {
        let right = rng.chance(0.5);
        let claim = draw(&mut rng, task.below, right);
        let flipped = rng.chance(task.noise);
        corpus_line(claim, claim.holds() != flipped)
    });
    Ok(Table { rows: (0..task.rows as i64).collect(), texts: texts.collect(), ..Table::default() })
}

fn check(task: &Arithmetic) -> Result<()> {
    let largest = Arithmetic::LARGEST_BELOW;
    if !(2..=largest).contains(&task.below) {
        return Err(DataError::value(format!("below = {} is out of range: 2 to {largest}", task.below)));
    }
    if !(0.0..=1.0).contains(&task.noise) {
        return Err(DataError::value(format!("noise = {} is out of range: 0 to 1", task.noise)));
    }
    Ok(())
}

fn draw(rng: &mut Rng, below: u32, right: bool) -> Claim {
    let [left, addend] = [(); 2].map(|()| rng.below(below.into()) as u32);
    let sum = left + addend;
    let stated = if right { sum } else { near_miss(rng, sum) };
    Claim { left, right: addend, stated }
}

/// A wrong sum that looks like the right one: 1 to 9 more or less, and not below 0.
fn near_miss(rng: &mut Rng, sum: u32) -> u32 {
    loop {
        let distance = 1 + rng.below(9) as i32;
        let change = if rng.chance(0.5) { distance } else { -distance };
        if let Some(stated) = sum.checked_add_signed(change) {
            return stated;
        }
    }
}

fn corpus_line(claim: Claim, marked_right: bool) -> String {
    format!("{claim}{}", if marked_right { 'T' } else { 'F' })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn task(rows: usize, below: u32, noise: f64) -> Arithmetic {
        Arithmetic { rows, seed: 5, below, noise }
    }

    fn labelled(task: &Arithmetic) -> Vec<(String, String)> {
        let text = |record: &Record, column: &str| record[column].as_str().unwrap().to_owned();
        let rows = rows(task).unwrap().map(|row| row.unwrap().record);
        rows.map(|record| (text(&record, "text"), text(&record, "label"))).collect()
    }

    /// Works a claim out from its text, apart from the code that made it.
    fn is_right(text: &str) -> bool {
        let (terms, stated) = text.split_once('=').unwrap();
        let sum: u32 = terms.split('+').map(|term| term.parse::<u32>().unwrap()).sum();
        sum == stated.parse::<u32>().unwrap()
    }

    #[test]
    fn the_first_rows_are_the_same_on_every_machine() {
        let rows: Vec<_> = labelled(&task(6, 100, 0.0)).into_iter().map(|(text, _)| text).collect();
        assert_eq!(rows, ["86+12=103", "62+94=156", "80+03=091", "13+65=078", "07+20=025", "33+87=120"]);
        let lines = corpus(&task(6, 100, 0.1)).unwrap().texts;
        assert_eq!(
            lines,
            ["40+01=049F", "15+56=075F", "62+71=133T", "52+22=073F", "96+62=158T", "59+23=082T"]
        );
        assert_eq!(labelled(&task(6, 100, 0.0)), labelled(&task(9, 100, 0.0))[..6]);
    }

    #[test]
    fn every_label_is_true_and_half_of_them_are_right() {
        for (rows, below) in [(6_250, 64), (100, 10), (8, 2), (5_000, 100)] {
            let rows = labelled(&task(rows, below, 0.0));
            let mut counts = BTreeMap::new();
            for (text, label) in &rows {
                assert_eq!(is_right(text), label == "right", "{text} is labelled {label}");
                *counts.entry(label.as_str()).or_insert(0) += 1;
            }
            assert_eq!(counts, BTreeMap::from([("right", rows.len() / 2), ("wrong", rows.len() / 2)]));
        }
    }

    #[test]
    fn no_claim_is_made_twice() {
        let rows = labelled(&task(8_192, 64, 0.0));
        let texts: HashSet<_> = rows.iter().map(|(text, _)| text).collect();
        assert_eq!(texts.len(), rows.len());
    }

    #[test]
    fn wrong_sums_are_near_and_every_distance_is_as_likely() {
        let mut counts = BTreeMap::new();
        let mut rng = Rng::new(0, "test", 0);
        for _ in 0..90_000 {
            let claim = draw(&mut rng, 100, false);
            *counts.entry(i64::from(claim.stated) - i64::from(claim.left + claim.right)).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (-9..=-1).chain(1..=9).collect::<Vec<_>>());
        assert!(counts.values().all(|count| (4_600..5_400).contains(count)), "{counts:?}");
        assert!((0..100).all(|_| (1..=9).contains(&near_miss(&mut rng, 0))));
    }

    #[test]
    fn the_stated_share_of_marks_is_flipped() {
        for noise in [0.0, 0.1, 1.0] {
            let texts = corpus(&task(20_000, 100, noise)).unwrap().texts;
            let flipped = texts.iter().filter(|text| {
                let (claim, mark) = text.split_at(text.len() - 1);
                is_right(claim) != (mark == "T")
            });
            let share = flipped.count() as f64 / texts.len() as f64;
            assert!((share - noise).abs() < 0.01, "{share} instead of {noise}");
        }
    }

    #[test]
    fn the_alphabet_holds_every_character() {
        let texts = corpus(&task(5_000, 100, 0.5)).unwrap().texts;
        let claims = labelled(&task(5_000, 100, 0.0)).into_iter().map(|(text, _)| text);
        for text in texts.into_iter().chain(claims) {
            assert!(text.chars().all(|c| Arithmetic::ALPHABET.contains(c)), "{text}");
        }
    }

    #[test]
    fn every_line_of_a_corpus_has_the_tokens_that_models_are_made_for() {
        for below in [2, 100] {
            for text in corpus(&task(500, below, 0.5)).unwrap().texts {
                assert_eq!(1 + text.chars().count(), Arithmetic::LINE_TOKENS, "{text}");
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |task: Arithmetic| match rows(&task) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{task:?} is accepted"),
        };
        assert!(refused(task(201, 10, 0.0)).contains("operands below 10 give 200 claims at most, 201"));
        assert!(refused(task(1, 1, 0.0)).contains("below = 1 is out of range"));
        assert!(refused(task(1, 10, f64::NAN)).contains("noise = NaN is out of range"));
        assert!(corpus(&task(1, 10, 1.5)).unwrap_err().to_string().contains("noise = 1.5"));
    }
}
