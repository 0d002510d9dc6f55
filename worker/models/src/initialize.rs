//! Weights that no checkpoint gives: a model from scratch, a new head.
//!
//! Normal with standard deviation 0.02, residual projections scaled down by the square root of twice the number
//! of blocks (Radford et al. 2019, section 2.3), norms the identity, biases zero.

use fulcrum_common::rng::Rng;
use tch::{Kind, Tensor};

use crate::{
    ModelError,
    description::Description,
    layout::{Part, Slot},
};

const DEVIATION: f64 = 0.02;

/// The most parameters of a model from scratch: such models are the lower end of a ladder.
const PARAMETERS: usize = 1 << 31;

/// A fresh tensor for the slot, f32 on the CPU. It depends on seed, name and shape alone.
pub(crate) fn fresh(description: &Description, slot: &Slot, seed: u64) -> Tensor {
    let shape: Vec<i64> = slot.shape.iter().map(|&size| size as i64).collect();
    let options = (Kind::Float, tch::Device::Cpu);
    match (slot.place.part, slot.place.module.identity(description)) {
        (Part::Bias, _) => Tensor::zeros(&shape, options),
        (Part::Weight, Some(gain)) => Tensor::full(&shape, gain, options),
        (Part::Weight, None) => {
            let residual = slot.place.module.writes_residual();
            let scale = if residual { (2.0 * description.layers as f64).sqrt().recip() } else { 1.0 };
            let mut rng = Rng::new(seed, &slot.name, 0);
            let numbers = 0..slot.shape.iter().product();
            let values: Vec<f32> = numbers.map(|_| (DEVIATION * scale * rng.normal()) as f32).collect();
            // No view: that would keep its base in memory after the weight has moved elsewhere.
            Tensor::from_slice(&values).resize_(shape.as_slice())
        }
    }
}

/// Bounds the memory of a model from scratch.
///
/// # Errors
/// Says how many parameters it would have.
pub(crate) fn check_size(slots: &[Slot]) -> Result<(), ModelError> {
    let count: usize = slots.iter().map(|slot| slot.shape.iter().product::<usize>()).sum();
    if count <= PARAMETERS {
        return Ok(());
    }
    Err(ModelError::field("parameters", count, format!("a model from scratch may have {PARAMETERS}")))
}

#[cfg(test)]
mod tests {
    use fulcrum_common::plan::Architecture;

    use super::*;
    use crate::{description::SpecialTokens, layout};

    #[test]
    fn fresh_weights_are_the_same_on_every_machine() {
        let architecture = Architecture { layers: 2, hidden: 4, heads: 1, context: 3 };
        let description = Description::from_scratch(&architecture, 5, SpecialTokens::default()).unwrap();
        let slots = layout::slots(&description);
        let slot = slots.iter().find(|slot| slot.name == "h.1.mlp.c_proj.weight").unwrap();
        let tensor = fresh(&description, slot, 7).flatten(0, -1).narrow(0, 0, 3);
        let bits: Vec<u32> = Vec::<f32>::try_from(tensor).unwrap().into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, [3_145_476_422, 3_145_750_369, 986_021_705]);
    }
}
