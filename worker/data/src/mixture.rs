//! `builtin:mixture`: points drawn around a centre for each class, and what models see of them.
//!
//! A task of vectors that needs no download. A model sees a point through a random linear map to its `width`, with noise:
//! a narrow view is one of a weak model, in which classes overlap, a wide one is one of a strong model. The first
//! numbers of a wider view are those of a narrower one, but for noise.

use std::sync::Arc;

use fulcrum_common::{plan::Mixture, rng::Rng};
use serde_json::Value;

use crate::{
    error::{DataError, Result},
    source::{Place, Record, Row},
};

/// The labelled points: rows with the columns `name` and `label`, a number counted from 0.
///
/// # Errors
/// When the parameters are out of range.
pub fn rows(task: &Mixture) -> Result<impl Iterator<Item = Result<Row>> + use<>> {
    check(task)?;
    let (task, file): (_, Arc<str>) = (task.clone(), "builtin:mixture".into());
    Ok((0..task.rows as i64).map(move |row| {
        let class = class(&task, &mut stream(&task, row)).to_string();
        let columns = [("name", Value::from(format!("point {row}"))), ("label", class.into())];
        let record: Record = columns.map(|(column, value)| (column.to_owned(), value)).into();
        Ok(Row { row, record, place: Place::new(file.clone(), row as u64 + 1) })
    }))
}

/// What a model sees of points.
#[derive(Clone, Debug)]
pub struct Eye {
    task: Mixture,
    /// Row after row, one for each number of the view.
    map: Vec<f64>,
    /// Coordinates class after class.
    centres: Vec<f64>,
    width: usize,
    noise: f64,
}

impl Eye {
    /// A view of `width` numbers, to each of which noise of that standard deviation is added.
    ///
    /// # Errors
    /// When the parameters are out of range.
    pub fn new(task: &Mixture, width: usize, noise: f64) -> Result<Self> {
        check(task)?;
        let most = Mixture::MOST_DIMENSIONS;
        if !((1..=most).contains(&width) && noise.is_finite() && noise >= 0.0) {
            let what =
                format!("a view of {width} numbers with noise {noise} is none: from 1 to {most}, from 0");
            return Err(DataError::value(what));
        }
        let scale = (task.dimensions as f64).sqrt().recip();
        let drawn = |purpose: &str, count: usize, scale: f64| -> Vec<f64> {
            let row = |index: usize| {
                let mut rng = Rng::new(task.seed, purpose, index as u64);
                (0..task.dimensions).map(move |_| scale * rng.normal()).collect::<Vec<_>>()
            };
            (0..count).flat_map(row).collect()
        };
        let map = drawn("mixture map", width, scale);
        let centres = drawn("mixture centre", task.classes, task.spread);
        Ok(Self { task: task.clone(), map, centres, width, noise })
    }

    /// What is seen of a row.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn see(&self, row: i64) -> Result<Vec<f32>> {
        let Mixture { rows, dimensions, seed, .. } = self.task;
        if !(0..rows as i64).contains(&row) {
            return Err(DataError::value(format!("row {row} is none of the {rows} points")));
        }
        let mut rng = stream(&self.task, row);
        let class = class(&self.task, &mut rng);
        let centre = &self.centres[class * dimensions..(class + 1) * dimensions];
        let point: Vec<f64> = centre.iter().map(|at| at + rng.normal()).collect();
        let mut noise = Rng::new(seed, &format!("mixture noise {}", self.width), row as u64);
        let along = |map: &[f64]| map.iter().zip(&point).map(|(map, at)| map * at).sum::<f64>();
        let numbers = self.map.chunks_exact(dimensions).map(along);
        Ok(numbers.map(|number| (number + self.noise * noise.normal()) as f32).collect())
    }
}

/// What a row is drawn from: its class first.
fn stream(task: &Mixture, row: i64) -> Rng {
    Rng::new(task.seed, "mixture point", row as u64)
}

fn class(task: &Mixture, rng: &mut Rng) -> usize {
    rng.index(task.classes)
}

fn check(task: &Mixture) -> Result<()> {
    let (dimensions, classes) = (Mixture::MOST_DIMENSIONS, Mixture::MOST_CLASSES);
    if !(1..=dimensions).contains(&task.dimensions) || !(2..=classes).contains(&task.classes) {
        let what = format!(
            "{} classes in {} dimensions are out of range: 2 to {classes}, 1 to {dimensions}",
            task.classes, task.dimensions
        );
        return Err(DataError::value(what));
    }
    if !(task.spread.is_finite() && task.spread > 0.0) {
        return Err(DataError::value(format!("spread = {} is out of range: above 0", task.spread)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Mixture {
        Mixture { rows: 3_000, classes: 3, dimensions: 16, spread: 1.0, seed: 4 }
    }

    fn labels(task: &Mixture) -> Vec<usize> {
        let label = |row: Result<Row>| row.unwrap().record["label"].as_str().unwrap().parse().unwrap();
        rows(task).unwrap().map(label).collect()
    }

    #[test]
    fn the_first_rows_are_the_same_on_every_machine() {
        assert_eq!(labels(&task())[..8], [0, 1, 2, 0, 1, 1, 1, 2]);
        let bits: Vec<u32> =
            Eye::new(&task(), 2, 0.5).unwrap().see(7).unwrap().into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, [1_059_728_179, 3_201_558_907]);
        assert_eq!(labels(&task())[..8], labels(&Mixture { rows: 8, ..task() }));
    }

    /// Share of rows that are nearest to the mean of their own class.
    fn told_apart(width: usize, noise: f64) -> f64 {
        let (eye, labels) = (Eye::new(&task(), width, noise).unwrap(), labels(&task()));
        let seen: Vec<Vec<f32>> = (0..3_000).map(|row| eye.see(row).unwrap()).collect();
        let mean = |class: usize| -> Vec<f32> {
            let own: Vec<_> = seen.iter().zip(&labels).filter(|(_, label)| **label == class).collect();
            (0..width).map(|at| own.iter().map(|(x, _)| x[at]).sum::<f32>() / own.len() as f32).collect()
        };
        let means: Vec<_> = (0..3).map(mean).collect();
        let distance =
            |x: &[f32], mean: &[f32]| x.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).sum::<f32>();
        let nearest = |x: &Vec<f32>| {
            (0..3).min_by(|&a, &b| distance(x, &means[a]).total_cmp(&distance(x, &means[b]))).unwrap()
        };
        let hits = seen.iter().zip(&labels).filter(|(x, label)| nearest(x) == **label).count();
        hits as f64 / labels.len() as f64
    }

    #[test]
    fn a_wide_view_tells_classes_apart_that_a_narrow_or_noisy_one_does_not() {
        let (wide, narrow, noisy) = (told_apart(16, 0.0), told_apart(2, 0.0), told_apart(16, 4.0));
        assert!(wide > 0.95, "{wide}");
        assert!((0.4..0.9).contains(&narrow) && (0.4..0.9).contains(&noisy), "{narrow} {noisy}");
    }

    #[test]
    fn a_wider_view_sees_what_a_narrower_one_sees() {
        let [narrow, wide] = [2, 9].map(|width| Eye::new(&task(), width, 0.0).unwrap().see(5).unwrap());
        assert_eq!(narrow, wide[..2]);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |task: &Mixture| rows(task).err().unwrap().to_string();
        assert!(refused(&Mixture { classes: 1, ..task() }).starts_with("1 classes in 16 dimensions"));
        assert!(refused(&Mixture { spread: 0.0, ..task() }).starts_with("spread = 0"));
        assert!(Eye::new(&task(), 0, 0.0).unwrap_err().to_string().starts_with("a view of 0 numbers"));
        let error = Eye::new(&task(), 1, 0.0).unwrap().see(3_000).unwrap_err();
        assert_eq!(error.to_string(), "row 3000 is none of the 3000 points");
    }
}
