//! Next-token cross-entropy: the pretraining of a ladder, and the generative finetuning of Burns et al. 2023
//! (section 5.2.2).
//!
//! ```text
//! L = - sum over rows and positions t > 0 of ln p(token t | tokens before t)
//! ```
//!
//! Shape suffixes: b rows of a slot, t tokens, d residual width, v vocabulary.

use fulcrum_train::{Error, Objective, Slot};
use tch::Tensor;

/// Next-token cross-entropy; one term per token but the first of a row and those of its prompt. Padding counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct LanguageModel;

impl Objective for LanguageModel {
    fn terms(&self, predicted: usize) -> usize {
        predicted
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        slot.speech()?.cross_entropy(slot.ids_bt, slot.predicted_bt)
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::plan::Architecture;
    use fulcrum_models::Model;
    use fulcrum_train::{Output, Speech};
    use tch::{Device, Kind};

    use super::{super::tests::close, *};

    const IDS: [[i64; 3]; 2] = [[0, 1, 2], [0, 2, 0]];

    fn model() -> Model {
        let shape = Architecture { layers: 1, hidden: 8, heads: 2, context: 4 };
        Model::new(&shape, 3, Default::default(), 3, Device::Cpu).unwrap()
    }

    fn loss(output: Output<'_>, predicted: &[[i64; 3]; 2]) -> Result<Tensor, Error> {
        let (ids_bt, predicted_bt) = (&Tensor::from_slice2(&IDS), &Tensor::from_slice2(predicted));
        let mask_bt = &Tensor::from_slice2(&[[1i64, 1, 1], [1, 1, 0]]);
        let (targets_bc, global) = (None, None);
        let slot =
            Slot { output, ids_bt, mask_bt, predicted_bt, targets_bc, rows: 0..2, step: 0, steps: 1, global };
        LanguageModel.loss(&slot)
    }

    #[test]
    fn what_is_predicted_costs_its_log_probability_and_the_rest_nothing() {
        let model = model();
        let (ids_bt, mask_bt) = (Tensor::from_slice2(&IDS), Tensor::from_slice2(&[[1i64, 1, 1], [1, 1, 0]]));
        let (states_btd, logits_btv) =
            (model.states(&ids_bt, &mask_bt).unwrap(), model.forward(&ids_bt, &mask_bt).unwrap());
        let log_p_btv = logits_btv.log_softmax(-1, Kind::Float);
        let cost =
            |row: i64, at: i64| -log_p_btv.double_value(&[row, at - 1, IDS[row as usize][at as usize]]);
        let speech = Speech { model: &model, states_btd: &states_btd, factor: 1.0 };
        let (one, two, other) = (cost(0, 1), cost(0, 2), cost(1, 1));
        for (predicted, expected) in
            [([[0, 1, 1], [0, 1, 0]], one + two + other), ([[0, 0, 1], [0, 0, 0]], two), ([[0; 3]; 2], 0.0)]
        {
            let found = loss(Output::Speech(speech), &predicted).unwrap();
            close(found.double_value(&[]), expected);
        }
    }

    #[test]
    fn padding_takes_no_gradient() {
        let model = model();
        let states_btd = Tensor::ones([2, 3, 8], tch::kind::FLOAT_CPU).set_requires_grad(true);
        let speech = Speech { model: &model, states_btd: &states_btd, factor: 1.0 };
        loss(Output::Speech(speech), &[[0, 1, 1], [0, 1, 0]]).unwrap().backward();
        let size = states_btd.grad().abs().sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
        let touched = size.gt(0.0).to_kind(Kind::Int64);
        assert_eq!(Vec::<Vec<i64>>::try_from(touched).unwrap(), [[1, 1, 0], [1, 0, 0]]);
    }

    #[test]
    fn a_classifier_is_refused() {
        let logits = Tensor::zeros([2, 3], tch::kind::FLOAT_CPU);
        assert!(loss(Output::Logits(&logits), &[[1; 3]; 2]).unwrap_err().to_string().contains("head"));
    }
}
