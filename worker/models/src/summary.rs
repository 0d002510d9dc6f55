//! What a configuration tells of a model without its weights.

use std::path::Path;

use crate::{
    ModelError,
    description::{Description, SpecialTokens},
    families,
    files::read_config,
};

/// The sizes of a model that its rows must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Ids are below this.
    pub vocabulary: usize,
    /// The longest sequence that the model takes.
    pub positions: usize,
    /// Ids with a meaning.
    pub tokens: SpecialTokens,
}

impl Summary {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the file cannot be read or asks for what is not supported.
    pub fn read(config: &Path) -> Result<Self, ModelError> {
        let Description { vocabulary, positions, tokens, .. } =
            families::read(config, &read_config(config)?)?;
        Ok(Self { vocabulary, positions, tokens })
    }
}
