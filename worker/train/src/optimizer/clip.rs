//! Clipping by the global norm (Pascanu et al. 2013, algorithm 1).

use tch::Tensor;

use crate::{Error, schedule::setting};

/// The largest norm that the gradient of a step may have.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    limit: Option<f64>,
}

impl Clip {
    /// None for no limit.
    ///
    /// # Errors
    /// If the limit is not above 0.
    pub fn new(limit: Option<f64>) -> Result<Self, Error> {
        if let Some(limit) = limit {
            setting("clip", limit, limit > 0.0, "above 0")?;
        }
        Ok(Self { limit })
    }

    /// Scales `gradient`, the whole or a share of it, so that a whole of this norm comes to the limit.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn apply(self, gradient: &Tensor, norm: f64) -> Result<(), Error> {
        if let Some(limit) = self.limit.filter(|&limit| norm > limit) {
            tch::no_grad(|| gradient.shallow_clone().f_mul_scalar_(limit / norm).map(drop))?;
        }
        Ok(())
    }
}

/// The Euclidean norm of a gradient. Where it is spread over ranks, the squares of the shares' norms add up to its
/// square.
///
/// # Errors
/// If libtorch refuses.
pub fn norm(gradient: &Tensor) -> Result<f64, Error> {
    Ok(tch::no_grad(|| gradient.f_norm())?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_scales_the_gradient_to_the_norm_it_allows() {
        let gradient = Tensor::from_slice(&[3.0f32, 4.0]);
        let values = || Vec::<f32>::try_from(&gradient).unwrap();
        assert_eq!(norm(&gradient).unwrap(), 5.0);
        for loose in [None, Some(5.0)] {
            Clip::new(loose).unwrap().apply(&gradient, 5.0).unwrap();
            assert_eq!(values(), [3.0, 4.0]);
        }
        Clip::new(Some(1.0)).unwrap().apply(&gradient, 5.0).unwrap();
        assert!((norm(&gradient).unwrap() - 1.0).abs() < 1e-6, "{:?}", values());
        // A share of a whole whose norm is 4.
        Clip::new(Some(2.0)).unwrap().apply(&gradient, 4.0).unwrap();
        assert!((norm(&gradient).unwrap() - 0.5).abs() < 1e-6, "{:?}", values());
    }

    #[test]
    fn limits_out_of_range_are_refused_by_name() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Clip::new(Some(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("clip is"), "{error}");
        }
    }
}
