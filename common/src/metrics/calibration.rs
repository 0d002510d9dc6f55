//! Whether rows given 80 % are right 8 times in 10: expected calibration errors.

use super::argmax;

/// Bins of [`ece`].
const BINS: usize = 15;

/// Most bins of [`ece_sweep`]: a model that separates the classes perfectly would otherwise get one per row.
const MOST_BINS: usize = 1000;

/// Expected calibration error (Guo et al. 2017): rows go to 15 bins of equal width by the probability of the named
/// class; the mean over rows of |accuracy - mean probability| of their bin. 0 where there is no row.
pub fn ece(probabilities: &[Vec<f32>], labels: &[i32]) -> f64 {
    let (mut given, mut hits) = ([0.0; BINS], [0.0; BINS]);
    for (row, &label) in probabilities.iter().zip(labels) {
        let class = argmax(row);
        let confidence = f64::from(row[class]);
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        given[bin] += confidence;
        hits[bin] += f64::from(u8::from(i32::try_from(class) == Ok(label)));
    }
    let sum: f64 = given.iter().zip(&hits).map(|(given, hits)| (given - hits).abs()).sum();
    if labels.is_empty() { 0.0 } else { sum / labels.len() as f64 }
}

/// Monotonic-sweep calibration error of the probability of class 1 (Roelofs et al. 2022, p = 2): bins of equally
/// many rows, as many as keep the share of class 1 from falling from bin to bin. None unless there are two classes.
pub fn ece_sweep(probabilities: &[Vec<f32>], labels: &[i32]) -> Option<f64> {
    let mut rows: Vec<(f32, bool)> = probabilities
        .iter()
        .zip(labels)
        .map(|(row, &label)| if let [_, one] = row[..] { Some((one, label == 1)) } else { None })
        .collect::<Option<_>>()?;
    // Among equal probabilities class 0 goes first, whatever the order of the rows.
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let sums = |value: fn(&(f32, bool)) -> f64| {
        let running = rows.iter().scan(0.0, |sum, row| {
            *sum += value(row);
            Some(*sum)
        });
        std::iter::once(0.0).chain(running).collect::<Vec<f64>>()
    };
    let (given, ones) = (sums(|row| f64::from(row.0)), sums(|row| f64::from(u8::from(row.1))));
    let monotonic = |bins: usize| {
        let shares: Vec<f64> =
            edges(rows.len(), bins).map(|(a, b)| (ones[b] - ones[a]) / (b - a) as f64).collect();
        shares.is_sorted()
    };
    let bins = (2..=rows.len().min(MOST_BINS)).take_while(|&bins| monotonic(bins)).last().unwrap_or(1);
    let squares = edges(rows.len(), bins).map(|(a, b)| {
        let size = (b - a) as f64;
        ((ones[b] - ones[a] - given[b] + given[a]) / size).powi(2) * size
    });
    let sum: f64 = squares.sum();
    (!rows.is_empty()).then(|| (sum / rows.len() as f64).sqrt())
}

/// Where bins of equally many rows begin and end; the first ones take the rows that are left over.
fn edges(rows: usize, bins: usize) -> impl Iterator<Item = (usize, usize)> {
    let (size, over) = (rows / bins, rows % bins);
    let start = move |bin: usize| bin * size + bin.min(over);
    (0..bins).map(move |bin| (start(bin), start(bin + 1)))
}
