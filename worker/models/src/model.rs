//! A model: description, parameters, network, head.
//!
//! Shape suffixes: b rows, t tokens, d residual width, v vocabulary, c classes.

use std::{cell::RefCell, collections::BTreeMap, fs, path::Path, sync::Arc};

use fulcrum_common::plan::{Architecture, Head};
use tch::{Device, Tensor};

use crate::{
    ModelError,
    absent::{Absent, Origin, placeholder},
    decoder::Decoder,
    description::{Description, SpecialTokens},
    encoder::Encoder,
    families,
    files::{ModelFiles, read_config},
    given::Given,
    head::SequenceHead,
    initialize,
    layout::{self, Place, Slot, Tensors},
    lora::{self, Adapters},
    noise::Noise,
    probe::Probe,
    weights,
};

/// A transformer with its weights. Nothing in it is random but the dropout of adapters, in
/// [`Model::forward_training`] alone.
#[derive(Debug)]
pub struct Model {
    pub(crate) description: Description,
    pub(crate) slots: Vec<Slot>,
    /// One for each slot, then those of the adapters.
    pub(crate) parameters: Vec<(String, Tensor)>,
    pub(crate) adapters: Option<Adapters>,
    pub(crate) network: Network,
    pub(crate) head: Option<SequenceHead>,
    /// What a model that was only outlined has not read yet.
    pub(crate) absent: Absent,
    device: Device,
}

/// What makes states of tokens.
#[derive(Debug)]
pub(crate) enum Network {
    Decoder(Decoder),
    Encoder(Encoder),
    Probe(Probe),
}

impl Model {
    /// Reads a checkpoint; weights become f32 on `device`.
    ///
    /// # Errors
    /// If a file cannot be read, the configuration asks for what is not supported, or a tensor is missing,
    /// extra, misshapen, of another kind, or not finite.
    pub fn load(files: &ModelFiles, device: Device) -> Result<Self, ModelError> {
        Self::outline(files, device)?.filled()
    }

    /// As [`Model::load`], but weights stay in their files, which are kept open, until they are asked for one by one
    /// ([`Model::take`], [`Model::fill`]); till then parameters have shapes and no memory. Such a model can be given a head
    /// or adapters, and frozen; it computes nothing.
    ///
    /// # Errors
    /// As [`Model::load`]; whether numbers are finite is found out when they are read.
    pub fn outline(files: &ModelFiles, device: Device) -> Result<Self, ModelError> {
        let description = families::read(&files.config, &read_config(&files.config)?)?;
        let slots = layout::slots(&description);
        let stored = weights::open(files, &description, &slots)?;
        Ok(Self::outlined(description, slots, stored.into_iter().map(Origin::File), device))
    }

    /// A decoder of the gpt2 family with a language model head and seeded random weights: the same seed gives
    /// the same bytes on every machine.
    ///
    /// # Errors
    /// If a size is zero or beyond reason, or the heads do not divide the width.
    pub fn new(
        architecture: &Architecture,
        vocabulary: usize,
        tokens: SpecialTokens,
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        Self::random(Description::from_scratch(architecture, vocabulary, tokens)?, seed, device)?.filled()
    }

    /// A model as the text of a `config.json` describes it, with seeded random weights as in [`Model::new`].
    ///
    /// # Errors
    /// If the text asks for what is not supported, or for a size beyond reason.
    pub fn from_config(text: &str, seed: u64, device: Device) -> Result<Self, ModelError> {
        Self::outline_random(text, seed, device)?.filled()
    }

    /// As [`Model::from_config`], but weights are drawn when they are asked for: see [`Model::outline`].
    ///
    /// # Errors
    /// As [`Model::from_config`].
    pub fn outline_random(text: &str, seed: u64, device: Device) -> Result<Self, ModelError> {
        let description = families::read(Path::new(ModelFiles::CONFIG), text)?;
        Self::random(description, seed, device)
    }

    pub(crate) fn random(description: Description, seed: u64, device: Device) -> Result<Self, ModelError> {
        let slots = layout::slots(&description);
        initialize::check_size(&slots)?;
        let shared = Arc::new(description.clone());
        let drawn =
            |slot: &Slot| Origin::Drawn { description: Arc::clone(&shared), slot: slot.clone(), seed };
        let origins: Vec<_> = slots.iter().map(drawn).collect();
        Ok(Self::outlined(description, slots, origins, device))
    }

    /// A model that has none of its weights.
    fn outlined(
        description: Description,
        slots: Vec<Slot>,
        origins: impl IntoIterator<Item = Origin>,
        device: Device,
    ) -> Self {
        let absent = slots.iter().map(|slot| slot.place).zip(origins).collect();
        let tensors = slots.iter().map(placeholder).collect();
        Self::assemble(description, slots, tensors, None, RefCell::new(absent), device)
    }

    /// The first `layers` blocks of the model under the same head.
    ///
    /// # Errors
    /// If that is none, or more than there are.
    pub fn truncate(self, layers: usize) -> Result<Self, ModelError> {
        if !(1..=self.description.layers).contains(&layers) {
            return Err(ModelError::Layers { keep: layers, layers: self.description.layers });
        }
        let description = Description { layers, ..self.description.clone() };
        // No tensor of the shorter model is new, so the seed has no part in it.
        Ok(self.rebuilt(description, 0))
    }

    /// A model of another description that keeps every tensor with the same place and shape.
    pub(crate) fn rebuilt(self, description: Description, seed: u64) -> Self {
        let places = self.slots.iter().map(|slot| slot.place);
        let mut old: BTreeMap<Place, Tensor> =
            places.zip(self.parameters).map(|(place, (_, tensor))| (place, tensor)).collect();
        let slots = layout::slots(&description);
        let (mut origins, mut absent) = (self.absent.into_inner(), BTreeMap::new());
        let tensors = slots
            .iter()
            .map(|slot| {
                let fits = |tensor: &Tensor| {
                    tensor.size().iter().map(|&n| n as usize).eq(slot.shape.iter().copied())
                };
                match old.remove(&slot.place).filter(fits) {
                    Some(kept) => {
                        absent.extend(origins.remove_entry(&slot.place));
                        kept
                    }
                    None => initialize::fresh(&description, slot, seed),
                }
            })
            .collect();
        let adapters = self.adapters.and_then(|adapters| adapters.kept(&description, &slots));
        Self::assemble(description, slots, tensors, adapters, RefCell::new(absent), self.device)
    }

    /// The same model under these adapters, or none.
    pub(crate) fn adapted(self, adapters: Option<Adapters>) -> Self {
        let tensors = self.parameters.into_iter().take(self.slots.len()).map(|(_, tensor)| tensor).collect();
        Self::assemble(self.description, self.slots, tensors, adapters, self.absent, self.device)
    }

    fn assemble(
        description: Description,
        slots: Vec<Slot>,
        tensors: Vec<Tensor>,
        adapters: Option<Adapters>,
        absent: Absent,
        device: Device,
    ) -> Self {
        let leaf = |(slot, tensor): (&Slot, Tensor)| {
            let trained = adapters.is_none() || lora::of_head(slot);
            // What stands for an absent weight takes no memory here, and would take all of it on a device.
            let tensor = match absent.borrow().contains_key(&slot.place) {
                true => tensor,
                false => tensor.to_device(device),
            };
            (slot.full_name(&description), tensor.set_requires_grad(trained))
        };
        let mut parameters: Vec<_> = slots.iter().zip(tensors).map(leaf).collect();
        let places = slots.iter().map(|slot| slot.place);
        let tensors = places.zip(parameters.iter().map(|(_, tensor)| tensor));
        let tensors = Tensors::new(tensors, adapters.as_ref());
        parameters.extend(adapters.iter().flat_map(Adapters::parameters));
        let network = if description.is_probe() {
            Network::Probe(Probe::new(&tensors))
        } else if description.family.causal {
            Network::Decoder(Decoder::new(&description, &tensors, device))
        } else {
            Network::Encoder(Encoder::new(&description, &tensors))
        };
        let head = description.logits().map(|_| SequenceHead::new(&description, &tensors));
        Self { description, slots, parameters, adapters, network, head, absent, device }
    }

    /// Logits f32 of a padded batch: `[b, t, v]` from a language model, `[b, c]` from a classifier and `[b, 1]`
    /// from a reward (both read as [`Model::readout`] tells), and the states `[b, t, d]` of a bare encoder.
    /// What stands at padding is meaningless.
    ///
    /// `ids_bt` and `mask_bt` (1 for a token, 0 for padding on either side) are i64. Padding does not change
    /// what the other tokens give, up to rounding. On a device other than the CPU, pass both on the CPU: they
    /// are checked before they are moved.
    ///
    /// # Errors
    /// If ids and mask do not fit each other or the model.
    pub fn forward(&self, ids_bt: &Tensor, mask_bt: &Tensor) -> Result<Tensor, ModelError> {
        self.logits(Given::Tokens { ids_bt, mask_bt })
    }

    /// [`Model::forward`] of whatever the model reads.
    ///
    /// # Errors
    /// As [`Model::forward`], and if the model reads the other of tokens and vectors.
    pub fn logits(&self, given: Given<'_>) -> Result<Tensor, ModelError> {
        let walk = self.walk(given, None)?;
        Ok(walk.read(&walk.states()))
    }

    /// [`Model::forward`] with the noise of training: the dropout of adapters. Without adapters, the same.
    ///
    /// # Errors
    /// As [`Model::forward`], and if the noise is for another number of rows.
    pub fn forward_training(
        &self,
        ids_bt: &Tensor,
        mask_bt: &Tensor,
        noise: &Noise,
    ) -> Result<Tensor, ModelError> {
        let walk = self.walk(Given::Tokens { ids_bt, mask_bt }, Some(noise))?;
        Ok(walk.read(&walk.states()))
    }

    /// States `[b, t, d]` of a padded batch: what [`Model::forward`] reads its logits from. A caller that wants
    /// the logits of some tokens only picks their states and calls [`Model::unembed`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn states(&self, ids_bt: &Tensor, mask_bt: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.walk(Given::Tokens { ids_bt, mask_bt }, None)?.of_all_tokens().states())
    }

    /// Whether the model ends in next-token logits.
    pub(crate) fn speaks(&self) -> bool {
        self.description.head == Some(Head::LanguageModel)
    }

    /// Every weight once, as leaf tensors that want gradients unless they are frozen, by Hugging Face name and always
    /// in the same order.
    /// [`Model::forward`] computes with these very tensors: `set_data` on one (or on a shallow clone of it)
    /// moves it into other storage for the network too. Matrices are `[out, in]` whatever the order on disk.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Numbers in [`Model::parameters`], wherever they are; a tied head counts once.
    pub fn parameter_count(&self) -> usize {
        self.merged_count() + self.adapters.as_ref().map_or(0, Adapters::count)
    }

    /// Those that are left once adapters are merged.
    pub fn merged_count(&self) -> usize {
        self.slots.iter().map(|slot| slot.shape.iter().product::<usize>()).sum()
    }

    /// What the model ends in; none for a bare encoder or decoder.
    pub fn head(&self) -> Option<Head> {
        self.description.head
    }

    /// Blocks.
    pub fn layers(&self) -> usize {
        self.description.layers
    }

    /// The longest sequence that the model takes.
    pub fn max_tokens(&self) -> usize {
        self.description.longest()
    }

    /// Ids are below this.
    pub fn vocab_size(&self) -> usize {
        self.description.vocabulary
    }

    /// The ids that the configuration gives a meaning.
    pub fn special_tokens(&self) -> SpecialTokens {
        self.description.tokens
    }

    /// Every id that ends a text, [`SpecialTokens::end`] first.
    pub fn ends(&self) -> Vec<i64> {
        self.description.tokens.end.into_iter().chain(self.description.further_ends.iter().copied()).collect()
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Writes `config.json` and `model.safetensors` (f32) into `folder` so that transformers' `from_pretrained`
    /// reads them. The same model gives the same bytes.
    ///
    /// # Errors
    /// If the model has adapters, a weight is absent or not finite, or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        self.check_present()?;
        if self.adapters.is_some() {
            let reason = "a checkpoint has no place for them: merge them first";
            return Err(ModelError::Adapter(reason.to_owned()));
        }
        let config = folder.join(ModelFiles::CONFIG);
        fs::create_dir_all(folder).map_err(ModelError::unwritten(folder))?;
        let text = families::write(&self.description).map_err(ModelError::unwritten(&config))?;
        fs::write(&config, text + "\n").map_err(ModelError::unwritten(&config))?;
        weights::write(&folder.join(ModelFiles::WEIGHTS), &self.slots, &self.parameters)
    }
}
