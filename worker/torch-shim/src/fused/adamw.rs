//! Fused AdamW (Loshchilov & Hutter 2019, algorithm 2) over flat tensors.

use tch::Tensor;

use super::fitting;
use crate::{Error, sys};

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay rate of the gradient's running mean.
    pub beta1: f64,
    /// Decay rate of the running mean of its square.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

/// What AdamW remembers: one number per parameter each, in tensors parallel to the parameters.
#[derive(Debug)]
pub struct Moments {
    /// Running means of the gradients.
    pub means: Vec<Tensor>,
    /// Running means of their squares.
    pub squares: Vec<Tensor>,
}

/// One update of `parameters` in place. `step` counts updates from 1, for the bias correction.
///
/// # Errors
/// If the tensors are not contiguous ones of f32, of the same number and lengths, on one device.
pub fn fused_adamw(
    parameters: &[Tensor],
    gradients: &[Tensor],
    moments: &Moments,
    step: u64,
    learning_rate: f64,
    constants: &AdamW,
) -> Result<(), Error> {
    let lists = [parameters, gradients, &moments.means, &moments.squares];
    let Some(device) = fitting(&lists)? else { return Ok(()) };
    let count = parameters.len();
    let [parameters, gradients, means, squares] = lists.map(sys::pointers);
    let step = Tensor::from(step as f32).to_device(device);
    // The update is no part of any graph.
    tch::no_grad(|| {
        // SAFETY: all lists have `count` pointers to live tensors, checked to be alike in length and type.
        sys::check(unsafe {
            sys::fulcrum_fused_adamw(
                parameters.as_ptr(),
                gradients.as_ptr(),
                means.as_ptr(),
                squares.as_ptr(),
                count,
                step.as_ptr(),
                learning_rate,
                constants.beta1,
                constants.beta2,
                constants.weight_decay,
                constants.epsilon,
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const CONSTANTS: AdamW = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

    fn moments(like: &[Tensor]) -> Moments {
        let zeros = || like.iter().map(Tensor::zeros_like).collect();
        Moments { means: zeros(), squares: zeros() }
    }

    /// The formula, in f64.
    fn formula(
        parameter: &mut [f64],
        gradient: impl Fn(u64, usize) -> f64,
        steps: u64,
        rate: f64,
        c: &AdamW,
    ) {
        for (i, p) in parameter.iter_mut().enumerate() {
            let (mut mean, mut square) = (0.0, 0.0);
            for step in 1..=steps {
                let g = gradient(step, i);
                *p *= 1.0 - rate * c.weight_decay;
                mean = c.beta1 * mean + (1.0 - c.beta1) * g;
                square = c.beta2 * square + (1.0 - c.beta2) * g * g;
                let corrected = (square / (1.0 - c.beta2.powi(step as i32))).sqrt() + c.epsilon;
                *p -= rate * (mean / (1.0 - c.beta1.powi(step as i32))) / corrected;
            }
        }
    }

    #[test]
    fn ten_updates_follow_the_formula() {
        let gradient = |step: u64, i: usize| ((step as f64) * 0.7 + i as f64).sin() * 0.3;
        for length in [1usize, 7, 33] {
            let start: Vec<f64> = (0..length).map(|i| 1.0 - 0.1 * i as f64).collect();
            let parameter = Tensor::from_slice(&start).to_kind(Kind::Float);
            let parameters = [parameter.narrow(0, 0, length as i64)];
            let moments = moments(&parameters);
            for step in 1..=10 {
                let values: Vec<f64> = (0..length).map(|i| gradient(step, i)).collect();
                let gradients = [Tensor::from_slice(&values).to_kind(Kind::Float)];
                fused_adamw(&parameters, &gradients, &moments, step, 0.01, &CONSTANTS).unwrap();
            }
            let mut expected = start;
            formula(&mut expected, gradient, 10, 0.01, &CONSTANTS);
            for (is, should) in Vec::<f32>::try_from(parameter).unwrap().into_iter().zip(expected) {
                assert!((f64::from(is) - should).abs() < 1e-6, "{is} is not {should}");
            }
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused() {
        let good = [Tensor::zeros([4], (Kind::Float, Device::Cpu))];
        let wrong = [
            vec![],
            vec![Tensor::zeros([3], (Kind::Float, Device::Cpu))],
            vec![Tensor::zeros([4], (Kind::Double, Device::Cpu))],
            vec![Tensor::zeros([4, 2], (Kind::Float, Device::Cpu)).select(1, 0)],
        ];
        for gradients in wrong {
            assert!(fused_adamw(&good, &gradients, &moments(&good), 1, 0.1, &CONSTANTS).is_err());
        }
        assert!(fused_adamw(&[], &[], &moments(&[]), 1, 0.1, &CONSTANTS).is_ok());
    }
}
