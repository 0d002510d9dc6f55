//! Decoding with a cache against transformers, and against reading everything anew for each token.

use std::{collections::BTreeMap, fs, path::Path};

use fulcrum_common::plan::Sampling;
use fulcrum_models::{Model, ModelFiles};
use fulcrum_train::{Error, Finish, Listener, Monitor, Progress, Prompt, generate};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::{Patient, complete, model, prompts, sampling};

/// As `fixtures/generation/make.py` writes it.
#[derive(Deserialize)]
struct Greedy {
    prompts: Vec<Vec<i64>>,
    end: i64,
    completions: Vec<Vec<i64>>,
}

#[test]
fn greedy_completions_are_those_of_transformers() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(here.join("tests/fixtures/generation/greedy.json")).unwrap();
    let families: BTreeMap<String, Greedy> = serde_json::from_str(&text).unwrap();
    assert!(families.len() >= 10);
    for (name, greedy) in families {
        let folder = here.join("../models/tests/fixtures").join(&name);
        let model = Model::load(&ModelFiles::in_folder(&folder), Device::Cpu).unwrap();
        let rows: Vec<_> =
            greedy.prompts.iter().zip(0..).map(|(tokens, row)| Prompt { row, tokens }).collect();
        let sampling = Sampling { max_new_tokens: 12, ..sampling(0.0) };
        let found = generate(&model, &rows, &sampling, &[greedy.end], || Patient, &()).unwrap();
        for (found, expected) in found.iter().zip(&greedy.completions) {
            assert_eq!(&found.tokens, expected, "{name}");
            let ended = expected.last() == Some(&greedy.end);
            assert_eq!(found.finish, if ended { Finish::Stop } else { Finish::Length }, "{name}");
        }
    }
}

/// The model's own log-probabilities of the tokens that follow a prompt, read at once, f64 `[new, v]`.
fn read_anew(model: &Model, prompt: &[i64], completion: &[i64]) -> Tensor {
    let ids: Vec<i64> = prompt.iter().chain(&completion[..completion.len() - 1]).copied().collect();
    let ids_bt = Tensor::from_slice(&ids).view([1, -1]);
    let logits_btv = tch::no_grad(|| model.forward(&ids_bt, &ids_bt.ones_like()).unwrap());
    logits_btv
        .squeeze_dim(0)
        .narrow(0, prompt.len() as i64 - 1, completion.len() as i64)
        .to_kind(Kind::Double)
}

#[test]
fn log_probabilities_are_those_of_the_distribution_that_was_drawn_from() {
    let (model, prompts) = (model(), prompts(40));
    let rows: Vec<usize> = (0..40).collect();
    for (temperature, top_k, top_p) in
        [(0.0, None, 1.0), (1.0, None, 1.0), (0.7, Some(8), 1.0), (1.3, Some(20), 0.8), (1.0, None, 0.5)]
    {
        let sampling = Sampling { top_k, top_p, ..sampling(temperature) };
        for (found, prompt) in complete(&model, &prompts, &rows, &sampling).iter().zip(&prompts) {
            let logits_nv = read_anew(&model, prompt, &found.tokens);
            let sum: f64 = found
                .tokens
                .iter()
                .enumerate()
                .map(|(at, &token)| {
                    let logits_v = logits_nv.get(at as i64);
                    if temperature == 0.0 {
                        assert_eq!(logits_v.argmax(-1, false).int64_value(&[]), token);
                    }
                    distribution(&logits_v, &sampling).double_value(&[token]).ln()
                })
                .sum();
            assert!(
                (found.log_probability - sum).abs() < 1e-3,
                "{} {sum} {sampling:?}",
                found.log_probability
            );
        }
    }
}

/// Temperature, top-k, top-p by their definitions, on one row of logits `[v]`.
fn distribution(logits_v: &Tensor, sampling: &Sampling) -> Tensor {
    let temperature = if sampling.temperature == 0.0 { 1.0 } else { sampling.temperature };
    let mut p_v = (logits_v / temperature).softmax(-1, Kind::Double);
    if let Some(k) = sampling.top_k {
        let (_, ids) = p_v.topk(k as i64, -1, true, true);
        let kept_v = p_v.zeros_like().index_fill(0, &ids, 1.0);
        p_v = &p_v * kept_v;
        p_v = &p_v / p_v.sum(Kind::Double);
    }
    let (sorted_v, ids) = p_v.sort(-1, true);
    let before_v = sorted_v.cumsum(-1, Kind::Double) - &sorted_v;
    let kept_v = sorted_v * before_v.lt(sampling.top_p).to_kind(Kind::Double);
    let p_v = p_v.zeros_like().index_copy(0, &ids, &kept_v);
    &p_v / p_v.sum(Kind::Double)
}

/// Has heard enough after so many tokens.
struct Until(usize);

impl Listener for Until {
    fn hear(&mut self, _: i64) -> Result<bool, Error> {
        self.0 -= 1;
        Ok(self.0 == 0)
    }
}

#[test]
fn a_completion_ends_when_its_listener_has_heard_enough() {
    let (model, prompts) = (model(), prompts(3));
    let rows: Vec<_> = prompts.iter().zip(0..).map(|(tokens, row)| Prompt { row, tokens }).collect();
    for most in [1, 5, 16, 20] {
        let found = generate(&model, &rows, &sampling(1.0), &[], || Until(most), &()).unwrap();
        let expected = (most.min(16), if most <= 16 { Finish::Stop } else { Finish::Length });
        assert!(found.iter().all(|one| (one.tokens.len(), one.finish) == expected));
    }
}

#[test]
fn what_cannot_be_completed_is_refused_by_row_and_number() {
    struct Stopped;
    impl Monitor for Stopped {
        fn progress(&self, _: Progress) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let model = model();
    let refused = |tokens: &[i64], new: usize, monitor: &dyn Monitor| {
        let sampling = Sampling { max_new_tokens: new, ..sampling(1.0) };
        let prompts = [Prompt { row: 8, tokens }];
        generate(&model, &prompts, &sampling, &[], || Patient, monitor).unwrap_err().to_string()
    };
    let cases: [(&[i64], usize, &str); 5] = [
        (&[], 4, "the prompt of row 8 has 0 tokens: it may have 1 to 60"),
        (&[1; 61], 4, "the prompt of row 8 has 61 tokens: it may have 1 to 60"),
        (&[1], 64, "64 new tokens leave no room for a prompt: the model reads 64"),
        (&[1], 0, "max_new_tokens = 0"),
        (&[1, 61], 4, "token 61 is outside the vocabulary"),
    ];
    for (tokens, new, expected) in cases {
        let message = refused(tokens, new, &());
        assert!(message.contains(expected), "{message}");
    }
    assert!(refused(&[1], 4, &Stopped).starts_with("cancelled"));
}
