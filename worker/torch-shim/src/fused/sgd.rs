//! Fused stochastic gradient descent with momentum (Sutskever et al. 2013, section 2).

use tch::Tensor;

use super::fitting;
use crate::{Error, sys};

/// The constants of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Share of the last direction that is kept; at 0 nothing is remembered.
    pub momentum: f64,
    /// Whether the gradient counts as if the momentum had been followed already.
    pub nesterov: bool,
}

/// One update of `parameters` in place. `directions` are what was followed last, zeros at first; none without
/// momentum.
///
/// # Errors
/// If the tensors are not contiguous ones of f32, of the same number and lengths, on one device, or there are
/// directions without momentum.
pub fn fused_sgd(
    parameters: &[Tensor],
    gradients: &[Tensor],
    directions: &[Tensor],
    learning_rate: f64,
    constants: &Sgd,
) -> Result<(), Error> {
    let Sgd { momentum, nesterov } = *constants;
    let remembers = momentum != 0.0;
    let fit = if remembers {
        fitting(&[parameters, gradients, directions])?
    } else if directions.is_empty() {
        fitting(&[parameters, gradients])?
    } else {
        return Err(Error::new("without momentum there are no directions"));
    };
    if fit.is_none() {
        return Ok(());
    }
    let count = parameters.len();
    let [parameters, gradients, directions] = [parameters, gradients, directions].map(sys::pointers);
    // The update is no part of any graph.
    tch::no_grad(|| {
        // SAFETY: the first two lists have `count` pointers to live tensors, and so has the third where there is
        // momentum; all were checked to be alike in length and type.
        sys::check(unsafe {
            sys::fulcrum_fused_sgd(
                parameters.as_ptr(),
                gradients.as_ptr(),
                directions.as_ptr(),
                count,
                learning_rate,
                momentum,
                nesterov,
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn ten_updates_follow_the_formula() {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let start: Vec<f64> = (0..33).map(|i| 1.0 - 0.1 * f64::from(i)).collect();
            let parameters = [Tensor::from_slice(&start).to_kind(Kind::Float)];
            let direction = Tensor::zeros_like(&parameters[0]);
            let directions = if momentum > 0.0 { vec![direction] } else { Vec::new() };
            let gradient = |step: u64, i: usize| ((step as f64) * 0.7 + i as f64).sin() * 0.3;
            for step in 1..=10 {
                let values: Vec<f64> = (0..33).map(|i| gradient(step, i)).collect();
                let gradients = [Tensor::from_slice(&values).to_kind(Kind::Float)];
                fused_sgd(&parameters, &gradients, &directions, 0.1, &Sgd { momentum, nesterov }).unwrap();
            }
            let found = Vec::<f32>::try_from(&parameters[0]).unwrap();
            for (i, (found, mut expected)) in found.into_iter().zip(start).enumerate() {
                let mut direction = 0.0;
                for step in 1..=10 {
                    direction = momentum * direction + gradient(step, i);
                    let ahead = gradient(step, i) + momentum * direction;
                    expected -= 0.1 * if nesterov { ahead } else { direction };
                }
                assert!((f64::from(found) - expected).abs() < 1e-6, "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused() {
        let zeros = |length: i64| vec![Tensor::zeros([length], (Kind::Float, Device::Cpu))];
        let (plain, moving) = (Sgd { momentum: 0.0, nesterov: false }, Sgd { momentum: 0.5, nesterov: true });
        let wrong = [
            (zeros(3), zeros(4), &moving),
            (zeros(4), zeros(3), &moving),
            (zeros(4), Vec::new(), &moving),
            (zeros(4), zeros(4), &plain),
            (zeros(3), Vec::new(), &plain),
        ];
        for (gradients, directions, constants) in wrong {
            assert!(fused_sgd(&zeros(4), &gradients, &directions, 0.1, constants).is_err());
        }
        assert!(fused_sgd(&[], &[], &[], 0.1, &moving).is_ok());
    }
}
