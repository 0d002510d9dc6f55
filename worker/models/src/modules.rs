//! The parts that decoder and encoder share: norm, linear map, feed-forward network.
//!
//! Shape suffixes: b rows, t tokens, d residual width (or that of a head).

use fulcrum_torch_shim::{gated, linear, rms_norm};
use tch::Tensor;

use crate::{
    description::{Activation, Description, NormKind},
    families::Module,
    layout::{Part, Tensors},
    lora::Adapter,
};

/// A norm over the last dimension.
#[derive(Debug)]
pub(crate) struct Norm {
    kind: NormKind,
    weight_d: Tensor,
    bias_d: Option<Tensor>,
    epsilon: f64,
}

impl Norm {
    pub(crate) fn new(description: &Description, tensors: &Tensors, module: Module, block: usize) -> Self {
        Self {
            kind: description.traits.norm,
            weight_d: tensors.weight(module, block),
            bias_d: tensors.bias(module, block),
            epsilon: description.norm_epsilon,
        }
    }

    pub(crate) fn forward(&self, x_btd: &Tensor) -> Tensor {
        match self.kind {
            NormKind::Layer => {
                let shape = self.weight_d.size();
                x_btd.layer_norm(shape, Some(&self.weight_d), self.bias_d.as_ref(), self.epsilon, false)
            }
            NormKind::Rms => rms_norm(x_btd, &self.weight_d, self.epsilon),
            NormKind::RmsPlusOne => rms_norm(x_btd, &(&self.weight_d + 1.0), self.epsilon),
        }
    }
}

/// Through a norm, where there is one.
pub(crate) fn through(norm: &Option<Norm>, x_btd: Tensor) -> Tensor {
    match norm {
        Some(norm) => norm.forward(&x_btd),
        None => x_btd,
    }
}

/// An affine map of the last dimension; the weight is `[out, in]`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

impl Linear {
    pub(crate) fn new(tensors: &Tensors, module: Module, block: usize) -> Self {
        Self {
            weight: tensors.weight(module, block),
            bias: tensors.bias(module, block),
            adapter: tensors.adapter(module, block),
        }
    }

    /// The map to the vocabulary: the token embedding where it has no matrix of its own.
    pub(crate) fn unembedding(tensors: &Tensors) -> Self {
        let module = Module::Unembedding;
        let own = tensors.find(module, 0, Part::Weight);
        Self {
            weight: own.unwrap_or_else(|| tensors.weight(Module::TokenEmbedding, 0)),
            bias: tensors.bias(module, 0),
            adapter: tensors.adapter(module, 0),
        }
    }

    /// Weight and bias of a map that is nothing else; none under an adapter.
    pub(crate) fn plain(&self) -> Option<(&Tensor, Option<&Tensor>)> {
        self.adapter.is_none().then_some((&self.weight, self.bias.as_ref()))
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let plain = linear(x, &self.weight, self.bias.as_ref());
        match &self.adapter {
            Some(adapter) => plain + adapter.forward(x),
            None => plain,
        }
    }
}

/// Two linear maps with a nonlinearity between them, and in some families a third that multiplies what is
/// between (Shazeer 2020, equation 6).
#[derive(Debug)]
pub(crate) struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl FeedForward {
    pub(crate) fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        let gated = description.family.has(Module::FeedForwardGate);
        Self {
            gate: gated.then(|| Linear::new(tensors, Module::FeedForwardGate, block)),
            up: Linear::new(tensors, Module::FeedForwardUp, block),
            down: Linear::new(tensors, Module::FeedForwardDown, block),
            activation: description.activation,
        }
    }

    pub(crate) fn forward(&self, x_btd: &Tensor) -> Tensor {
        let up = self.up.forward(x_btd);
        let inner = match &self.gate {
            Some(gate) if self.activation == Activation::Silu => gated(&gate.forward(x_btd), &up),
            Some(gate) => self.activation.of(&gate.forward(x_btd)) * up,
            None => self.activation.of(&up),
        };
        self.down.forward(&inner)
    }
}

impl Activation {
    /// Of each number.
    pub(crate) fn of(self, x: &Tensor) -> Tensor {
        match self {
            Self::Gelu => x.gelu("none"),
            Self::GeluTanh => x.gelu("tanh"),
            Self::Silu => x.silu(),
            Self::Relu => x.relu(),
            Self::Tanh => x.tanh(),
        }
    }
}
