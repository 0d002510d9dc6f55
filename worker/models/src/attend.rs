//! Which tokens a token sees: all of its row, those before it, the nearest of them.
//!
//! Shape suffixes: b rows, t tokens that look, k tokens that are seen.

use tch::{Kind, Tensor};

/// Which tokens a token sees.
#[derive(Debug)]
pub(crate) enum Attend {
    /// All of its row.
    Everything,
    /// Itself and those before it.
    Before,
    /// Those that are true here, of shape `[b, 1, t, k]` or `[t, k]` (query, then key).
    Masked(Tensor),
}

impl Attend {
    /// Whom one token of each row sees, of `tokens` tokens.
    pub(crate) fn at(&self, at_b: &Tensor, tokens: i64) -> Self {
        let rows = at_b.size()[0];
        let at_b111 = at_b.view([rows, 1, 1, 1]);
        match self {
            Self::Everything => Self::Everything,
            Self::Before => {
                Self::Masked(Tensor::arange(tokens, (Kind::Int64, at_b.device())).le_tensor(&at_b111))
            }
            Self::Masked(allowed) => {
                let allowed_b1tk = allowed.expand([rows, 1, -1, -1], false);
                let at_b11k = at_b111.expand([rows, 1, 1, tokens], false);
                Self::Masked(allowed_b1tk.gather(2, &at_b11k, false))
            }
        }
    }
}

/// On which side the padding of a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    None,
    Right,
    /// On the left in some row.
    Left,
}

/// What decides who sees whom.
pub(crate) struct View<'a> {
    /// Whether a token sees only those before it.
    pub(crate) causal: bool,
    pub(crate) padding: Padding,
    /// Tokens of a row that look; they are its last.
    pub(crate) new: i64,
    /// Of all tokens of the rows.
    pub(crate) mask_bt: &'a Tensor,
}

impl View<'_> {
    /// Who is seen, no further away than the window.
    pub(crate) fn attend(&self, window: Option<i64>) -> Attend {
        let all = self.mask_bt.size()[1];
        match (self.causal, self.padding, window) {
            (false, Padding::None, _) => Attend::Everything,
            (true, Padding::None, None) if self.new == 1 => Attend::Everything,
            // What stands after a token is hidden from it already, padding like the rest.
            (true, Padding::None | Padding::Right, None) if self.new == all => Attend::Before,
            (true, Padding::None | Padding::Right, window) => Attend::Masked(self.before(window)),
            (causal, _, window) => Attend::Masked(self.visible(causal, window)),
        }
    }

    /// Who comes before whom, itself included, and no further away than the window; bool `[t, k]`.
    fn before(&self, window: Option<i64>) -> Tensor {
        let all = self.mask_bt.size()[1];
        let before = all - self.new;
        let allowed_tk = Tensor::ones([self.new, all], (Kind::Bool, self.mask_bt.device())).tril(before);
        match window {
            Some(window) => allowed_tk.triu(before + 1 - window),
            None => allowed_tk,
        }
    }

    /// The same less padding, bool `[b, 1, t, k]`. Every token sees itself, padding too: a softmax over nothing
    /// is NaN.
    fn visible(&self, causal: bool, window: Option<i64>) -> Tensor {
        let (all, new) = (self.mask_bt.size()[1], self.new);
        let seen_b1tk = self.mask_bt.eq(1).unsqueeze(1).unsqueeze(1).expand([-1, 1, new, all], false);
        let seen_b1tk = match causal {
            true => seen_b1tk.logical_and(&self.before(window)),
            false => seen_b1tk,
        };
        let itself_tk =
            Tensor::ones([all], (Kind::Bool, self.mask_bt.device())).diag(0).narrow(0, all - new, new);
        seen_b1tk.logical_or(&itself_tk)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn one_token_of_a_row_sees_what_it_sees_among_all() {
        let mask_bt = Tensor::from_slice2(&[[1i64, 1, 1, 1, 0], [1, 1, 0, 0, 0]]);
        let left_bt = mask_bt.flip([1]);
        let at_b = Tensor::from_slice(&[3i64, 1]);
        for causal in [false, true] {
            for (padding, mask_bt) in [(Padding::Right, &mask_bt), (Padding::Left, &left_bt)] {
                for window in [None, Some(2)] {
                    let view = View { causal, padding, new: 5, mask_bt };
                    let attend = view.attend(window);
                    let all_btk = match &attend {
                        Attend::Before => view.before(None).expand([2, 5, 5], false),
                        Attend::Masked(allowed) => allowed.expand([2, 1, 5, 5], false).squeeze_dim(1),
                        Attend::Everything => Tensor::ones([2, 5, 5], (Kind::Bool, Device::Cpu)),
                    };
                    let Attend::Masked(seen_b11k) = attend.at(&at_b, 5) else { panic!("padding is hidden") };
                    for (row, at) in [(0, 3), (1, 1)] {
                        let expected_k = all_btk.get(row).get(at);
                        assert_eq!(seen_b11k.get(row).view(5), expected_k, "{causal} {padding:?} {window:?}");
                    }
                }
            }
        }
    }
}
