//! Adapters on disk, in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::{collections::BTreeSet, fs, path::Path};

use fulcrum_common::plan::Head;

use super::{Adapters, config, of_head, targets, targets::Target};
use crate::{
    Model, ModelError,
    files::read_config,
    layout::{Place, Slot},
    weights,
};

/// File name of the settings.
const CONFIG: &str = "adapter_config.json";

/// File name of the factors.
const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the name of every tensor.
const PREFIX: &str = "base_model.model.";

/// The adapters of the folder, and the model that they are for: a head that the folder holds is taken over, and put on
/// first where the model has none.
///
/// # Errors
/// If a file cannot be read, asks for what is not supported, or does not fit the model.
pub(super) fn read(folder: &Path, model: Model) -> Result<(Model, Adapters), ModelError> {
    let path = folder.join(CONFIG);
    let settings = config::read(&path, &read_config(&path)?)?;
    super::check(&settings.lora)?;
    let model = under_head(folder, &settings.head, model)?;
    let (description, slots) = (&model.description, &model.slots);
    let targets = targets::choose(description, slots, &settings.lora.targets)?;
    let heads: Vec<_> =
        slots.iter().zip(&model.parameters).filter(|(slot, _)| is_saved(slot, &settings.head)).collect();
    let named = |(name, shape)| (format!("{PREFIX}{name}"), shape);
    let factors = targets.iter().flat_map(|target| shapes(target, settings.lora.rank));
    let of_head = heads.iter().map(|(slot, (name, _))| (name.clone(), slot.stored_shape()));
    let wanted: Vec<_> = factors.chain(of_head).map(named).collect();
    let mut tensors = weights::read_exactly(&folder.join(WEIGHTS), &wanted)?.into_iter();
    let mut next =
        || tensors.next().expect("a tensor was read for each that was wanted").to_device(model.device());
    let factors = |_: &Target| Ok([next(), next()]);
    let adapters = Adapters::new(&settings.lora, settings.scaling, description, slots, factors)?;
    for (_, (_, parameter)) in heads {
        tch::no_grad(|| parameter.shallow_clone().copy_(&next()));
    }
    Ok((model, adapters))
}

/// Whether a tensor is of the head, and in the folder.
fn is_saved(slot: &Slot, saved: &[String]) -> bool {
    of_head(slot) && saved.iter().any(|name| name == module(slot))
}

/// The model, under a head of the kind and size that the folder holds if it has none. All of that head is read from
/// the folder afterwards, so nothing of it is drawn.
///
/// # Errors
/// If the folder holds a part of a head only.
fn under_head(folder: &Path, saved: &[String], model: Model) -> Result<Model, ModelError> {
    if saved.is_empty() || model.description.logits().is_some() {
        return Ok(model);
    }
    let lacks = |name: &str| {
        let reason = format!("they come with a head that lacks {name}, and the model has none of its own");
        Err(ModelError::Adapter(reason))
    };
    let name = format!("{}.weight", model.description.family.classifier.name);
    let shape = weights::shape(&folder.join(WEIGHTS), &format!("{PREFIX}{name}"))?;
    let head = match shape.and_then(|shape| shape.first().copied()) {
        None => return lacks(&name),
        Some(1) => Head::Reward,
        Some(classes) => Head::Classifier { classes },
    };
    let had: BTreeSet<Place> = model.slots.iter().map(|slot| slot.place).collect();
    let model = model.with_head(&head.into(), 0)?;
    match model.slots.iter().find(|slot| !had.contains(&slot.place) && !is_saved(slot, saved)) {
        Some(slot) => lacks(&slot.name),
        None => Ok(model),
    }
}

/// The module of a head that a tensor is in, by its name at the top of the model.
fn module(slot: &Slot) -> &str {
    slot.name.split('.').next().unwrap_or_default()
}

/// Names and shapes of A and B.
fn shapes(target: &Target, rank: usize) -> [(String, Vec<usize>); 2] {
    let Target { name, outputs, inputs, .. } = target;
    [
        (format!("{name}.lora_A.weight"), vec![rank, *inputs]),
        (format!("{name}.lora_B.weight"), vec![*outputs, rank]),
    ]
}

/// Writes the adapters of `model`, and its head.
///
/// # Errors
/// If a weight is not finite or a file cannot be written.
pub(super) fn write(folder: &Path, model: &Model, adapters: &Adapters) -> Result<(), ModelError> {
    let path = folder.join(CONFIG);
    fs::create_dir_all(folder).map_err(ModelError::unwritten(folder))?;
    let targets = adapters.all.iter().map(|adapter| &adapter.target);
    let transposed = model
        .slots
        .iter()
        .any(|slot| slot.transposed && targets.clone().any(|target| target.module == slot.place.module));
    let endings = endings(&adapters.lora.targets, &targets.collect::<Vec<_>>());
    let modules = model.slots.iter().filter(|slot| of_head(slot)).map(module).collect();
    let text = config::write(&adapters.lora, adapters.scaling, &endings, model.head(), &modules, transposed);
    let text = text.map_err(ModelError::unwritten(&path))?;
    fs::write(&path, text + "\n").map_err(ModelError::unwritten(&path))?;
    let heads = model.slots.iter().zip(&model.parameters).filter(|(slot, _)| of_head(slot));
    let heads = heads.map(|(_, (name, tensor))| (format!("{PREFIX}{name}"), tensor.shallow_clone()));
    let factors = adapters.parameters().map(|(name, factor)| (format!("{PREFIX}{name}"), factor));
    weights::write_named(&folder.join(WEIGHTS), &factors.chain(heads).collect::<Vec<_>>())
}

/// The endings as they were given, less those whose layers are gone; for all linear maps, every name, as PEFT does.
fn endings(given: &[String], targets: &[&Target]) -> Vec<String> {
    if given.iter().any(|pattern| pattern == targets::ALL) {
        return targets.iter().map(|target| target.name.clone()).collect();
    }
    let alive = |pattern: &&String| targets.iter().any(|target| targets::matches(pattern, target));
    given.iter().filter(alive).cloned().collect()
}
