//! What a measurement found: one line of JSON.

use serde::{Deserialize, Serialize};

use super::Quantiles;
use crate::plan::{Precision, Strategy, Wire};

/// The outcome of a measurement. Times are in seconds; those of a step are rank 0's, and ranks go in step in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `train`, `infer` or `allreduce`.
    pub bench: String,
    /// Processes.
    pub world: usize,
    /// Threads of each.
    pub threads: usize,
    /// `cpu`, `cuda:0`: rank 0's.
    pub device: String,
    /// What the device is called, where that is known.
    pub device_name: Option<String>,
    /// Steps that were timed.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
    /// Of training and inference.
    #[serde(flatten)]
    pub network: Option<Network>,
    /// Of sums over ranks.
    #[serde(flatten)]
    pub traffic: Option<Traffic>,
    /// Median of a step.
    pub step_s: f64,
    /// More of its quantiles.
    pub quantiles: Quantiles,
    /// Where the time of a training step goes.
    pub split: Option<Split>,
    /// For how long a checkpoint holds a training up: the median over those that were timed; none without checkpoints.
    pub checkpoint_stall_s: Option<f64>,
    /// Of training.
    pub loss: Option<Losses>,
    /// Most memory that the process ever held, by rank.
    pub peak_rss_mib: Vec<f64>,
    /// Most memory of the device that tensors ever held at a time, by rank; none on a CPU.
    pub device_memory_mib: Option<Vec<f64>>,
}

/// What a model did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// A folder or a shape.
    pub model: String,
    /// `classifier` or `lm`.
    pub head: String,
    /// Its numbers.
    pub parameters: usize,
    /// Rows per step on each rank.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// What it computed in.
    pub precision: Precision,
    /// What gradients travelled in.
    pub wire: Wire,
    /// Who held what.
    pub strategy: Strategy,
    /// Whether gradients and weights travelled while others were still computed.
    pub overlap: bool,
    /// Rows per second over all ranks, by the median step.
    pub examples_per_s: f64,
    /// Tokens per second over all ranks, likewise.
    pub tokens_per_s: f64,
    /// Operations of the model itself per second, as a share of what the devices can do; none where that is not known.
    pub mfu: Option<f64>,
}

/// What travelled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Size of the tensor.
    pub mib: usize,
    /// Bytes of the tensor over the median time, in 1e9 per second.
    pub gb_per_s: f64,
    /// What each rank sends and receives of it at least, 2 (n - 1) / n, likewise: comparable over numbers of ranks.
    pub bus_gb_per_s: f64,
}

/// Medians of the parts of a step, so their sum is near the median step and not equal to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Rows to tensors.
    pub data: f64,
    /// Forward passes and losses.
    pub forward: f64,
    /// Backward passes, with what travels meanwhile.
    pub backward: f64,
    /// Waiting for other ranks: what no computation hides.
    pub communication: f64,
    /// Norm, clipping and update.
    pub optimizer: f64,
}

/// Losses, for whoever compares two programs on the same weights and rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Of the first step, warm-up counted.
    pub first: f64,
    /// Of the last.
    pub last: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_flat_line_that_reads_back() {
        let network = Network {
            model: "gpt2-tiny".into(),
            head: "classifier".into(),
            parameters: 7,
            batch: 2,
            seq: 4,
            precision: Precision::Fp32,
            wire: Wire::Fp32,
            strategy: Strategy::Data,
            overlap: true,
            examples_per_s: 1.0,
            tokens_per_s: 4.0,
            mfu: None,
        };
        let report = Report {
            bench: "train".into(),
            world: 1,
            threads: 1,
            device: "cpu".into(),
            device_name: None,
            steps: 3,
            warmup: 1,
            network: Some(network),
            traffic: None,
            step_s: 0.5,
            quantiles: Quantiles::of([0.5]),
            split: Some(Split::default()),
            checkpoint_stall_s: None,
            loss: Some(Losses { first: 1.0, last: 0.5 }),
            peak_rss_mib: vec![10.0],
            device_memory_mib: None,
        };
        let line = serde_json::to_string(&report).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["examples_per_s"], &value["mfu"]), (&1.0.into(), &serde_json::Value::Null));
        assert!(!line.contains('\n') && value.get("traffic").is_none(), "{line}");
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
    }
}
