//! How well probabilities tell classes apart and how much they give to the truth: balanced accuracy, area under the
//! ROC curve, log-loss.

use std::collections::BTreeMap;

/// Mean over the labels that occur of the share of their rows classified right: one half for a model that always
/// names the same of two classes, however rare the other. 0 where there is no row.
pub fn balanced_accuracy(predicted: &[i32], labels: &[i32]) -> f64 {
    let mut recalls = BTreeMap::<i32, (u64, u64)>::new();
    for (class, label) in predicted.iter().zip(labels) {
        let (hits, rows) = recalls.entry(*label).or_default();
        *hits += u64::from(class == label);
        *rows += 1;
    }
    let sum: f64 = recalls.values().map(|&(hits, rows)| hits as f64 / rows as f64).sum();
    if recalls.is_empty() { 0.0 } else { sum / recalls.len() as f64 }
}

/// Mean of -ln of the probability given to the label, in nats. As f32 softmax can give 0, probabilities below
/// the f32 epsilon count as that. 0 where there is no row.
pub fn log_loss(probabilities: &[Vec<f32>], labels: &[i32]) -> f64 {
    let given = |row: &Vec<f32>, label: i32| {
        let probability =
            usize::try_from(label).ok().and_then(|class| row.get(class)).copied().unwrap_or(0.0);
        -f64::from(probability.max(f32::EPSILON)).ln()
    };
    let sum: f64 = probabilities.iter().zip(labels).map(|(row, &label)| given(row, label)).sum();
    if labels.is_empty() { 0.0 } else { sum / labels.len() as f64 }
}

/// Rows in the order of their probability of class 1, for areas under the ROC curve of weighted rows.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Positions of the rows, lowest probability first, and whether the next has another probability.
    order: Vec<(usize, bool)>,
    positive: Vec<bool>,
}

impl Ranking {
    /// Ranks the rows; none unless every row has two classes.
    pub fn new(probabilities: &[Vec<f32>], labels: &[i32]) -> Option<Self> {
        let score: Vec<f32> = probabilities
            .iter()
            .map(|row| if let [_, one] = row[..] { Some(one) } else { None })
            .collect::<Option<_>>()?;
        let mut order: Vec<usize> = (0..score.len()).collect();
        order.sort_by(|&a, &b| score[a].total_cmp(&score[b]));
        let last = |at: usize| order.get(at + 1).is_none_or(|&next| score[next] != score[order[at]]);
        let order = order.iter().enumerate().map(|(at, &row)| (row, last(at))).collect();
        Some(Self { order, positive: labels.iter().map(|&label| label == 1).collect() })
    }

    /// Share of the pairs of a row of class 1 and another row in which the first has the higher probability; equal
    /// ones count half. Row `i` counts `times[i]` times. None where either kind of row is missing.
    pub fn auroc(&self, times: &[u32]) -> Option<f64> {
        let (mut below, mut ones, mut tied, mut halves) = (0u64, 0u64, [0u64; 2], 0u128);
        for &(row, ends) in &self.order {
            tied[usize::from(self.positive[row])] += u64::from(times[row]);
            if ends {
                let [zero, one] = std::mem::take(&mut tied);
                halves += u128::from(one) * u128::from(2 * below + zero);
                below += zero;
                ones += one;
            }
        }
        let pairs = u128::from(ones) * u128::from(below);
        (pairs > 0).then(|| halves as f64 / (2 * pairs) as f64)
    }
}

/// Area under the ROC curve of two classes, every row once; see [`Ranking::auroc`].
pub fn auroc(probabilities: &[Vec<f32>], labels: &[i32]) -> Option<f64> {
    Ranking::new(probabilities, labels)?.auroc(&vec![1; labels.len()])
}
