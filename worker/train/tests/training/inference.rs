//! Inference over shards.

use fulcrum_common::plan::Head;
use fulcrum_train::{Error, Examples, log_probabilities, probabilities};
use tch::Kind;

use crate::support::{Watch, examples, model};

#[test]
fn shards_give_the_bytes_of_the_whole() {
    let (classifier, examples) = (model(Head::Classifier { classes: 2 }), examples(50));
    let whole = probabilities(&classifier, &examples, 0..50, 8, &()).unwrap();
    let shards = [0..16, 16..32, 32..50];
    let cut: Vec<_> = shards
        .into_iter()
        .flat_map(|rows| probabilities(&classifier, &examples, rows, 8, &()).unwrap())
        .collect();
    assert_eq!(whole, cut);
    assert!(whole.iter().all(|row| row.len() == 2 && (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
}

#[test]
fn log_probabilities_are_those_of_each_row_alone() {
    let model = model(Head::LanguageModel);
    let tokens = vec![vec![3, 1, 4, 1, 5], vec![9], vec![2, 6]];
    let examples = Examples::new(tokens.clone(), 0).unwrap();
    let batched = log_probabilities(&model, &examples, 0..3, 3, &()).unwrap();
    for (row, result) in tokens.iter().zip(&batched) {
        let padded = Examples::new(vec![row.clone()], 0).unwrap().pad(&[0], tch::Device::Cpu);
        let logits_btv = model.forward(&padded.ids_bt, &padded.mask_bt).unwrap();
        let log_btv = logits_btv.log_softmax(-1, Kind::Float);
        let expected: f64 = (1..row.len()).map(|at| log_btv.double_value(&[0, at as i64 - 1, row[at]])).sum();
        assert_eq!(result.tokens, row.len());
        assert!((result.log_probability - expected).abs() < 1e-5, "{result:?} is not {expected}");
    }
    assert_eq!(batched[1].log_probability, 0.0, "a row of one token has nothing to predict");
}

#[test]
fn inference_reports_and_stops_between_batches() {
    let (model, examples) = (model(Head::Classifier { classes: 2 }), examples(20));
    let watch = Watch { cancel_at: Some(2), ..Watch::default() };
    let result = probabilities(&model, &examples, 0..20, 8, &watch);
    assert!(matches!(result, Err(Error::Cancelled { step: 2 })), "{result:?}");
    let seen = watch.seen.into_inner().unwrap();
    assert_eq!((seen[1].step, seen[1].steps, seen[1].examples, seen[1].loss), (2, 3, 16, None));
}

#[test]
fn what_cannot_be_inferred_is_refused() {
    let examples = examples(4);
    let (classifier, language) = (model(Head::Classifier { classes: 2 }), model(Head::LanguageModel));
    assert!(probabilities(&language, &examples, 0..4, 2, &()).is_err());
    assert!(log_probabilities(&classifier, &examples, 0..4, 2, &()).is_err());
    assert!(probabilities(&classifier, &examples, 0..5, 2, &()).is_err());
    assert!(probabilities(&classifier, &examples, 0..4, 0, &()).is_err());
    let _ = tch::no_grad(|| classifier.parameters()[0].1.shallow_clone().fill_(f64::NAN));
    let error = probabilities(&classifier, &examples, 0..4, 2, &()).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}
