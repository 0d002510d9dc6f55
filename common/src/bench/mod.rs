//! What `fulcrum bench` measures and what comes of it: told to the processes that measure as JSON, and printed as JSON.

mod quantiles;
mod report;
mod shape;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use quantiles::Quantiles;
pub use report::{Losses, Network, Report, Split, Traffic};
pub use shape::Shape;

use crate::plan::{Head, Numerics, Strategy};

/// The file with the [`Job`], in the folder that its processes share.
pub const JOB_FILE: &str = "job.json";

/// The file with the address where rank 0 meets the others.
pub const MEETING_FILE: &str = "meeting";

/// The file with the [`Report`].
pub const REPORT_FILE: &str = "report.json";

/// One measurement, the same for each of its processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What is measured.
    pub work: Work,
    /// Processes.
    pub world: usize,
    /// Threads of each.
    pub threads: usize,
    /// Steps that are timed.
    pub steps: usize,
    /// Steps before them that are not.
    pub warmup: usize,
    /// Seed of weights, rows and order.
    pub seed: u64,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Training steps.
    Train {
        /// Of what.
        rows: Rows,
        /// Rows per forward and backward pass.
        micro_batch: usize,
        /// Who holds what.
        strategy: Strategy,
        /// What is computed in.
        numerics: Numerics,
        /// Whether gradients and weights travel while others are still computed.
        overlap: bool,
        /// Steps between two checkpoints; 0 for none.
        checkpoint_steps: usize,
        /// Compares what ranks hold alike after so many steps; 0 for never.
        #[serde(default)]
        verify_steps: usize,
    },
    /// Batches without gradients, each rank on its own.
    Infer {
        /// Of what.
        rows: Rows,
    },
    /// Sums over all ranks.
    AllReduce {
        /// Size of the f32 tensor.
        mib: usize,
    },
}

/// A model and the rows that it reads: random tokens, all rows of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The model.
    pub model: Model,
    /// What it ends in.
    pub head: Head,
    /// Rows per step on each rank.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// A checkpoint in the Hugging Face layout.
    Folder(PathBuf),
    /// Random weights.
    Shape(Shape),
}

impl Work {
    /// The word on the command line.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Train { .. } => "train",
            Self::Infer { .. } => "infer",
            Self::AllReduce { .. } => "allreduce",
        }
    }
}

impl Rows {
    /// The ids of a row, from 1 on: 0 is the padding of every [`Shape`]. Every number is the SplitMix64 of its place
    /// (Steele et al. 2014, figure 1), so that other programs make the same rows in a line.
    pub fn ids(&self, row: usize, vocabulary: usize, seed: u64) -> Vec<i64> {
        let first = (row * self.seq) as u64;
        let most = vocabulary.saturating_sub(1).max(1) as u64;
        (0..self.seq as u64).map(|place| 1 + (split_mix(seed, first + place) % most) as i64).collect()
    }

    /// The class of a row, of two.
    pub fn class(&self, row: usize, seed: u64) -> usize {
        (split_mix(seed ^ 1, row as u64) >> 63) as usize
    }
}

/// The `index`-th number of the stream of a seed.
fn split_mix(seed: u64, index: u64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = seed.wrapping_add(STEP.wrapping_mul(index.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // The first numbers of SplitMix64 from 1234567, as other implementations test them.
        let expected = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        assert_eq!([0, 1, 2].map(|index| split_mix(1_234_567, index)), expected);
    }

    #[test]
    fn rows_are_of_one_length_within_the_vocabulary_and_differ() {
        let rows = Rows {
            model: Model::Shape(Shape::Gpt2Tiny),
            head: Head::Classifier { classes: 2 },
            batch: 2,
            seq: 5,
        };
        let ids = |row| rows.ids(row, 11, 3);
        assert_eq!(ids(0), rows.ids(0, 11, 3));
        assert!((0..50).flat_map(ids).all(|id| (1..11).contains(&id)));
        assert_ne!(ids(0), ids(1));
        let ones = (0..1000).map(|row| rows.class(row, 3)).sum::<usize>();
        assert!((400..600).contains(&ones), "{ones}");
    }
}
