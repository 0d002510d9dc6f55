//! Which tensors a model consists of: the family's weight table, written out for one description.

use std::collections::BTreeMap;

use fulcrum_common::plan::Head;
use tch::Tensor;

use crate::{
    description::Description,
    families::{Module, Weight},
    lora::{Adapter, Adapters},
};

/// Which half of a module a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Weight,
    Bias,
}

/// Where a tensor is used; the block is 0 for modules outside the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) module: Module,
    pub(crate) block: usize,
    pub(crate) part: Part,
}

/// One tensor of a model: where it is used, and how it is called and shaped.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) place: Place,
    /// Without the family's prefix.
    pub(crate) name: String,
    /// Whether the family's prefix stands before the name where there is a head.
    pub(crate) prefixed: bool,
    /// In memory.
    pub(crate) shape: Vec<usize>,
    /// Whether it lies transposed on disk.
    pub(crate) transposed: bool,
}

impl Slot {
    /// The shape on disk.
    pub(crate) fn stored_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.transposed {
            shape.reverse();
        }
        shape
    }

    /// The name that transformers gives the tensor in a model of this head.
    pub(crate) fn full_name(&self, description: &Description) -> String {
        let prefix = if self.prefixed && description.head.is_some() { description.family.prefix } else { "" };
        format!("{prefix}{}", self.name)
    }
}

/// Every tensor of the model, in the order in which parameters are handed out.
pub(crate) fn slots(description: &Description) -> Vec<Slot> {
    let family = description.family;
    let mut slots = Vec::new();
    slots.extend(family.embeddings.iter().flat_map(|weight| parts(description, weight, 0)));
    for block in 0..description.layers {
        slots.extend(family.block.iter().flat_map(|weight| parts(description, weight, block)));
    }
    let sequence = description.logits().is_some();
    let output = family.output.iter().filter(|weight| sequence || weight.module != Module::HeadInner);
    slots.extend(output.flat_map(|weight| parts(description, weight, 0)));
    if description.head == Some(Head::LanguageModel) {
        // A bias of the output is its own even where the matrix is the token embedding.
        let own = |slot: &Slot| !description.traits.tied || slot.place.part == Part::Bias;
        slots.extend(family.unembed.iter().flat_map(|weight| parts(description, weight, 0)).filter(own));
    }
    if sequence {
        slots.extend(parts(description, &family.classifier, 0));
    }
    slots
}

/// The tensors of one module.
fn parts(description: &Description, weight: &Weight, block: usize) -> impl Iterator<Item = Slot> + use<> {
    let Weight { module, name, transposed, .. } = *weight;
    let shape = module.shape(description);
    let slot = move |part| {
        let (ending, shape, transposed) = match part {
            Part::Weight => ("weight", shape.clone(), transposed),
            Part::Bias => ("bias", shape[..1].to_vec(), false),
        };
        let name = format!("{}.{ending}", name.replace("{}", &block.to_string()));
        let prefixed = !matches!(module, Module::HeadInner | Module::Classifier | Module::Unembedding);
        Slot { place: Place { module, block, part }, name, prefixed, shape, transposed }
    };
    let parts: &[Part] =
        if weight.has_bias(description) { &[Part::Weight, Part::Bias] } else { &[Part::Weight] };
    parts.iter().map(move |&part| slot(part))
}

/// The tensors of a model by place, and its adapters: what the network is built from.
#[derive(Debug)]
pub(crate) struct Tensors {
    by_place: BTreeMap<Place, Tensor>,
    adapters: BTreeMap<(Module, usize), Adapter>,
}

impl Tensors {
    /// Handles of the same tensors, by place.
    pub(crate) fn new<'a>(
        tensors: impl IntoIterator<Item = (Place, &'a Tensor)>,
        adapters: Option<&Adapters>,
    ) -> Self {
        let by_place = tensors.into_iter().map(|(place, tensor)| (place, tensor.shallow_clone())).collect();
        Self { by_place, adapters: adapters.into_iter().flat_map(Adapters::places).collect() }
    }

    /// A handle of the adapter of a linear map, if it has one.
    pub(crate) fn adapter(&self, module: Module, block: usize) -> Option<Adapter> {
        self.adapters.get(&(module, block)).map(Adapter::shallow_clone)
    }

    /// A handle of that tensor, if the family has it.
    pub(crate) fn find(&self, module: Module, block: usize, part: Part) -> Option<Tensor> {
        self.by_place.get(&Place { module, block, part }).map(Tensor::shallow_clone)
    }

    /// Whether the model has that module outside the blocks.
    pub(crate) fn has(&self, module: Module) -> bool {
        self.by_place.contains_key(&Place { module, block: 0, part: Part::Weight })
    }

    /// A handle of a weight that the kind of network always has.
    pub(crate) fn weight(&self, module: Module, block: usize) -> Tensor {
        self.find(module, block, Part::Weight).expect("every family's table names the modules of its network")
    }

    /// A handle of a bias, if the module has one.
    pub(crate) fn bias(&self, module: Module, block: usize) -> Option<Tensor> {
        self.find(module, block, Part::Bias)
    }
}
