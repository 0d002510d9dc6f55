//! Weights that are still where they come from, so that whoever trains a share of a model reads no more than one
//! tensor more than that at a time.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use tch::{Device, Kind, Tensor};

use crate::{
    Model, ModelError,
    description::Description,
    initialize,
    layout::{Place, Slot},
    weights::Stored,
};

/// Where a weight comes from. The same bytes come from it every time.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A checked file, which stays open.
    File(Stored),
    /// It is drawn.
    Drawn { description: Arc<Description>, slot: Slot, seed: u64 },
}

impl Origin {
    fn tensor(&self) -> Result<Tensor, ModelError> {
        match self {
            Self::File(stored) => stored.tensor(),
            Self::Drawn { description, slot, seed } => Ok(initialize::fresh(description, slot, *seed)),
        }
    }
}

/// The weights that a model does not have yet.
pub(crate) type Absent = RefCell<BTreeMap<Place, Origin>>;

/// What stands for an absent weight: a tensor of its shape that takes no memory.
pub(crate) fn placeholder(slot: &Slot) -> Tensor {
    let shape: Vec<i64> = slot.shape.iter().map(|&size| size as i64).collect();
    let options = (Kind::Float, Device::Cpu);
    let mut tensor = Tensor::empty([0], options);
    // Not the expanded one itself: it is a view, and a weight shall be none.
    tensor.set_data(&Tensor::zeros([1], options).expand(shape, false));
    tensor
}

impl Model {
    /// The weights of the parameter `at`, for a caller that keeps them, or a part of them, in a place of its own and gives
    /// the parameter what it computes with. In a model that was only [outlined](Model::outline) they are read now.
    ///
    /// # Errors
    /// If they cannot be read, or are not finite.
    pub fn take(&self, at: usize) -> Result<Tensor, ModelError> {
        let weights = self.fetch(at)?;
        if let Some(slot) = self.slots.get(at) {
            self.absent.borrow_mut().remove(&slot.place);
        }
        Ok(weights)
    }

    /// Gives the parameter `at` its weights, if they are absent.
    ///
    /// # Errors
    /// As [`Model::take`].
    pub fn fill(&self, at: usize) -> Result<(), ModelError> {
        let weights = self.take(at)?;
        self.parameters[at].1.shallow_clone().set_data(&weights);
        Ok(())
    }

    /// The same model with all of its weights.
    ///
    /// # Errors
    /// As [`Model::take`].
    pub fn filled(self) -> Result<Self, ModelError> {
        (0..self.slots.len()).try_for_each(|at| self.fill(at))?;
        Ok(self)
    }

    /// The weights of the parameter `at`, which stay absent if they are.
    pub(crate) fn fetch(&self, at: usize) -> Result<Tensor, ModelError> {
        let absent = self.absent.borrow();
        match self.slots.get(at).and_then(|slot| absent.get(&slot.place)) {
            Some(origin) => Ok(origin.tensor()?.to_device(self.device())),
            None => Ok(self.parameters[at].1.detach()),
        }
    }

    /// # Errors
    /// If a weight is absent.
    pub(crate) fn check_present(&self) -> Result<(), ModelError> {
        let absent = self.absent.borrow().len();
        if absent == 0 { Ok(()) } else { Err(ModelError::Absent { absent }) }
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::plan::{Architecture, Head};

    use super::*;
    use crate::{Init, ModelFiles, NewHead};

    fn architecture() -> Architecture {
        Architecture { layers: 2, hidden: 4, heads: 1, context: 3 }
    }

    fn same(found: &Model, expected: &Model) {
        assert_eq!(found.parameters().len(), expected.parameters().len());
        for ((name, found), (other, expected)) in found.parameters().iter().zip(expected.parameters()) {
            assert!(name == other && found.equal(expected), "{name}");
            assert_eq!(found.requires_grad(), expected.requires_grad(), "{name}");
        }
    }

    #[test]
    fn an_outlined_model_has_the_weights_of_a_loaded_one_once_it_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let files = ModelFiles::in_folder(folder.path());
        let cpu = Device::Cpu;
        Model::new(&architecture(), 5, Default::default(), 3, cpu).unwrap().save(folder.path()).unwrap();
        let classes = Head::Classifier { classes: 2 };
        let words = NewHead { head: classes, init: Init::Unembedding(vec![4, 1]), readout: None };
        let head = |model: Model| model.with_head(&words, 5).unwrap().truncate(1).unwrap();
        let outlined = head(Model::outline(&files, cpu).unwrap());
        let loaded = head(Model::load(&files, cpu).unwrap());
        let ids_bt = Tensor::from_slice(&[1i64, 2]).view([1, 2]);
        let error = outlined.forward(&ids_bt, &ids_bt.ones_like()).unwrap_err().to_string();
        assert!(error.contains("have not been read"), "{error}");
        assert!(outlined.save(folder.path()).is_err());
        same(&outlined.filled().unwrap(), &loaded);
    }

    #[test]
    fn what_is_taken_is_not_absent_any_more() {
        let text = crate::families::write(
            &Model::new(&architecture(), 5, Default::default(), 3, Device::Cpu).unwrap().description,
        );
        let outlined = Model::outline_random(&text.unwrap(), 3, Device::Cpu).unwrap();
        let drawn = Model::new(&architecture(), 5, Default::default(), 3, Device::Cpu).unwrap();
        for (at, (name, expected)) in drawn.parameters().iter().enumerate() {
            assert!(outlined.check_present().is_err());
            assert_eq!(outlined.parameters()[at].1.size(), expected.size());
            assert!(outlined.take(at).unwrap().equal(expected), "{name}");
        }
        outlined.check_present().unwrap();
    }
}
