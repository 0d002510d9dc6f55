//! Tables of rows, splits, templates, tokens; embeddings, images and chess positions; and the built-in generated tasks.
//!
//! Everything here turns bytes from outside (dataset files, tokenizer files) into checked values, or checked
//! values into files with the same bytes on every machine. No tensors: what a model eats is made in `train`.

pub mod arithmetic;
pub mod chat;
pub mod chess;
mod columns;
pub mod completions;
pub mod decoding;
pub mod embeddings;
pub mod error;
pub mod features;
pub mod format;
pub mod formatters;
pub mod images;
pub mod mixture;
pub mod positions;
pub mod predictions;
pub mod prepare;
pub mod questions;
pub mod soft_labels;
pub mod source;
pub mod split;
pub mod table;
pub mod template;
pub mod tokenizer;
pub mod tokens;

pub use chat::ChatTemplate;
pub use completions::{Completion, Completions};
pub use decoding::Decoder;
pub use error::DataError;
pub use format::{Example, Examples, Formatter};
pub use positions::Positions;
pub use predictions::{LogProbabilities, Probabilities};
pub use questions::Questions;
pub use table::{Labels, Table};
pub use tokenizer::Tokenizer;
