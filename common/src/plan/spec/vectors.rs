//! Rows that models read as vectors, not as texts: embeddings that are given, generated, or made of images.

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
    /// That of the network that makes the vectors.
    Own,
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

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Columns, of which texts are made.
    Columns,
    /// Vectors, by a tensor for each model, with the classes of the rows.
    Vectors,
    /// Images in folders that tell their classes, or the files of MNIST.
    Images,
}

impl Holds {
    /// What the name of a file tells.
    pub fn of(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let packed = [".zst", ".gz"].into_iter().find_map(|ending| lower.strip_suffix(ending));
        let stem = packed.unwrap_or(&lower);
        if lower.ends_with(".safetensors") {
            Self::Vectors
        } else if [".tar", "idx1-ubyte", "idx3-ubyte"].iter().any(|ending| stem.ends_with(ending)) {
            Self::Images
        } else {
            Self::Columns
        }
    }
}
