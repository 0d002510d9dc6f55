//! The parts that decoder and encoder share: norm, linear map, attention, feed-forward network.
//!
//! Shape suffixes: b rows, t tokens, d residual width, n heads, h width of a head.

use tch::Tensor;

use crate::{
    batch::Attend,
    description::{Activation, Description},
    families::Module,
    layout::Tensors,
};

/// Layer norm over the last dimension (Ba et al. 2016).
#[derive(Debug)]
pub(crate) struct Norm {
    weight_d: Tensor,
    bias_d: Option<Tensor>,
    epsilon: f64,
}

impl Norm {
    pub(crate) fn new(description: &Description, tensors: &Tensors, module: Module, block: usize) -> Self {
        Self {
            weight_d: tensors.weight(module, block),
            bias_d: tensors.bias(module, block),
            epsilon: description.norm_epsilon,
        }
    }

    pub(crate) fn forward(&self, x_btd: &Tensor) -> Tensor {
        x_btd.layer_norm(
            self.weight_d.size(),
            Some(&self.weight_d),
            self.bias_d.as_ref(),
            self.epsilon,
            false,
        )
    }
}

/// An affine map of the last dimension; the weight is `[out, in]`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(tensors: &Tensors, module: Module, block: usize) -> Self {
        Self { weight: tensors.weight(module, block), bias: tensors.bias(module, block) }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// Multi-head attention (Vaswani et al. 2017, section 3.2).
#[derive(Debug)]
pub(crate) struct Attention {
    input: Input,
    output: Linear,
    heads: i64,
}

/// How queries, keys and values are stored.
#[derive(Debug)]
enum Input {
    Fused(Linear),
    Separate([Linear; 3]),
}

impl Attention {
    pub(crate) fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        let fused = description.family.block.iter().any(|weight| weight.module == Module::AttentionFused);
        let input = if fused {
            Input::Fused(Linear::new(tensors, Module::AttentionFused, block))
        } else {
            let modules = [Module::AttentionQuery, Module::AttentionKey, Module::AttentionValue];
            Input::Separate(modules.map(|module| Linear::new(tensors, module, block)))
        };
        let output = Linear::new(tensors, Module::AttentionOutput, block);
        Self { input, output, heads: description.heads as i64 }
    }

    pub(crate) fn forward(&self, x_btd: &Tensor, attend: &Attend) -> Tensor {
        let [query_bnth, key_bnth, value_bnth] =
            self.input.forward(x_btd).map(|part_btd| self.split(&part_btd));
        let (mask, causal) = match attend {
            Attend::Everything => (None, false),
            Attend::Before => (None, true),
            Attend::Masked(allowed_b1tt) => (Some(allowed_b1tt), false),
        };
        let mixed_bnth = Tensor::scaled_dot_product_attention(
            &query_bnth,
            &key_bnth,
            &value_bnth,
            mask,
            0.0,
            causal,
            None,
            false,
        );
        let mixed_btd = mixed_bnth.transpose(1, 2).contiguous().view_as(x_btd);
        self.output.forward(&mixed_btd)
    }

    /// `[b, t, d]` to `[b, n, t, h]`.
    fn split(&self, x_btd: &Tensor) -> Tensor {
        x_btd.unflatten(2, [self.heads, -1]).transpose(1, 2)
    }
}

impl Input {
    fn forward(&self, x_btd: &Tensor) -> [Tensor; 3] {
        match self {
            Self::Fused(linear) => {
                let fused = linear.forward(x_btd);
                let width = x_btd.size()[2];
                [0, 1, 2].map(|part| fused.narrow(2, part * width, width))
            }
            Self::Separate(linears) => [0, 1, 2].map(|part| linears[part].forward(x_btd)),
        }
    }
}

/// Two linear maps with a nonlinearity between them.
#[derive(Debug)]
pub(crate) struct FeedForward {
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl FeedForward {
    pub(crate) fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        Self {
            up: Linear::new(tensors, Module::FeedForwardUp, block),
            down: Linear::new(tensors, Module::FeedForwardDown, block),
            activation: description.activation,
        }
    }

    pub(crate) fn forward(&self, x_btd: &Tensor) -> Tensor {
        let inner = self.up.forward(x_btd);
        let inner = match self.activation {
            Activation::Gelu => inner.gelu("none"),
            Activation::GeluTanh => inner.gelu("tanh"),
        };
        self.down.forward(&inner)
    }
}
