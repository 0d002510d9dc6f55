//! A padded batch, checked once, and what follows from its mask: positions, who sees whom, first and last tokens.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use tch::{Device, Kind, Tensor};

use crate::{ModelError, description::Description};

/// What the network reads.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ids_bt: Tensor,
    /// Position of each token in its row, padding not counted; 0 at padding.
    pub(crate) positions_bt: Tensor,
    pub(crate) attend: Attend,
    mask_bt: Tensor,
}

/// Which tokens a token sees.
#[derive(Debug)]
pub(crate) enum Attend {
    /// All of its row.
    Everything,
    /// Itself and those before it.
    Before,
    /// Those that are true here, of shape `[b, 1, t, t]` (query, then key).
    Masked(Tensor),
}

impl Batch {
    /// Checks ids and mask, both i64 `[b, t]`, and brings them to `device`.
    ///
    /// # Errors
    /// If the shapes differ from each other or exceed the model, an id is outside the vocabulary, the mask
    /// holds anything but 0 and 1, or a row's tokens are none or not in one piece.
    pub(crate) fn new(
        description: &Description,
        ids_bt: &Tensor,
        mask_bt: &Tensor,
        device: Device,
    ) -> Result<Self, ModelError> {
        let tokens = check_shapes(description, ids_bt, mask_bt)?;
        check_ids(description, ids_bt)?;
        let padding = padding(mask_bt)?;
        let ids_bt = ids_bt.to_device(device);
        let mask_bt = mask_bt.to_device(device);
        let positions_bt = match padding {
            Padding::None | Padding::Right => {
                Tensor::arange(tokens, (Kind::Int64, device)).expand_as(&ids_bt)
            }
            Padding::Left => (mask_bt.cumsum(1, Kind::Int64) - 1).clamp_min(0),
        };
        let attend = match (description.family.causal, padding) {
            (false, Padding::None) => Attend::Everything,
            // What stands after a token is hidden from it already, padding like the rest.
            (true, Padding::None | Padding::Right) => Attend::Before,
            (causal, _) => Attend::Masked(allowed(&mask_bt, causal)),
        };
        Ok(Self { ids_bt, positions_bt, attend, mask_bt })
    }

    /// `[b, t, d]` to `[b, d]` at the first token that is not padding.
    pub(crate) fn first(&self, x_btd: &Tensor) -> Tensor {
        let falling_t = -self.ascending();
        pick(x_btd, &self.at_largest(&(falling_t + self.mask_bt.size()[1] + 1)))
    }

    /// `[b, t, d]` to `[b, d]` at the last token that is not padding.
    pub(crate) fn last(&self, x_btd: &Tensor) -> Tensor {
        pick(x_btd, &self.at_largest(&self.ascending()))
    }

    /// 1, 2, ..., t.
    fn ascending(&self) -> Tensor {
        Tensor::arange(self.mask_bt.size()[1], (Kind::Int64, self.mask_bt.device())) + 1
    }

    /// Where the positive `rank_t` is largest among a row's tokens, i64 `[b]`.
    fn at_largest(&self, rank_t: &Tensor) -> Tensor {
        (&self.mask_bt * rank_t).argmax(1, false)
    }
}

/// `[b, t, d]` to `[b, d]` at one token of each row.
fn pick(x_btd: &Tensor, at_b: &Tensor) -> Tensor {
    let (rows, _, width) = x_btd.size3().expect("activations have three dimensions");
    x_btd.gather(1, &at_b.view([rows, 1, 1]).expand([rows, 1, width], false), false).squeeze_dim(1)
}

/// On which side the padding of a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    None,
    Right,
    /// On the left in some row.
    Left,
}

/// Classifies a mask.
fn padding(mask_bt: &Tensor) -> Result<Padding, ModelError> {
    let holds = |what: Tensor| what.int64_value(&[]) != 0;
    let starts_b = mask_bt.select(1, 0);
    // A row in one piece steps up at most once, and not at all if it starts with a token.
    let rises_b =
        mask_bt.diff(1, 1, None::<Tensor>, None::<Tensor>).eq(1).sum_dim_intlist(1, false, Kind::Int64)
            + &starts_b;
    if holds(mask_bt.ne(0).logical_and(&mask_bt.ne(1)).any()) {
        return Err(ModelError::Batch("its mask has values other than 0 and 1".to_owned()));
    }
    if holds(rises_b.ne(1).any()) {
        let message = "its mask has a row whose tokens are none, or interrupted by padding";
        return Err(ModelError::Batch(message.to_owned()));
    }
    Ok(if holds(starts_b.eq(0).any()) {
        Padding::Left
    } else if holds(mask_bt.eq(0).any()) {
        Padding::Right
    } else {
        Padding::None
    })
}

/// Who sees whom, bool `[b, 1, t, t]`. Every token sees itself, padding too: a softmax over nothing is NaN.
fn allowed(mask_bt: &Tensor, causal: bool) -> Tensor {
    let tokens = mask_bt.size()[1];
    let options = (Kind::Bool, mask_bt.device());
    let mut allowed_b1tt = mask_bt.eq(1).unsqueeze(1).unsqueeze(1).expand([-1, 1, tokens, tokens], false);
    if causal {
        allowed_b1tt = allowed_b1tt.logical_and(&Tensor::ones([tokens, tokens], options).tril(0));
    }
    let itself_tt = Tensor::ones([tokens], options).diag(0);
    allowed_b1tt.logical_or(&itself_tt)
}

/// The number of tokens per row.
fn check_shapes(description: &Description, ids_bt: &Tensor, mask_bt: &Tensor) -> Result<i64, ModelError> {
    let (ids, mask) = (ids_bt.size(), mask_bt.size());
    let refuse = |message: String| Err(ModelError::Batch(message));
    if ids != mask || ids.len() != 2 || ids.contains(&0) {
        return refuse(format!(
            "ids have shape {ids:?} and the mask {mask:?}, but both must be [rows, tokens]"
        ));
    }
    if ids_bt.kind() != Kind::Int64 || mask_bt.kind() != Kind::Int64 {
        return refuse(format!("ids are {:?} and the mask {:?}, not Int64", ids_bt.kind(), mask_bt.kind()));
    }
    if ids[1] > description.positions as i64 {
        return refuse(format!(
            "it has {} tokens in a row, the model takes {}",
            ids[1], description.positions
        ));
    }
    Ok(ids[1])
}

fn check_ids(description: &Description, ids_bt: &Tensor) -> Result<(), ModelError> {
    let (low, high) = (ids_bt.min().int64_value(&[]), ids_bt.max().int64_value(&[]));
    if low >= 0 && high < description.vocabulary as i64 {
        return Ok(());
    }
    let id = if low < 0 { low } else { high };
    let vocabulary = description.vocabulary;
    Err(ModelError::Batch(format!(
        "token {id} is outside the vocabulary of {vocabulary}: is the tokenizer of this model?"
    )))
}
