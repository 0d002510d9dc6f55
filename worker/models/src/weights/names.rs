//! Which name in a checkpoint stands for which tensor of a model.

use std::{borrow::Cow, collections::BTreeMap};

use super::shards::Shards;
use crate::{ModelError, description::Description, layout::Slot};

/// The names under which a checkpoint holds what the model needs.
pub(super) struct Found {
    /// One per slot.
    pub(super) slots: Vec<String>,
    /// A copy of the token embedding.
    pub(super) unembedding: Option<String>,
}

/// Finds every slot in the headers, and a place for every name of the headers.
pub(super) fn match_names(
    description: &Description,
    slots: &[Slot],
    shards: &Shards,
) -> Result<Found, ModelError> {
    let wanted: BTreeMap<&str, usize> =
        slots.iter().enumerate().map(|(at, slot)| (slot.name.as_str(), at)).collect();
    let mut found: Vec<Option<String>> = vec![None; slots.len()];
    let mut unembedding = None;
    let tied = description.traits.tied;
    for name in shards.names() {
        let plain = plain_name(description, name);
        let extra = || ModelError::Extra { path: shards.path(name).to_owned(), name: name.to_owned() };
        let place = match wanted.get(plain.as_ref()) {
            Some(&at) => &mut found[at],
            None if description.family.ignored.iter().any(|ending| plain.ends_with(ending)) => continue,
            None if tied && description.family.unembedding == Some(plain.as_ref()) => &mut unembedding,
            None => return Err(extra()),
        };
        if place.is_some() {
            return Err(extra());
        }
        *place = Some(name.to_owned());
    }
    let missing = |slot: &Slot| ModelError::Missing {
        path: shards.origin().to_owned(),
        name: slot.full_name(description),
    };
    let slots: Result<_, _> =
        slots.iter().zip(found).map(|(slot, name)| name.ok_or_else(|| missing(slot))).collect();
    Ok(Found { slots: slots?, unembedding })
}

/// The name without the family's prefix and in today's spelling.
fn plain_name<'a>(description: &Description, name: &'a str) -> Cow<'a, str> {
    let plain = name.strip_prefix(description.family.prefix).unwrap_or(name);
    let renamed = description.family.renamed.iter().find_map(|(old, new)| {
        let stem = plain.strip_suffix(old)?;
        Some(Cow::Owned(format!("{stem}{new}")))
    });
    renamed.unwrap_or(Cow::Borrowed(plain))
}
