//! Which parameters decay.

use fulcrum_common::pattern::{matches, nearest};
use tch::Tensor;

use crate::Error;

/// Matrices decay, but for those that a pattern names; vectors (biases, gains of norms) do not.
#[derive(Debug)]
pub(crate) struct Decay<'a> {
    spared: &'a [String],
}

impl<'a> Decay<'a> {
    /// Spares what `no_decay` matches of a model whose parameters have these names.
    ///
    /// # Errors
    /// If a pattern matches no name.
    pub(crate) fn new<'n>(
        no_decay: &'a [String],
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<Self, Error> {
        match no_decay.iter().find(|pattern| !names.clone().any(|name| matches(pattern, name))) {
            None => Ok(Self { spared: no_decay }),
            Some(pattern) => {
                Err(Error::NoDecay { pattern: pattern.clone(), nearest: nearest(pattern, names) })
            }
        }
    }

    /// Whether a parameter decays.
    pub(crate) fn applies(&self, name: &str, parameter: &Tensor) -> bool {
        parameter.dim() > 1 && !self.spared.iter().any(|pattern| matches(pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn matrices_decay_unless_they_are_spared() {
        let tensor = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let (matrix, vector) = (tensor(&[2, 3]), tensor(&[3]));
        let names = ["h.wte.weight", "h.0.weight", "h.0.bias"];
        let none = Decay::new(&[], names.into_iter()).unwrap();
        assert!(none.applies(names[0], &matrix) && !none.applies(names[2], &vector));
        let patterns = ["*.wte.*".to_owned()];
        let embedding = Decay::new(&patterns, names.into_iter()).unwrap();
        assert!(!embedding.applies(names[0], &matrix) && embedding.applies(names[1], &matrix));
        let error = Decay::new(&["*.wpe.*".to_owned()], names.into_iter()).unwrap_err().to_string();
        assert!(error.starts_with("no_decay: \"*.wpe.*\" matches no name; the nearest are h."), "{error}");
    }
}
