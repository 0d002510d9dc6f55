//! Weights on disk: the tensors of a checkpoint, checked against those that the configuration calls for.
//!
//! Every header is checked in full before any weight is read. Weights are then read shard by shard and one tensor at
//! a time, so loading takes the memory of the model and of its largest tensor; mapping the files would save a copy
//! but is unsafe (somebody may change them under us).

mod names;
mod shards;
mod write;

use std::{collections::BTreeSet, path::Path};

use fulcrum_common::source::WeightFiles;
use safetensors::{Dtype, tensor::TensorInfo};
use tch::{Kind, Tensor};

use crate::{ModelError, ModelFiles, description::Description, families::Module, layout::Slot};
use names::match_names;
use shards::Shards;

pub(crate) use write::{write, write_named};

/// The tensors of `slots`, in their order: f32, on the CPU.
///
/// # Errors
/// If a file is cut short, malformed, or pickled; index and shards differ; a tensor is missing, extra, of another
/// shape or kind, or not finite.
pub(crate) fn read(
    files: &ModelFiles,
    description: &Description,
    slots: &[Slot],
) -> Result<Vec<Tensor>, ModelError> {
    let shards = Shards::open(&files.weights)?;
    let found = match_names(description, slots, &shards)?;
    for (slot, name) in slots.iter().zip(&found.slots) {
        check(name, &slot.stored_shape(), &shards)?;
    }
    let embedding = slots.iter().position(|slot| slot.place.module == Module::TokenEmbedding);
    if let (Some(copy), Some(original)) = (&found.unembedding, embedding) {
        check(copy, &slots[original].stored_shape(), &shards)?;
    }
    let mut tensors = Vec::with_capacity(slots.len());
    for (slot, name) in slots.iter().zip(&found.slots) {
        let stored = shards.tensor(name)?;
        tensors.push(if slot.transposed { stored.f_tr()?.f_contiguous()? } else { stored });
    }
    if let (Some(copy), Some(original)) = (&found.unembedding, embedding)
        && shards.tensor(copy)? != tensors[original]
    {
        let (path, other) = (shards.path(copy).to_owned(), found.slots[original].clone());
        return Err(ModelError::Contradiction { path, name: copy.clone(), other });
    }
    Ok(tensors)
}

/// The tensors of a file that must hold these names and shapes, and nothing else: f32, on the CPU.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_exactly(path: &Path, wanted: &[(String, Vec<usize>)]) -> Result<Vec<Tensor>, ModelError> {
    let shards = Shards::open(&WeightFiles::Whole(path.to_owned()))?;
    let found: BTreeSet<&str> = shards.names().collect();
    let known: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(&name) = found.difference(&known).next() {
        return Err(ModelError::Extra { path: path.to_owned(), name: name.to_owned() });
    }
    if let Some(&name) = known.difference(&found).next() {
        return Err(ModelError::Missing { path: path.to_owned(), name: name.to_owned() });
    }
    wanted.iter().try_for_each(|(name, shape)| check(name, shape, &shards))?;
    wanted.iter().map(|(name, _)| shards.tensor(name)).collect()
}

/// The shape of a tensor of a file, if it is there.
///
/// # Errors
/// If the file cannot be read, or is none of its kind.
pub(crate) fn shape(path: &Path, name: &str) -> Result<Option<Vec<usize>>, ModelError> {
    let shards = Shards::open(&WeightFiles::Whole(path.to_owned()))?;
    Ok(shards.names().any(|found| found == name).then(|| shards.info(name).shape.clone()))
}

fn check(name: &str, expected: &[usize], shards: &Shards) -> Result<(), ModelError> {
    let TensorInfo { shape, dtype, .. } = shards.info(name);
    let (path, name) = (shards.path(name).to_owned(), name.to_owned());
    if shape != expected {
        return Err(ModelError::Shape { path, name, found: shape.clone(), expected: expected.to_vec() });
    }
    kind(*dtype).map(|_| ()).ok_or_else(|| ModelError::Kind { path, name, found: dtype.to_string() })
}

/// libtorch's name of the kinds that are read.
fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F64 => Some(Kind::Double),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        _ => None,
    }
}

/// Whether every number is one. An f64 that is too large for f32 is none by then.
fn check_finite(path: &Path, name: &str, tensor: &Tensor) -> Result<(), ModelError> {
    if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1 {
        return Ok(());
    }
    Err(ModelError::NotFinite { path: path.to_owned(), name: name.to_owned() })
}
