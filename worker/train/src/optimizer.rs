//! Clipping and AdamW over flat buffers.

use fulcrum_common::plan;
use fulcrum_torch_shim::{AdamW, Moments, fused_adamw};
use tch::{Device, Kind, Tensor};

use crate::{Error, layout::Layout, schedule::setting};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// AdamW with decay for matrices and none for vectors.
#[derive(Debug)]
pub(crate) struct Optimizer {
    clip: Option<f64>,
    groups: [Group; 2],
    updates: u64,
}

/// The stretches of the buffers that share their constants.
#[derive(Debug)]
struct Group {
    constants: AdamW,
    parameters: Vec<Tensor>,
    gradients: Vec<Tensor>,
    moments: Moments,
}

impl Optimizer {
    /// Moves `parameters` into one flat buffer, laid out as `gradient` is, and starts with empty moments.
    pub(crate) fn new(
        settings: &plan::Optimizer,
        layout: &Layout,
        parameters: &[Tensor],
        gradient: &Tensor,
        device: Device,
    ) -> Result<Self, Error> {
        let plan::Optimizer { weight_decay, clip, .. } = *settings;
        setting("weight_decay", weight_decay, weight_decay >= 0.0, "0 or above")?;
        if let Some(clip) = clip {
            setting("clip", clip, clip > 0.0, "above 0")?;
        }
        let buffer = || Tensor::f_zeros([layout.length as i64], (Kind::Float, device));
        let (flat, means, squares) = (buffer()?, buffer()?, buffer()?);
        tch::no_grad(|| {
            for (parameter, place) in parameters.iter().zip(&layout.places) {
                let mut view =
                    flat.narrow(0, place.start as i64, place.length as i64).f_view_as(parameter)?;
                view.f_copy_(parameter)?;
                parameter.shallow_clone().set_data(&view);
            }
            Ok::<_, Error>(())
        })?;
        let group = |decay: bool| {
            let stretches: Vec<_> = layout
                .buckets
                .iter()
                .map(|bucket| if decay { &bucket.decayed } else { &bucket.plain })
                .filter(|stretch| !stretch.is_empty())
                .collect();
            let of = |buffer: &Tensor| {
                let cut = |stretch: &&std::ops::Range<usize>| {
                    buffer.narrow(0, stretch.start as i64, stretch.len() as i64)
                };
                stretches.iter().map(cut).collect::<Vec<_>>()
            };
            let weight_decay = if decay { weight_decay } else { 0.0 };
            Group {
                constants: AdamW { beta1: BETA1, beta2: BETA2, epsilon: EPSILON, weight_decay },
                parameters: of(&flat),
                gradients: of(gradient),
                moments: Moments { means: of(&means), squares: of(&squares) },
            }
        };
        Ok(Self { clip, groups: [group(true), group(false)], updates: 0 })
    }

    /// One update from the flat `gradient`, which it may scale. Returns the norm before clipping; if that is
    /// not finite, nothing is updated.
    pub(crate) fn step(&mut self, gradient: &mut Tensor, learning_rate: f64) -> Result<f64, Error> {
        let norm = tch::no_grad(|| gradient.f_norm())?.f_double_value(&[])?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        if let Some(clip) = self.clip.filter(|&clip| norm > clip) {
            tch::no_grad(|| gradient.f_mul_scalar_(clip / norm).map(drop))?;
        }
        self.updates += 1;
        for Group { constants, parameters, gradients, moments } in &self.groups {
            fused_adamw(parameters, gradients, moments, self.updates, learning_rate, constants)?;
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::settings;

    fn leaf(values: &[f32], shape: &[i64]) -> Tensor {
        Tensor::from_slice(values).view(shape).set_requires_grad(true)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.detach().view(-1)).unwrap()
    }

    /// One update: the parameters after it, and the norm, for a 2x2 matrix and a vector of two.
    fn update(weight_decay: f64, clip: Option<f64>, gradient: f32) -> (Vec<f32>, Vec<f32>, f64) {
        let parameters = [leaf(&[1.0, 2.0, 3.0, 4.0], &[2, 2]), leaf(&[5.0, 6.0], &[2])];
        let layout = Layout::new(&[vec![2, 2], vec![2]]);
        let mut flat = Tensor::zeros([layout.length as i64], (Kind::Float, Device::Cpu));
        let settings = plan::Optimizer { weight_decay, clip, ..settings() };
        let mut optimizer = Optimizer::new(&settings, &layout, &parameters, &flat, Device::Cpu).unwrap();
        for place in &layout.places {
            let _ = flat.narrow(0, place.start as i64, place.length as i64).fill_(f64::from(gradient));
        }
        let norm = optimizer.step(&mut flat, 0.1).unwrap();
        (values(&parameters[0]), values(&parameters[1]), norm)
    }

    fn near(is: &[f32], should: &[f32]) {
        assert!(is.iter().zip(should).all(|(is, should)| (is - should).abs() < 1e-6), "{is:?} {should:?}");
    }

    #[test]
    fn matrices_decay_and_vectors_do_not() {
        // The first update of Adam is the learning rate times the gradient's sign.
        let (matrix, vector, norm) = update(0.5, None, 2.0);
        near(&matrix, &[0.85, 1.8, 2.75, 3.7]);
        near(&vector, &[4.9, 5.9]);
        assert!((norm - (6.0f64 * 4.0).sqrt()).abs() < 1e-6, "{norm}");
    }

    #[test]
    fn clipping_scales_the_gradient_to_the_norm_it_allows() {
        let mut gradient = Tensor::from_slice(&[3.0f32, 4.0]);
        let optimizer = |clip| {
            let settings = plan::Optimizer { clip, ..settings() };
            let layout = Layout::new(&[]);
            Optimizer::new(&settings, &layout, &[], &gradient, Device::Cpu).unwrap()
        };
        let (mut loose, mut tight, mut none) = (optimizer(Some(5.0)), optimizer(Some(1.0)), optimizer(None));
        assert_eq!(none.step(&mut gradient, 0.1).unwrap(), 5.0);
        assert_eq!(loose.step(&mut gradient, 0.1).unwrap(), 5.0);
        assert_eq!(values(&gradient), [3.0, 4.0]);
        assert_eq!(tight.step(&mut gradient, 0.1).unwrap(), 5.0);
        near(&values(&gradient), &[0.6, 0.8]);
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        for wrong in [f32::NAN, f32::INFINITY] {
            let (matrix, vector, norm) = update(0.5, Some(1.0), wrong);
            assert!(!norm.is_finite());
            assert_eq!((matrix, vector), (vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0]));
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let flat = Tensor::zeros([0], (Kind::Float, Device::Cpu));
        let cases = [
            ("clip", plan::Optimizer { clip: Some(0.0), ..settings() }),
            ("clip", plan::Optimizer { clip: Some(f64::NAN), ..settings() }),
            ("weight_decay", plan::Optimizer { weight_decay: -0.1, ..settings() }),
        ];
        for (name, wrong) in cases {
            let error = Optimizer::new(&wrong, &Layout::new(&[]), &[], &flat, Device::Cpu).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
