//! Equality with torch.optim, to 1e-6 after ten updates.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::*;
use crate::schedule::tests::settings;

/// What `tests/fixtures/optimizers/make.py` leaves.
#[derive(Deserialize)]
struct Fixture {
    start: Named,
    gradients: Vec<Named>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    settings: Settings,
    rates: Vec<f64>,
    /// Parameters by the number of updates.
    after: BTreeMap<usize, Named>,
}

#[derive(Deserialize)]
struct Settings {
    rule: plan::Rule,
    weight_decay: f64,
    clip: Option<f64>,
}

/// Tensors by name, as nested lists.
type Named = BTreeMap<String, Value>;

fn tensor(lists: &Value) -> Tensor {
    let (mut shape, mut level) = (Vec::new(), lists);
    while let Some(list) = level.as_array() {
        shape.push(list.len() as i64);
        level = &list[0];
    }
    let mut numbers = Vec::new();
    collect(lists, &mut numbers);
    Tensor::from_slice(&numbers).to_kind(Kind::Float).view(shape.as_slice())
}

fn collect(lists: &Value, numbers: &mut Vec<f64>) {
    match lists.as_array() {
        Some(list) => list.iter().for_each(|inner| collect(inner, numbers)),
        None => numbers.push(lists.as_f64().unwrap()),
    }
}

#[test]
fn updates_are_those_of_torch() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../tests/fixtures/optimizers/updates.json")).unwrap();
    for (name, Case { settings: Settings { rule, weight_decay, clip }, rates, after }) in fixture.cases {
        let parameters: BTreeMap<_, _> =
            fixture.start.iter().map(|(name, lists)| (name, tensor(lists))).collect();
        let length: usize = parameters.values().map(Tensor::numel).sum();
        // The norm is that of one flat buffer.
        let flat = Tensor::zeros([length as i64], (Kind::Float, tch::Device::Cpu));
        let mut at = 0;
        let piece = |parameter: &Tensor| {
            let length = parameter.numel() as i64;
            let gradient = flat.narrow(0, at, length).view_as(parameter);
            at += length;
            Piece { parameter: parameter.shallow_clone(), gradient, decays: parameter.dim() > 1 }
        };
        let mut pieces: Vec<_> = parameters.values().map(piece).collect();
        let settings = plan::Optimizer { rule, weight_decay, clip, ..settings() };
        let (clip, mut optimizer) = (Clip::new(clip).unwrap(), Optimizer::new(&settings, &pieces).unwrap());
        for (number, (gradients, rate)) in fixture.gradients.iter().zip(rates).enumerate() {
            for (piece, lists) in pieces.iter_mut().zip(gradients.values()) {
                piece.gradient.copy_(&tensor(lists));
            }
            clip.apply(&flat, norm(&flat).unwrap()).unwrap();
            optimizer.update(rate).unwrap();
            for (parameter, lists) in after.get(&(number + 1)).into_iter().flatten() {
                let difference = (&parameters[parameter] - tensor(lists)).abs().max().double_value(&[]);
                assert!(difference < 1e-6, "{name}, update {number}: {parameter} is off by {difference}");
            }
        }
    }
}
