//! The bootstrap (Efron and Tibshirani 1993): how much a number would move had other rows and other seeds been drawn.
//!
//! Rows are drawn jointly: in one draw every model is judged on the same resampled rows, so differences between
//! models keep their pairing. Seeds are drawn with replacement too, jointly for supervisor, student and ceiling.
//! With few seeds the interval understates what other seeds would give; with one it speaks of rows alone.

use crate::rng::Rng;

/// A bootstrap: how many draws, from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How many times rows and seeds are drawn.
    pub draws: usize,
    /// Names the draws.
    pub seed: u64,
}

impl Bootstrap {
    /// Draws rows with replacement and hands over how many times each is taken: every number that `take` computes
    /// of one draw is of the same rows. One result per draw.
    pub fn rows<T>(&self, rows: usize, mut take: impl FnMut(&[u32]) -> T) -> Vec<T> {
        let mut times = vec![0u32; rows];
        let draws = (0..self.draws).map(|draw| {
            let mut rng = Rng::new(self.seed, "bootstrap rows", draw as u64);
            times.fill(0);
            (0..rows).for_each(|_| times[rng.index(rows)] += 1);
            take(&times)
        });
        draws.collect()
    }

    /// The seeds that a draw takes: `count` of `0..count`, with replacement.
    pub fn seeds(&self, draw: usize, count: usize) -> Vec<usize> {
        let mut rng = Rng::new(self.seed, "bootstrap seeds", draw as u64);
        (0..count).map(|_| rng.index(count)).collect()
    }
}

/// How many of the drawn rows are hits; a row that is taken twice counts twice.
pub fn hits(hit: &[bool], times: &[u32]) -> u64 {
    hit.iter().zip(times).map(|(&hit, &times)| u64::from(times * u32::from(hit))).sum()
}

/// The 2.5 % and the 97.5 % point of some values, interpolated between neighbours. The values may be infinite.
///
/// # Panics
/// If there are no values.
pub fn percentiles(mut values: Vec<f64>) -> (f64, f64) {
    assert!(!values.is_empty(), "percentiles of nothing");
    values.sort_unstable_by(f64::total_cmp);
    let point = |share: f64| {
        let position = share * (values.len() - 1) as f64;
        let (below, part) = (position.floor() as usize, position.fract());
        if part == 0.0 { values[below] } else { values[below] * (1.0 - part) + values[below + 1] * part }
    };
    (point(0.025), point(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracies(bootstrap: Bootstrap, correct: &[Vec<bool>]) -> Vec<Vec<f64>> {
        let rows = correct[0].len();
        bootstrap
            .rows(rows, |times| correct.iter().map(|hit| hits(hit, times) as f64 / rows as f64).collect())
    }

    #[test]
    fn percentiles_are_those_of_the_hand_computation() {
        let values = |n: u32| (0..n).rev().map(f64::from).collect::<Vec<_>>();
        assert_eq!(percentiles(values(41)), (1.0, 39.0));
        assert_eq!(percentiles(values(21)), (0.5, 19.5));
        assert_eq!(percentiles(vec![7.0]), (7.0, 7.0));
        let (low, high) = percentiles([vec![f64::NEG_INFINITY; 2], values(39)].concat());
        assert_eq!((low, high), (f64::NEG_INFINITY, 37.0));
    }

    #[test]
    fn a_draw_judges_every_model_on_the_same_rows() {
        let correct = vec![vec![true, false, true, false], vec![false, true, false, true], vec![true; 4]];
        for draw in accuracies(Bootstrap { draws: 50, seed: 3 }, &correct) {
            assert_eq!((draw[0] + draw[1], draw[2]), (1.0, 1.0));
        }
    }

    #[test]
    fn draws_depend_on_their_seed_alone() {
        let correct = vec![(0..30).map(|row| row % 3 == 0).collect::<Vec<bool>>()];
        let draws = |draws, seed| accuracies(Bootstrap { draws, seed }, &correct);
        assert_eq!(draws(10, 1)[..], draws(20, 1)[..10]);
        assert_ne!(draws(10, 1), draws(10, 2));
    }

    #[test]
    fn the_interval_holds_the_true_accuracy_about_19_times_in_20() {
        let (truth, rows, trials) = (0.7, 150, 300u32);
        let covered = (0..trials).filter(|&trial| {
            let mut rng = Rng::new(0, "coverage", u64::from(trial));
            let correct = vec![(0..rows).map(|_| rng.chance(truth)).collect()];
            let draws = accuracies(Bootstrap { draws: 200, seed: u64::from(trial) }, &correct);
            let (low, high) = percentiles(draws.iter().map(|draw| draw[0]).collect());
            (low..=high).contains(&truth)
        });
        let share = covered.count() as f64 / f64::from(trials);
        assert!((0.90..0.99).contains(&share), "{share}");
    }
}
