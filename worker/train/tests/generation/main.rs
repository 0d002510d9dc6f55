//! Generation: against transformers and against reading everything anew, and the same text in whatever company.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod company;
mod parity;

use fulcrum_common::{
    plan::{Architecture, Sampling},
    rng::Rng,
};
use fulcrum_models::{Model, SpecialTokens};
use fulcrum_train::{Completion, Error, Listener, Prompt, generate};
use tch::Device;

/// Wants to hear everything.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Patient;

impl Listener for Patient {
    fn hear(&mut self, _: i64) -> Result<bool, Error> {
        Ok(false)
    }
}

const VOCABULARY: usize = 61;

/// A small decoder with random weights, whose logits are spread enough to make some tokens likelier.
fn model() -> Model {
    let architecture = Architecture { layers: 2, hidden: 32, heads: 4, context: 64 };
    let model = Model::new(&architecture, VOCABULARY, SpecialTokens::default(), 5, Device::Cpu).unwrap();
    let embedding = model.parameters()[0].1.shallow_clone();
    tch::no_grad(|| embedding.detach().copy_(&(&embedding.detach() * 20.0)));
    model
}

/// Prompts of many lengths.
fn prompts(count: usize) -> Vec<Vec<i64>> {
    let prompt = |row: usize| {
        let mut rng = Rng::new(1, "prompt", row as u64);
        (0..1 + rng.index(44)).map(|_| rng.index(VOCABULARY) as i64).collect()
    };
    (0..count).map(prompt).collect()
}

fn sampling(temperature: f64) -> Sampling {
    Sampling {
        max_new_tokens: 16,
        temperature,
        top_k: None,
        top_p: 1.0,
        stop: Vec::new(),
        samples: 1,
        seed: 9,
        slots: Sampling::SLOTS,
        chat: None,
    }
}

/// The completions of those rows, in that order.
fn complete(
    model: &Model,
    prompts: &[Vec<i64>],
    rows: &[usize],
    sampling: &Sampling,
) -> Vec<Completion<Patient>> {
    let prompts: Vec<_> = rows.iter().map(|&row| Prompt { row: row as i64, tokens: &prompts[row] }).collect();
    generate(model, &prompts, sampling, &[0], || Patient, &()).unwrap()
}
