//! Next-token cross-entropy: the pretraining of a ladder, and the generative finetuning of Burns et al. 2023
//! (section 5.2.2).
//!
//! ```text
//! L = - sum over rows and positions t > 0 of ln p(token t | tokens before t)
//! ```
//!
//! Shape suffixes: b rows of a slot, t tokens, u = t - 1 predicted tokens, v vocabulary.

use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

/// Next-token cross-entropy; one term per token but the first of a row and those of its prompt. Padding counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct LanguageModel;

impl Objective for LanguageModel {
    fn terms(&self, predicted: usize) -> usize {
        predicted
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let &[rows, tokens, _] = slot.logits.size().as_slice() else {
            return Err(Error::Objective(
                "language modelling needs a model with a language model head".into(),
            ));
        };
        if slot.ids_bt.size() != [rows, tokens] {
            let message =
                format!("tokens of shape {:?} for logits of {rows} by {tokens}", slot.ids_bt.size());
            return Err(Error::Objective(message));
        }
        let log_p_buv = slot.logits.f_narrow(1, 0, tokens - 1)?.f_log_softmax(-1, Kind::Float)?;
        let next_bu = slot.ids_bt.f_narrow(1, 1, tokens - 1)?;
        let log_p_bu = log_p_buv.f_gather(2, &next_bu.f_unsqueeze(2)?, false)?.f_squeeze_dim(2)?;
        // What stands at padding is meaningless, so it is replaced, not multiplied: it may not be a number.
        let predicted_bu = slot.predicted_bt.f_narrow(1, 1, tokens - 1)?.f_eq(1)?;
        let kept_bu = log_p_bu.f_where_self(&predicted_bu, &log_p_bu.f_zeros_like()?)?;
        Ok(kept_bu.f_sum(Kind::Float)?.f_neg()?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::close, *};

    const IDS: [[i64; 3]; 2] = [[0, 1, 2], [0, 2, 0]];

    fn loss(logits: &Tensor, predicted: &[[i64; 3]; 2]) -> Result<Tensor, Error> {
        let (ids_bt, predicted_bt) = (&Tensor::from_slice2(&IDS), &Tensor::from_slice2(predicted));
        let mask_bt = &Tensor::from_slice2(&[[1i64, 1, 1], [1, 1, 0]]);
        let (targets_bc, global) = (None, None);
        let slot =
            Slot { logits, ids_bt, mask_bt, predicted_bt, targets_bc, rows: 0..2, step: 0, steps: 1, global };
        LanguageModel.loss(&slot)
    }

    #[test]
    fn what_is_predicted_costs_its_log_probability_and_the_rest_nothing() {
        // Logits ln(1), ln(2), ln(5) give probabilities 1/8, 2/8, 5/8 at every position.
        let logits = Tensor::from_slice(&[1f32, 2.0, 5.0]).log().expand([2, 3, 3], false);
        let (two, five) = (-(2.0f64 / 8.0).ln(), -(5.0f64 / 8.0).ln());
        for (predicted, expected) in
            [([[0, 1, 1], [0, 1, 0]], two + 2.0 * five), ([[0, 0, 1], [0, 0, 0]], five), ([[0; 3]; 2], 0.0)]
        {
            close(loss(&logits, &predicted).unwrap().double_value(&[]), expected);
        }
    }

    #[test]
    fn padding_takes_no_gradient() {
        let logits = Tensor::zeros([2, 3, 3], tch::kind::FLOAT_CPU).set_requires_grad(true);
        loss(&logits, &[[0, 1, 1], [0, 1, 0]]).unwrap().backward();
        let size = logits.grad().abs().sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
        let touched = size.gt(0.0).to_kind(Kind::Int64);
        assert_eq!(Vec::<Vec<i64>>::try_from(touched).unwrap(), [[1, 1, 0], [1, 0, 0]]);
    }

    #[test]
    fn a_classifier_is_refused() {
        let logits = Tensor::zeros([2, 3], tch::kind::FLOAT_CPU);
        assert!(loss(&logits, &[[1; 3]; 2]).unwrap_err().to_string().contains("head"));
    }
}
