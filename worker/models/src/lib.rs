//! Transformers in the Hugging Face layout: decoder, encoder, heads.
//!
//! Reading order: [`model`](Model) and `reading_on` (what others call), `description` and `traits` (what a transformer
//! is made of), `families` (how each family spells it), `layout` (its tensors), `files`, `weights`, `absent` and
//! `generation_config` (what is on disk), then the computation: `walk`, `given`, `batch`, `attend`, `modules`, `attention`, `rotary`,
//! `cache`, `decoder`, `encoder`, `probe`, `head`; `lora` and `noise` are for training. `backbone` stands
//! apart: networks that make vectors of images, which are not trained.
//!
//! Nothing here knows of parallelism or of training.

mod absent;
mod attend;
mod attention;
mod backbone;
mod batch;
mod cache;
mod cost;
mod decoder;
mod description;
mod encoder;
mod error;
mod families;
mod files;
mod freeze;
mod generation_config;
mod given;
mod head;
mod initialize;
mod layout;
mod lora;
mod model;
mod modules;
mod noise;
mod probe;
mod reading_on;
mod rotary;
mod summary;
mod traits;
mod walk;
mod weights;

pub use backbone::Backbone;
pub use cache::Cache;
pub use description::SpecialTokens;
pub use error::ModelError;
pub use files::ModelFiles;
pub use fulcrum_common::source::WeightFiles;
pub use generation_config::generation_ends;
pub use given::Given;
pub use head::{Init, NewHead};
pub use model::Model;
pub use noise::Noise;
pub use summary::Summary;
pub use walk::Walk;
pub use weights::Saved;
