//! How a plan names bytes that lie outside the store: by digest, with the place where they were seen as a hint.

use std::collections::BTreeMap;

use super::RecipeError;
use crate::{
    plan::{Prepare, Source},
    source::{AdapterFolder, ModelFolder, SourceFile},
};

/// The stage that takes over a checkpoint, or its first layers.
pub(super) fn import(
    name: &str,
    folder: &ModelFolder,
    layers: Option<usize>,
    adapter: Option<&AdapterFolder>,
) -> Result<Prepare, RecipeError> {
    match layers {
        Some(asked) if asked > folder.layers => {
            Err(RecipeError::Layers { model: name.to_owned(), asked, layers: folder.layers })
        }
        // To keep all layers is to keep the model as it is, so it has the same key.
        _ => Ok(Prepare::Model {
            digest: folder.digest,
            layers: layers.filter(|asked| *asked < folder.layers),
            adapter: adapter.map(|adapter| adapter.digest),
        }),
    }
}

/// Files as a plan's source.
pub(super) fn files(files: &[SourceFile]) -> Source {
    Source::Files { files: files.iter().map(|file| file.digest.clone()).collect() }
}

/// Where those files lie on this machine, by role.
pub(super) fn locations(files: &[SourceFile]) -> BTreeMap<String, String> {
    let location = |(i, file): (usize, &SourceFile)| (format!("file/{i}"), file.path.display().to_string());
    files.iter().enumerate().map(location).collect()
}

/// Where a model folder and its adapters lie on this machine, by role.
pub(super) fn model_location(
    folder: &ModelFolder,
    adapter: Option<&AdapterFolder>,
) -> BTreeMap<String, String> {
    let model = ("model".to_owned(), folder.path.display().to_string());
    let adapter = adapter.map(|adapter| ("adapter".to_owned(), adapter.path.display().to_string()));
    [model].into_iter().chain(adapter).collect()
}
