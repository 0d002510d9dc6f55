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
