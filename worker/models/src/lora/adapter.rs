//! One adapter, as the network computes it.
//!
//! Shape suffixes: r rank, i inputs and o outputs of the linear map.

use fulcrum_torch_shim::linear;
use tch::Tensor;

use super::targets::Target;
use crate::noise::Dropout;

/// A low-rank change of a linear map (Hu et al. 2021, section 4.1): W x becomes W x + scale * B A x.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(super) target: Target,
    pub(super) a_ri: Tensor,
    pub(super) b_or: Tensor,
    pub(super) scale: f64,
    pub(super) dropout: Dropout,
}

impl Adapter {
    /// What is added to the outputs for the inputs `x`, `[..., i]` to `[..., o]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.dropout.apply(&self.target.name, x);
        linear(&linear(&x, &self.a_ri, None), &self.b_or, None) * self.scale
    }

    /// What is added to the weight, `[o, i]`.
    pub(super) fn product(&self) -> Tensor {
        self.b_or.matmul(&self.a_ri) * self.scale
    }

    /// The factors by name, A before B.
    pub(super) fn factors(&self) -> [(String, &Tensor); 2] {
        let Self { target: Target { name, .. }, a_ri, b_or, .. } = self;
        [(format!("{name}.lora_A.weight"), a_ri), (format!("{name}.lora_B.weight"), b_or)]
    }

    /// A handle of the same tensors.
    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            target: self.target.clone(),
            a_ri: self.a_ri.shallow_clone(),
            b_or: self.b_or.shallow_clone(),
            scale: self.scale,
            dropout: self.dropout.clone(),
        }
    }
}
