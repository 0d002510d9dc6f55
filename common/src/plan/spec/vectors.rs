//! Rows that models read as vectors, not as texts: embeddings that are given, or generated.

use serde::{Deserialize, Serialize};

use super::{Format, Source};

/// What a model sees of a row: a vector of a fixed width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// A tensor `[rows, width]` of each file of a source, whose rows are those of the file.
    Stored {
        /// The files, which the data was made of too.
        source: Source,
        /// The tensor's name.
        tensor: String,
    },
    /// A generated row through a random linear map, and noise.
    Projected {
        /// What generates the rows.
        mixture: Mixture,
        /// Numbers of the vector. A wider view sees what a narrower one sees, and more.
        width: usize,
        /// Standard deviation of the noise; that of a number without it is about 1 within a class.
        noise: f64,
    },
}

/// What a probe has before any training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeHead {
    /// Nothing: a classifier is put on by whoever trains it.
    None,
    /// A classifier whose logits are the vectors themselves.
    Identity,
}

/// Parameters of `builtin:mixture`: points of a space, drawn around a centre for each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// How many rows to generate.
    pub rows: usize,
    /// Classes, all as likely.
    pub classes: usize,
    /// Dimensions of the space.
    pub dimensions: usize,
    /// How far centres are apart: the standard deviation of their coordinates, where that of a class is 1.
    pub spread: f64,
    /// Seed of the centres, the points, the maps and the noise.
    pub seed: u64,
}

impl Mixture {
    /// A bound on dimensions and widths.
    pub const MOST_DIMENSIONS: usize = 1 << 12;
    /// A bound on classes.
    pub const MOST_CLASSES: usize = 1 << 10;
}

impl Format {
    /// The format of rows that are vectors or images: they are called by their place, and the column `label` tells their
    /// class.
    pub fn of_vectors(classes: Vec<String>) -> Self {
        Self::labelled("{{ name }}", "label", classes)
    }

    /// The format of the rows that [`Source::Mixture`] generates.
    pub fn mixture(mixture: &Mixture) -> Self {
        Self::of_vectors((0..mixture.classes).map(|class| class.to_string()).collect())
    }
}

/// Whether a file of that name holds vectors with the classes of its rows, in place of texts.
pub fn holds_vectors(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".safetensors")
}
