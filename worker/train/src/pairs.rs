//! Preferences (Burns et al. 2023, section 3): a reward model M runs over both texts of a row, and prefers the second with the
//! probability sigma(M(second) - M(first)). As logits of two classes, (0, M(second) - M(first)), every objective of a
//! classifier takes it.
//!
//! Shape suffixes: b rows, c classes.

use fulcrum_common::plan::Head;
use tch::Tensor;

use crate::{Error, Examples};

/// Classes of a model's logits; none of a language model or a bare network.
pub(crate) fn classes(head: Option<Head>) -> Option<usize> {
    match head? {
        Head::Classifier { classes } => Some(classes),
        Head::Reward => Some(2),
        Head::LanguageModel => None,
    }
}

/// Logits of classes `[b, c]`, from a model's output.
///
/// # Errors
/// If libtorch fails.
pub(crate) fn logits(head: Option<Head>, output: &Tensor) -> Result<Tensor, Error> {
    if head != Some(Head::Reward) {
        return Ok(output.shallow_clone());
    }
    let rewards_b2 = output.f_view([-1, 2])?;
    let margin_b1 = rewards_b2.f_narrow(1, 1, 1)?.f_sub(&rewards_b2.f_narrow(1, 0, 1)?)?;
    Ok(Tensor::f_cat(&[margin_b1.f_zeros_like()?, margin_b1], 1)?)
}

/// A language model learns to write both texts of a pair, whichever is preferred (Burns et al. 2023, section 5.2.2).
///
/// # Errors
/// If a reward model is to read single texts, or a classifier pairs.
pub(crate) fn check(head: Option<Head>, examples: &Examples) -> Result<(), Error> {
    match (head, examples.paired()) {
        (Some(Head::Reward), false) => {
            Err(Error::Examples("a reward model compares pairs, and the rows are single texts".into()))
        }
        (Some(Head::Reward | Head::LanguageModel), true) | (_, false) => Ok(()),
        (_, true) => Err(Error::Examples("only a reward model compares the pairs that the rows are".into())),
    }
}
