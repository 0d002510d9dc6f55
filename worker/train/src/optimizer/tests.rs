//! What every rule must hold to.

use std::ops::Range;

use fulcrum_common::plan::Rule;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::schedule::tests::settings;

/// Every rule, and what it remembers.
fn rules() -> [(Rule, &'static [&'static str]); 4] {
    [
        (Rule::default(), &["means", "squares"]),
        (Rule::Sgd { momentum: 0.0, nesterov: false }, &[]),
        (Rule::Sgd { momentum: 0.9, nesterov: true }, &["momentum"]),
        (Rule::Adafactor, &["columns", "rows", "squares"]),
    ]
}

fn decaying(rule: Rule) -> plan::Optimizer {
    plan::Optimizer { rule, weight_decay: 0.1, ..settings() }
}

/// A matrix that decays and a vector that does not, in flat buffers.
struct Model {
    parameters: Tensor,
    gradients: Tensor,
}

const MATRIX: [i64; 2] = [6, 8];
const VECTOR: i64 = 16;
const LENGTH: i64 = MATRIX[0] * MATRIX[1] + VECTOR;

impl Model {
    fn new() -> Self {
        let start: Vec<f32> = (0..LENGTH).map(|i| (i as f32 * 0.7).sin()).collect();
        let gradients = Tensor::zeros([LENGTH], (Kind::Float, Device::Cpu));
        Self { parameters: Tensor::from_slice(&start), gradients }
    }

    fn piece(&self, start: i64, length: i64, decays: bool) -> Piece {
        let cut = |flat: &Tensor| flat.narrow(0, start, length);
        Piece { parameter: cut(&self.parameters), gradient: cut(&self.gradients), decays }
    }

    fn pieces(&self) -> Vec<Piece> {
        let matrix = self.piece(0, LENGTH - VECTOR, true);
        let (parameter, gradient) = (matrix.parameter.view(MATRIX), matrix.gradient.view(MATRIX));
        vec![Piece { parameter, gradient, ..matrix }, self.piece(LENGTH - VECTOR, VECTOR, false)]
    }

    /// Steps with gradients that only their number decides.
    fn train(&mut self, optimizers: &mut [Optimizer], steps: Range<u64>) {
        for step in steps {
            let gradient: Vec<f32> = (0..LENGTH).map(|i| (i as f32 + step as f32 * 1.3).cos()).collect();
            self.gradients.copy_(&Tensor::from_slice(&gradient));
            for optimizer in &mut *optimizers {
                optimizer.update(0.1 / (step + 1) as f64).unwrap();
            }
        }
    }

    fn bits(&self) -> Vec<u32> {
        Vec::<f32>::try_from(&self.parameters).unwrap().into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn a_restored_state_goes_on_to_the_same_bytes() {
    for (rule, remembered) in rules() {
        let (mut whole, mut halted) = (Model::new(), Model::new());
        let new = |model: &Model| [Optimizer::new(&decaying(rule), &model.pieces()).unwrap()];
        let mut optimizer = new(&whole);
        whole.train(&mut optimizer, 0..6);

        let mut first = new(&halted);
        halted.train(&mut first, 0..3);
        let mut second = new(&halted);
        second[0].restore(&first[0].state().unwrap()).unwrap();
        halted.train(&mut second, 3..6);
        assert_eq!(whole.bits(), halted.bits(), "{rule:?}");
        let state = second[0].state().unwrap();
        assert_eq!(state, optimizer[0].state().unwrap());
        assert_eq!(state.updates, 6);
        assert_eq!(state.tensors.keys().collect::<Vec<_>>(), remembered);
        if rule.is_elementwise() {
            assert!(state.tensors.values().all(|flat| flat.size() == [LENGTH]), "{rule:?}");
        }
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    for (rule, remembered) in rules() {
        let mut model = Model::new();
        let mut optimizer = [Optimizer::new(&decaying(rule), &model.pieces()).unwrap()];
        model.train(&mut optimizer, 0..2);
        let [mut optimizer] = optimizer;
        let before = optimizer.state().unwrap();
        let with = |name: &str, tensor: Tensor| {
            let mut state = optimizer.state().unwrap();
            state.updates = 7;
            state.tensors.insert(name.to_owned(), tensor);
            state
        };
        let mut wrong = vec![with("other", Tensor::from(1.0f32))];
        for name in remembered {
            let good = &before.tensors[*name];
            wrong.extend(
                [good.to_kind(Kind::Double), good.narrow(0, 1, good.size()[0] - 1)]
                    .map(|bad| with(name, bad)),
            );
            wrong.push(with("other", Tensor::from(1.0f32)));
            wrong.last_mut().unwrap().tensors.remove(*name);
        }
        for state in wrong {
            let error = optimizer.restore(&state).unwrap_err().to_string();
            assert!(error.ends_with("it was left by another optimizer or another model"), "{error}");
            assert_eq!(optimizer.state().unwrap(), before);
        }
    }
}

#[test]
fn shares_of_a_buffer_come_to_the_bytes_of_the_whole() {
    for (rule, _) in rules().into_iter().filter(|(rule, _)| rule.is_elementwise()) {
        let (mut whole, mut shared) = (Model::new(), Model::new());
        let new = |pieces: &[Piece]| Optimizer::new(&decaying(rule), pieces).unwrap();
        whole.train(&mut [new(&whole.pieces())], 0..4);
        // The matrix is cut in the middle; the second share holds the rest of it and the vector.
        let (cut, end) = (16, LENGTH - VECTOR);
        let first = [shared.piece(0, cut, true)];
        let second = [shared.piece(cut, end - cut, true), shared.piece(end, VECTOR, false)];
        shared.train(&mut [new(&first), new(&second)], 0..4);
        assert_eq!(whole.bits(), shared.bits(), "{rule:?}");
    }
}

#[test]
fn weight_decay_is_decoupled_and_spares_what_does_not_decay() {
    for (rule, _) in rules() {
        let model = Model::new();
        let before = model.parameters.copy();
        // Without gradient, all that happens is decay.
        Optimizer::new(&decaying(rule), &model.pieces()).unwrap().update(0.5).unwrap();
        let factor = Tensor::ones([LENGTH], (Kind::Float, Device::Cpu));
        let _ = factor.narrow(0, 0, LENGTH - VECTOR).fill_(1.0 - 0.5 * 0.1);
        assert!(model.parameters.allclose(&(before * factor), 1e-6, 1e-7, false), "{rule:?}");
    }
}

#[test]
fn nothing_to_update_is_no_error() {
    for (rule, _) in rules() {
        let mut optimizer = Optimizer::new(&decaying(rule), &[]).unwrap();
        optimizer.update(0.1).unwrap();
        let state = optimizer.state().unwrap();
        optimizer.restore(&state).unwrap();
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let adamw = |beta1, beta2, epsilon| decaying(Rule::AdamW { beta1, beta2, epsilon });
    let cases = [
        ("weight_decay", plan::Optimizer { weight_decay: -0.1, ..settings() }),
        ("weight_decay", plan::Optimizer { weight_decay: f64::NAN, ..settings() }),
        ("beta1", adamw(1.0, 0.9, 1e-8)),
        ("beta2", adamw(0.9, -0.1, 1e-8)),
        ("epsilon", adamw(0.9, 0.9, 0.0)),
        ("momentum", decaying(Rule::Sgd { momentum: 1.0, nesterov: false })),
    ];
    for (name, wrong) in cases {
        let error = Optimizer::new(&wrong, &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} is")), "{error}");
    }
}
