//! Which files of a model's repository are fetched: what Fulcrum reads, and nothing else.

use anyhow::{Context, Result, bail};
use fulcrum_common::source::{
    COMPANIONS,
    checkpoint::{INDEX, Index, WEIGHTS},
};

use super::cache::Repository;

/// Configuration, tokenizer files, and the weights: one file, or the index and its shards.
pub(super) fn model(repository: &Repository<'_>) -> Result<Vec<String>> {
    let mut names = repository.need(&["config.json", COMPANIONS[0]])?;
    let others = COMPANIONS[1..].iter().filter(|name| repository.has(name));
    names.extend(others.map(|name| (*name).to_owned()));
    if repository.has(WEIGHTS) {
        names.push(WEIGHTS.to_owned());
    } else if repository.has(INDEX) {
        let index = repository.fetch(INDEX)?;
        let index =
            Index::open(&index).with_context(|| format!("the {} cannot be used", repository.place))?;
        let shards: Vec<&str> = index.names().collect();
        names.push(INDEX.to_owned());
        names.extend(repository.need(&shards)?);
    } else {
        let place = repository.place;
        bail!(
            "the {place} has no safetensors: if it has pickled weights that you trust, convert a local copy with \
             save_pretrained(..., safe_serialization=True) and name its folder"
        );
    }
    Ok(names)
}
