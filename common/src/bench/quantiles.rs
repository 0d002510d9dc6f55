//! Quantiles of a list of times.

use serde::{Deserialize, Serialize};

/// Some quantiles, in seconds. Between two values they lie on the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Of ten steps one is not longer.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// Of ten steps nine are not longer.
    pub p90: f64,
    /// Of a hundred steps 99 are not longer.
    pub p99: f64,
}

impl Quantiles {
    /// Those of `times`; zeros where there is none.
    pub fn of(times: impl IntoIterator<Item = f64>) -> Self {
        let mut times: Vec<f64> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        let [p10, p50, p90, p99] = [0.1, 0.5, 0.9, 0.99].map(|share| quantile(&times, share));
        Self { p10, p50, p90, p99 }
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_values_around_them() {
        let found = Quantiles::of([3.0, 1.0, 2.0, 5.0, 4.0]);
        assert_eq!((found.p10, found.p50, found.p90), (1.4, 3.0, 4.6));
        assert!((found.p99 - 4.96).abs() < 1e-12);
        let one = Quantiles::of([7.0]);
        assert_eq!((one.p10, one.p99), (7.0, 7.0));
        assert_eq!(Quantiles::of([]), Quantiles::default());
    }
}
