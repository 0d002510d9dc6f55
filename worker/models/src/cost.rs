//! What a forward pass costs.

use crate::{
    Model,
    families::Module,
    layout::{Part, Slot},
};

impl Model {
    /// Floating-point operations of a forward pass per token of a row of `tokens` tokens, as they are counted for model
    /// FLOPs utilization (Chowdhery et al. 2022, appendix B): two for each number of each matrix that the token goes
    /// through, and those of attention between all tokens, masked ones too. A backward pass takes twice as many. Heads
    /// over whole rows are too small to count, as are adapters.
    pub fn forward_flops(&self, tokens: usize) -> f64 {
        let is_matrix = |slot: &&Slot| slot.place.part == Part::Weight && slot.shape.len() == 2;
        let matrices = self.slots.iter().filter(is_matrix).filter(|slot| multiplies(slot.place.module));
        let mut numbers: usize = matrices.map(|slot| slot.shape.iter().product::<usize>()).sum();
        let description = &self.description;
        if self.speaks() && description.traits.tied {
            numbers += description.vocabulary * description.hidden;
        }
        let attention = description.layers * description.heads * description.head_width() * tokens;
        2.0 * numbers as f64 + 4.0 * attention as f64
    }
}

/// Whether every token is multiplied with the module's matrix.
fn multiplies(module: Module) -> bool {
    let looked_up =
        matches!(module, Module::TokenEmbedding | Module::PositionEmbedding | Module::SegmentEmbedding);
    !looked_up && !module.is_head()
}

#[cfg(test)]
mod tests {
    use fulcrum_common::{bench::Shape, plan::Head};
    use tch::Device;

    use super::*;
    use crate::NewHead;

    #[test]
    fn a_gpt2_costs_twelve_squares_of_its_width_per_block_and_its_vocabulary() {
        let model = Model::from_config(Shape::Gpt2Tiny.config(), 0, Device::Cpu).unwrap();
        let (layers, hidden, vocabulary, tokens) = (2.0, 32.0, 101.0, 16.0);
        let blocks = 2.0 * layers * 12.0 * hidden * hidden + 4.0 * layers * hidden * tokens;
        assert_eq!(model.forward_flops(16), blocks + 2.0 * vocabulary * hidden);
        let classifier = model.with_head(&NewHead::from(Head::Classifier { classes: 2 }), 0).unwrap();
        assert_eq!(classifier.forward_flops(16), blocks);
    }

    #[test]
    fn gates_and_shared_keys_are_counted_as_they_are() {
        let model = Model::from_config(Shape::LlamaTiny.config(), 0, Device::Cpu).unwrap();
        let (layers, hidden, inner, vocabulary, tokens) = (2.0, 32.0, 64.0, 101.0, 8.0);
        let block = 2.0 * hidden * hidden + 2.0 * hidden * (hidden / 2.0) + 3.0 * hidden * inner;
        let expected = 2.0 * (layers * block + vocabulary * hidden) + 4.0 * layers * hidden * tokens;
        assert_eq!(model.forward_flops(8), expected);
    }
}
