//! How a gang trains one model together, and in which numbers.

use serde::{Deserialize, Serialize};

use super::is_default;

/// Who holds what of a model in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Every worker holds everything.
    #[default]
    Data,
    /// Every worker holds all weights, and a share of what the optimizer remembers (Rajbhandari et al. 2020, "P_os").
    Zero1,
    /// Every worker holds a share of everything, and the weights of the block that it computes (Zhao et al. 2023).
    Sharded,
    /// The same within groups of so many workers with neighbouring ranks; groups hold copies of each other.
    Hybrid {
        /// Workers in a group.
        shards: usize,
    },
}

/// The numbers of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numerics {
    /// What models compute in.
    pub precision: Precision,
    /// What stays equal.
    pub mode: Mode,
    /// What gradients travel in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: Wire,
}

impl Numerics {
    /// Whether it asks for sums that lose nothing, and for numbers that lose bits on their way.
    pub fn contradicts_itself(&self) -> bool {
        self.mode == Mode::Deterministic && self.wire == Wire::Bf16
    }
}

/// What models compute in. Weights that are updated, sums of gradients, losses and what an optimizer remembers are always
/// f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32.
    #[default]
    Fp32,
    /// bfloat16.
    Bf16,
}

/// What gradients travel in from rank to rank, and are summed in on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// f32.
    #[default]
    Fp32,
    /// bfloat16: half the bytes.
    Bf16,
}

/// What stays equal when a gang changes its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The same bytes for the same number of workers, equal to rounding across numbers.
    #[default]
    Fast,
    /// The same bytes for any number of workers, and under every strategy.
    Deterministic,
}
