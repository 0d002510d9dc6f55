//! Which linear maps of a model are adapted.

use std::collections::BTreeSet;

use crate::{
    ModelError,
    description::Description,
    families::Module,
    layout::{Part, Slot},
};

/// What stands for every linear map of the base model, as in PEFT.
pub(super) const ALL: &str = "all-linear";

/// A linear map that can be adapted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) module: Module,
    pub(super) block: usize,
    /// The module's name in transformers.
    pub(super) name: String,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// The linear maps of a model whose names have one of the endings `patterns`, in parameter order. A name has an
/// ending if it is it, or ends in a dot and it: `q_proj`, `attn.c_proj` or `h.0.attn.c_proj`.
///
/// # Errors
/// If there is no pattern, or one matches nothing.
pub(super) fn choose(
    description: &Description,
    slots: &[Slot],
    patterns: &[String],
) -> Result<Vec<Target>, ModelError> {
    if patterns.is_empty() {
        let reason = "no targets are given: name endings of linear maps, or all-linear";
        return Err(ModelError::Adapter(reason.to_owned()));
    }
    let mut targets = all(description, slots);
    if let Some(lost) = patterns.iter().find(|pattern| !targets.iter().any(|target| matches(pattern, target)))
    {
        let known: BTreeSet<&str> = targets.iter().map(|target| last(&target.name)).collect();
        return Err(ModelError::Adapter(format!(
            "no linear map has a name that ends in {lost:?}; the nearest endings are {}",
            nearest(lost, known.into_iter())
        )));
    }
    targets.retain(|target| patterns.iter().any(|pattern| matches(pattern, target)));
    Ok(targets)
}

/// Every linear map that can be adapted, in parameter order.
pub(super) fn all(description: &Description, slots: &[Slot]) -> Vec<Target> {
    slots.iter().filter_map(|slot| target(description, slot)).collect()
}

/// The linear map of that weight, if it is one of the base model. A head is no target: it is trained itself.
fn target(description: &Description, slot: &Slot) -> Option<Target> {
    let Slot { place, shape, .. } = slot;
    let embedding =
        matches!(place.module, Module::TokenEmbedding | Module::PositionEmbedding | Module::SegmentEmbedding);
    if place.part != Part::Weight || place.module.is_norm() || embedding || of_head(slot) {
        return None;
    }
    let &[outputs, inputs] = shape.as_slice() else { return None };
    let name = slot.full_name(description);
    let name = name.strip_suffix(".weight").unwrap_or(&name).to_owned();
    Some(Target { module: place.module, block: place.block, name, outputs, inputs })
}

/// Whether a tensor is of the classifier or the reward on top of the base model.
pub(crate) fn of_head(slot: &Slot) -> bool {
    !slot.prefixed && slot.place.module != Module::Unembedding
}

/// Whether a pattern means a target. The output of a language model is meant by its name alone.
pub(super) fn matches(pattern: &str, target: &Target) -> bool {
    let ends =
        || target.name.strip_suffix(pattern).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if pattern == ALL { target.module != Module::Unembedding } else { ends() }
}

/// What a name ends in.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The endings most like a pattern, for a message.
fn nearest<'a>(pattern: &str, known: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let likeness = |name: &str| strsim::jaro_winkler(pattern, name);
    let mut known: Vec<_> = known.collect();
    known.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    known.truncate(SHOWN);
    known.join(", ")
}
