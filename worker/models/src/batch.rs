//! A padded batch, checked once, and what follows from its mask: positions, who sees whom, first and last tokens.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use tch::{Device, Kind, Tensor};

use crate::{
    ModelError,
    attend::{Attend, Padding, View},
    cache::Seen,
    description::Description,
};

/// What the network reads.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ids_bt: Tensor,
    /// Position of each token in its row, padding not counted; 0 at padding.
    pub(crate) positions_bt: Tensor,
    /// Who sees whom.
    pub(crate) attend: Attend,
    /// The same in layers with the model's sliding window, where that hides anything.
    windowed: Option<Attend>,
    /// Of the tokens that came before too.
    mask_bt: Tensor,
    /// What stands in place of the tokens, f32 `[b, d]`, where the network reads vectors.
    pub(crate) vectors_bd: Option<Tensor>,
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
        check_shapes(description, ids_bt, mask_bt, 0)?;
        check_ids(description, ids_bt)?;
        let padding = padding(mask_bt)?;
        Ok(Self::arrange(description, ids_bt, mask_bt, padding, device))
    }

    /// A batch that goes on from the tokens that a cache has: `ids_bt` are the new ones, `mask_bt` covers old and
    /// new, and padding is on the left.
    ///
    /// # Errors
    /// As [`Batch::new`]; if the mask is not that of the cache for the old tokens; if a row ends in padding.
    pub(crate) fn after(
        description: &Description,
        seen: Option<&Seen>,
        ids_bt: &Tensor,
        mask_bt: &Tensor,
        device: Device,
    ) -> Result<Self, ModelError> {
        let past = seen.map_or(0, |seen| seen.mask_bt.size()[1]);
        check_shapes(description, ids_bt, mask_bt, past)?;
        check_ids(description, ids_bt)?;
        let padding = padding(mask_bt)?;
        let refuse = |message: &str| Err(ModelError::Batch(message.to_owned()));
        if mask_bt.select(1, -1).min().int64_value(&[]) != 1 {
            return refuse(
                "its mask has a row that ends in padding: pad on the left, leave out rows that are done",
            );
        }
        if seen.is_some_and(|seen| mask_bt.narrow(1, 0, past).to_device(Device::Cpu) != seen.mask_bt) {
            return refuse("its mask is not that of the tokens that came before");
        }
        Ok(Self::arrange(description, ids_bt, mask_bt, padding, device))
    }

    /// What follows from ids and mask that have been checked.
    fn arrange(
        description: &Description,
        ids_bt: &Tensor,
        mask_bt: &Tensor,
        padding: Padding,
        device: Device,
    ) -> Self {
        let (ids_bt, mask_bt) = (ids_bt.to_device(device), mask_bt.to_device(device));
        let (new, all) = (ids_bt.size()[1], mask_bt.size()[1]);
        let positions_bt = match padding {
            Padding::None | Padding::Right => {
                Tensor::arange_start(all - new, all, (Kind::Int64, device)).expand_as(&ids_bt)
            }
            Padding::Left => (mask_bt.cumsum(1, Kind::Int64) - 1).clamp_min(0).narrow(1, all - new, new),
        };
        let window = description.traits.window.as_ref().map(|window| window.tokens as i64);
        let view = View { causal: description.family.causal, padding, new, mask_bt: &mask_bt };
        let (attend, windowed) = (
            view.attend(None),
            window.filter(|&window| window < all).map(|window| view.attend(Some(window))),
        );
        Self { ids_bt, positions_bt, attend, windowed, mask_bt, vectors_bd: None }
    }

    /// Who sees whom, in layers with or without the model's sliding window.
    pub(crate) fn attend(&self, windowed: bool) -> &Attend {
        self.windowed.as_ref().filter(|_| windowed).unwrap_or(&self.attend)
    }

    /// Tokens per row, padding not counted, those that came before counted; i64 `[b]`.
    pub(crate) fn lengths(&self) -> Tensor {
        self.mask_bt.sum_dim_intlist(1, false, Kind::Int64)
    }

    /// Where the first token of each row is that is not padding, i64 `[b]`.
    pub(crate) fn first(&self) -> Tensor {
        let falling_t = -self.ascending();
        self.at_largest(&(falling_t + self.mask_bt.size()[1] + 1))
    }

    /// Where the last one is.
    pub(crate) fn last(&self) -> Tensor {
        self.at_largest(&self.ascending())
    }

    /// `[b, t, d]` to `[b, d]`, the mean over the tokens that are not padding.
    pub(crate) fn mean(&self, x_btd: &Tensor) -> Tensor {
        let weight_bt1 = self.mask_bt.to_kind(x_btd.kind()).unsqueeze(2);
        let sum_bd = (x_btd * &weight_bt1).sum_dim_intlist(1, false, x_btd.kind());
        sum_bd / weight_bt1.sum_dim_intlist(1, false, x_btd.kind())
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

/// `[b, t, d]` to `[b, 1, d]` at one token of each row.
pub(crate) fn pick(x_btd: &Tensor, at_b: &Tensor) -> Tensor {
    let (rows, _, width) = x_btd.size3().expect("activations have three dimensions");
    x_btd.gather(1, &at_b.view([rows, 1, 1]).expand([rows, 1, width], false), false)
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

/// Shapes and kinds of ids, `[b, t]`, and of a mask that covers so many tokens more before them.
fn check_shapes(
    description: &Description,
    ids_bt: &Tensor,
    mask_bt: &Tensor,
    past: i64,
) -> Result<(), ModelError> {
    let (ids, mask) = (ids_bt.size(), mask_bt.size());
    let refuse = |message: String| Err(ModelError::Batch(message));
    let fit = ids.len() == 2 && mask.len() == 2 && ids[0] == mask[0] && ids[1] + past == mask[1];
    if !fit || ids.contains(&0) {
        let more = if past == 0 { String::new() } else { format!(", the mask with {past} tokens before") };
        return refuse(format!(
            "ids have shape {ids:?} and the mask {mask:?}, but both must be [rows, tokens]{more}"
        ));
    }
    if ids_bt.kind() != Kind::Int64 || mask_bt.kind() != Kind::Int64 {
        return refuse(format!("ids are {:?} and the mask {:?}, not Int64", ids_bt.kind(), mask_bt.kind()));
    }
    let longest = description.longest();
    if mask[1] as usize > longest {
        return refuse(format!("it has {} tokens in a row, the model takes {longest}", mask[1]));
    }
    Ok(())
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
