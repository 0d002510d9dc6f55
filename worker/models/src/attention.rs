//! Attention (Vaswani et al. 2017, section 3.2): heads, shared keys, rotations, caps.
//!
//! Shape suffixes: b rows, t tokens (q of the queries, k of the keys where they differ), d residual width,
//! n heads, m heads of keys, h width of a head.

use tch::{Kind, Tensor};

use crate::{
    attend::Attend,
    cache::Past,
    description::{Description, Fused},
    families::Module,
    layout::Tensors,
    modules::{Linear, Norm, through},
    rotary::Rotation,
};

/// Multi-head attention.
#[derive(Debug)]
pub(crate) struct Attention {
    input: Input,
    output: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    heads: i64,
    key_heads: i64,
    width: i64,
    scale: Option<f64>,
    cap: Option<f64>,
}

/// How queries, keys and values are stored.
#[derive(Debug)]
enum Input {
    InTurn(Linear),
    ByHead(Linear),
    Separate(Box<[Linear; 3]>),
}

impl Attention {
    pub(crate) fn new(description: &Description, tensors: &Tensors, block: usize) -> Self {
        let has = |module| description.family.has(module);
        let input = if has(Module::AttentionFused) {
            let fused = Linear::new(tensors, Module::AttentionFused, block);
            match description.traits.fused {
                Fused::InTurn => Input::InTurn(fused),
                Fused::ByHead => Input::ByHead(fused),
            }
        } else {
            let modules = [Module::AttentionQuery, Module::AttentionKey, Module::AttentionValue];
            Input::Separate(Box::new(modules.map(|module| Linear::new(tensors, module, block))))
        };
        let norm = |module| has(module).then(|| Norm::new(description, tensors, module, block));
        Self {
            input,
            output: Linear::new(tensors, Module::AttentionOutput, block),
            query_norm: norm(Module::QueryNorm),
            key_norm: norm(Module::KeyNorm),
            heads: description.heads as i64,
            key_heads: description.key_heads() as i64,
            width: description.head_width() as i64,
            scale: description.traits.attention_scale,
            cap: description.traits.attention_cap,
        }
    }

    /// States `[b, t, d]` from those of the same rows; `[b, 1, d]` of the one token of each row that `at_b` names.
    pub(crate) fn forward(&self, x_btd: &Tensor, attend: &Attend, at_b: Option<&Tensor>) -> Tensor {
        self.decode(x_btd, attend, at_b, None, None)
    }

    /// The same for tokens whose queries and keys are rotated, and who see what came before them too.
    pub(crate) fn decode(
        &self,
        x_btd: &Tensor,
        attend: &Attend,
        at_b: Option<&Tensor>,
        rotation: Option<&Rotation>,
        past: Option<&mut Past>,
    ) -> Tensor {
        let [query_bnqh, key_bmkh, value_bmkh] = self.input.forward(self, x_btd);
        let prepared = |x_bnth: Tensor, norm: &Option<Norm>| {
            let x_bnth = through(norm, x_bnth);
            match rotation {
                Some(rotation) => rotation.apply(&x_bnth),
                None => x_bnth,
            }
        };
        let query_bnqh = prepared(query_bnqh, &self.query_norm);
        let key_bmkh = prepared(key_bmkh, &self.key_norm);
        let [key_bmkh, value_bmkh] = match past {
            Some(past) => past.extend([key_bmkh, value_bmkh]),
            None => [key_bmkh, value_bmkh],
        };
        let mixed_bnqh = match at_b {
            Some(at_b) => {
                let query_bn1h = pick_query(&query_bnqh, at_b);
                let attend = attend.at(at_b, key_bmkh.size()[2]);
                self.mix(&query_bn1h, &key_bmkh, &value_bmkh, &attend)
            }
            None => self.mix(&query_bnqh, &key_bmkh, &value_bmkh, attend),
        };
        self.output.forward(&mixed_bnqh.transpose(1, 2).flatten(2, 3))
    }

    /// Values weighted by the scores of their keys, `[b, n, q, h]`.
    fn mix(&self, query_bnqh: &Tensor, key_bmkh: &Tensor, value_bmkh: &Tensor, attend: &Attend) -> Tensor {
        let group = self.heads / self.key_heads;
        // A lone query per head needs no copies of its keys: the queries of a group stand in line instead.
        let lone = query_bnqh.size()[2] == 1 && !matches!(attend, Attend::Before);
        if group > 1 && lone {
            let query_bmgh = query_bnqh.squeeze_dim(2).unflatten(1, [self.key_heads, group]);
            let mixed_bmgh = self.weigh(&query_bmgh, key_bmkh, value_bmkh, attend);
            return mixed_bmgh.flatten(1, 2).unsqueeze(2);
        }
        let shared = |x_bmkh: &Tensor| match group {
            1 => x_bmkh.shallow_clone(),
            _ => x_bmkh.unsqueeze(2).expand([-1, -1, group, -1, -1], false).flatten(1, 2),
        };
        self.weigh(query_bnqh, &shared(key_bmkh), &shared(value_bmkh), attend)
    }

    /// The same where every query has its key.
    fn weigh(&self, query_bnqh: &Tensor, key_bnkh: &Tensor, value_bnkh: &Tensor, attend: &Attend) -> Tensor {
        if let Some(cap) = self.cap {
            return self.weigh_capped(query_bnqh, key_bnkh, value_bnkh, attend, cap);
        }
        let (mask, causal) = match attend {
            Attend::Everything => (None, false),
            Attend::Before => (None, true),
            Attend::Masked(allowed) => (Some(allowed), false),
        };
        let (dropout, shared_keys) = (0.0, false);
        Tensor::scaled_dot_product_attention(
            query_bnqh,
            key_bnkh,
            value_bnkh,
            mask,
            dropout,
            causal,
            self.scale,
            shared_keys,
        )
    }

    /// The same with bounded scores, which no fused kernel knows (Gemma Team 2024, section 2).
    fn weigh_capped(
        &self,
        query_bnqh: &Tensor,
        key_bnkh: &Tensor,
        value_bnkh: &Tensor,
        attend: &Attend,
        cap: f64,
    ) -> Tensor {
        let scale = self.scale.unwrap_or_else(|| (self.width as f64).sqrt().recip());
        let scores_bnqk = (query_bnqh.matmul(&key_bnkh.transpose(2, 3)) * (scale / cap)).tanh() * cap;
        let hidden = match attend {
            Attend::Everything => None,
            Attend::Before => {
                let tokens = query_bnqh.size()[2];
                Some(Tensor::ones([tokens, tokens], (Kind::Bool, query_bnqh.device())).triu(1))
            }
            Attend::Masked(allowed) => Some(allowed.logical_not()),
        };
        let scores_bnqk = match hidden {
            Some(hidden) => scores_bnqk.masked_fill(&hidden, f64::NEG_INFINITY),
            None => scores_bnqk,
        };
        scores_bnqk.softmax(-1, Kind::Float).to_kind(value_bnkh.kind()).matmul(value_bnkh)
    }
}

/// The queries `[b, n, q, h]` of one token of each row, `[b, n, 1, h]`.
fn pick_query(query_bnqh: &Tensor, at_b: &Tensor) -> Tensor {
    let (rows, heads, _, width) = query_bnqh.size4().expect("queries have four dimensions");
    query_bnqh.gather(2, &at_b.view([rows, 1, 1, 1]).expand([rows, heads, 1, width], false), false)
}

impl Input {
    /// Queries `[b, n, t, h]`, keys and values `[b, m, t, h]`.
    fn forward(&self, attention: &Attention, x_btd: &Tensor) -> [Tensor; 3] {
        let Attention { heads, key_heads, width, .. } = *attention;
        let split = |x: Tensor| x.unflatten(2, [-1, width]).transpose(1, 2);
        match self {
            Self::InTurn(linear) => {
                let fused_btd = linear.forward(x_btd);
                let ends = [(0, heads), (heads, key_heads), (heads + key_heads, key_heads)];
                ends.map(|(first, count)| split(fused_btd.narrow(2, first * width, count * width)))
            }
            Self::ByHead(linear) => {
                let fused_bnth = linear.forward(x_btd).unflatten(2, [heads, 3 * width]).transpose(1, 2);
                [0, 1, 2].map(|part| fused_bnth.narrow(3, part * width, width))
            }
            Self::Separate(linears) => [0, 1, 2].map(|part| split(linears[part].forward(x_btd))),
        }
    }
}
