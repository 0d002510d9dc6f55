//! What every rule must hold to.

use super::*;
use crate::schedule::tests::settings;

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
    fn train(&mut self, optimizers: &mut [Optimizer], steps: std::ops::Range<u64>) {
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

fn decaying() -> plan::Optimizer {
    plan::Optimizer { weight_decay: 0.1, ..settings() }
}

#[test]
fn a_restored_state_goes_on_to_the_same_bytes() {
    let (mut whole, mut halted) = (Model::new(), Model::new());
    let mut optimizer = [Optimizer::new(&decaying(), &whole.pieces()).unwrap()];
    whole.train(&mut optimizer, 0..6);

    let mut first = [Optimizer::new(&decaying(), &halted.pieces()).unwrap()];
    halted.train(&mut first, 0..3);
    let mut second = [Optimizer::new(&decaying(), &halted.pieces()).unwrap()];
    second[0].restore(&first[0].state()).unwrap();
    halted.train(&mut second, 3..6);
    assert_eq!(whole.bits(), halted.bits());
    assert_eq!(second[0].state().updates, 6);
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut model = Model::new();
    let mut optimizer = [Optimizer::new(&decaying(), &model.pieces()).unwrap()];
    model.train(&mut optimizer, 0..2);
    let [mut optimizer] = optimizer;
    let spoilt = |spoil: &dyn Fn(&mut State)| {
        let mut state = optimizer.state();
        for tensor in state.tensors.values_mut() {
            *tensor = tensor.copy();
        }
        spoil(&mut state);
        state
    };
    let name = optimizer.rule.memory()[0].0;
    let wrong = [
        spoilt(&|state| drop(state.tensors.remove(name))),
        spoilt(&|state| drop(state.tensors.insert("other".into(), Tensor::from(1.0f32)))),
        spoilt(&|state| drop(state.tensors.insert(name.into(), Tensor::from(1.0f32)))),
        spoilt(&|state| drop(state.tensors.insert(name.into(), state.tensors[name].to_kind(Kind::Double)))),
    ];
    let before = spoilt(&|_| {});
    for state in wrong {
        let error = optimizer.restore(&state).unwrap_err().to_string();
        assert!(error.contains("another optimizer or another model"), "{error}");
        assert_eq!(optimizer.state().tensors, before.tensors);
    }
    assert_eq!(optimizer.state().updates, 2);
}

#[test]
fn shares_of_a_buffer_come_to_the_bytes_of_the_whole() {
    let (mut whole, mut shared) = (Model::new(), Model::new());
    whole.train(&mut [Optimizer::new(&decaying(), &whole.pieces()).unwrap()], 0..4);
    // The matrix is cut in the middle; the second share holds the rest of it and the vector.
    let (cut, end) = (16, LENGTH - VECTOR);
    let first = vec![shared.piece(0, cut, true)];
    let second = vec![shared.piece(cut, end - cut, true), shared.piece(end, VECTOR, false)];
    let mut optimizers = [first, second].map(|pieces| Optimizer::new(&decaying(), &pieces).unwrap());
    shared.train(&mut optimizers, 0..4);
    assert_eq!(whole.bits(), shared.bits());
}

#[test]
fn weight_decay_is_decoupled_and_spares_what_does_not_decay() {
    let model = Model::new();
    let before = model.parameters.copy();
    // Without gradient, all that happens is decay.
    Optimizer::new(&decaying(), &model.pieces()).unwrap().update(0.5).unwrap();
    let factor = Tensor::ones([LENGTH], (Kind::Float, Device::Cpu));
    let _ = factor.narrow(0, 0, LENGTH - VECTOR).fill_(1.0 - 0.5 * 0.1);
    assert!(model.parameters.allclose(&(before * factor), 1e-6, 1e-7, false));
}

#[test]
fn nothing_to_update_is_no_error() {
    Optimizer::new(&decaying(), &[]).unwrap().update(0.1).unwrap();
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for weight_decay in [-0.1, f64::NAN] {
        let wrong = plan::Optimizer { weight_decay, ..settings() };
        let error = Optimizer::new(&wrong, &[]).unwrap_err().to_string();
        assert!(error.starts_with("weight_decay is"), "{error}");
    }
}
