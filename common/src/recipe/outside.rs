//! How a plan names bytes that lie outside the store: by digest, with the place where they were seen as a hint.

use std::collections::BTreeMap;

use super::RecipeError;
use crate::{
    plan::{Prepare, Source},
    source::{ModelFolder, SourceFile},
};

/// The stage that takes over a checkpoint, or its first layers.
pub(super) fn import(
    name: &str,
    folder: &ModelFolder,
    layers: Option<usize>,
) -> Result<Prepare, RecipeError> {
    match layers {
        Some(asked) if asked > folder.layers => {
            Err(RecipeError::Layers { model: name.to_owned(), asked, layers: folder.layers })
        }
        // To keep all layers is to keep the model as it is, so it has the same key.
        _ => Ok(Prepare::Model {
            digest: folder.digest,
            layers: layers.filter(|asked| *asked < folder.layers),
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

/// Where a model folder lies on this machine, by role.
pub(super) fn model_location(folder: &ModelFolder) -> BTreeMap<String, String> {
    BTreeMap::from([("model".to_owned(), folder.path.display().to_string())])
}
