//! Inference over rows of different lengths.

use fulcrum_common::plan::Head;
use fulcrum_models::Model;
use fulcrum_train::{Error, Examples, log_probabilities, probabilities};
use tch::Kind;

use crate::support::{Watch, examples, model};

#[test]
fn rows_in_batches_of_their_length_give_what_each_gives_alone() {
    let (classifier, examples) = (model(Head::Classifier { classes: 2 }), examples(50));
    let alone = probabilities(&classifier, &examples, 1, &()).unwrap();
    for budget in [7, 24, 64, 10_000] {
        let batched = probabilities(&classifier, &examples, budget, &()).unwrap();
        assert_eq!(batched, probabilities(&classifier, &examples, budget, &()).unwrap(), "the same bytes");
        for (row, (one, other)) in alone.iter().zip(&batched).enumerate() {
            let difference = one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 1e-6, "row {row}, {budget} tokens: {one:?} and {other:?}");
        }
    }
    assert!(alone.iter().all(|row| row.len() == 2 && (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
}

/// The log-probability of a row's tokens from place `first` on, one at a time.
fn by_hand(model: &Model, row: &[i64], first: usize) -> f64 {
    let padded = Examples::new(vec![row.to_vec()], 0).unwrap().pad(&[0], tch::Device::Cpu).unwrap();
    let logits_btv = model.forward(&padded.ids_bt, &padded.mask_bt).unwrap();
    let log_btv = logits_btv.log_softmax(-1, Kind::Float);
    (first..row.len()).map(|at| log_btv.double_value(&[0, at as i64 - 1, row[at]])).sum()
}

#[test]
fn log_probabilities_are_those_of_each_row_alone() {
    let model = model(Head::LanguageModel);
    let tokens = vec![vec![3, 1, 4, 1, 5], vec![9], vec![2, 6], vec![7, 7, 7]];
    let examples = || Examples::new(tokens.clone(), 0).unwrap();
    let prompts = [1, 1, 0, 3];
    for budget in [1, 6, 100] {
        let batched = log_probabilities(&model, &examples(), budget, &()).unwrap();
        let prompted = examples().with_prompts(prompts.into()).unwrap();
        let completions = log_probabilities(&model, &prompted, budget, &()).unwrap();
        for (at, row) in tokens.iter().enumerate() {
            let prompt = prompts[at] as usize;
            assert_eq!((batched[at].tokens, completions[at].tokens), (row.len(), row.len() - prompt));
            for (found, first) in [(batched[at], 1), (completions[at], prompt.max(1))] {
                let expected = by_hand(&model, row, first);
                assert!((found.log_probability - expected).abs() < 1e-5, "{found:?} is not {expected}");
            }
        }
        let none = [batched[1], completions[1], completions[3]].map(|row| row.log_probability);
        assert_eq!(none, [0.0; 3], "nothing is left to predict");
    }
}

#[test]
fn inference_reports_and_stops_between_batches() {
    let (model, examples) = (model(Head::Classifier { classes: 2 }), examples(20));
    let watch = Watch { cancel_at: Some(2), ..Watch::default() };
    let result = probabilities(&model, &examples, 40, &watch);
    assert!(matches!(result, Err(Error::Cancelled { step: 2 })), "{result:?}");
    let seen = watch.seen.into_inner().unwrap();
    assert_eq!((seen.len(), seen[1].step, seen[1].loss), (2, 2, None));
    assert!(seen[1].steps > 2 && seen[0].examples < seen[1].examples && seen[1].examples < 20);
}

#[test]
fn what_cannot_be_inferred_is_refused() {
    let examples = examples(4);
    let (classifier, language) = (model(Head::Classifier { classes: 2 }), model(Head::LanguageModel));
    assert!(probabilities(&language, &examples, 20, &()).is_err());
    assert!(log_probabilities(&classifier, &examples, 20, &()).is_err());
    assert!(probabilities(&classifier, &examples, 0, &()).is_err());
    let _ = tch::no_grad(|| classifier.parameters()[0].1.shallow_clone().fill_(f64::NAN));
    let error = probabilities(&classifier, &examples, 20, &()).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}
