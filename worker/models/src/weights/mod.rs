//! Weights on disk: the tensors of a checkpoint, checked against those that the configuration calls for.
//!
//! Every header is checked in full before any weight is read. Weights are then read one tensor at a time, when they
//! are asked for, so loading takes the memory of the model and of its largest tensor, or of less than the model; mapping the files would save a copy
//! but is unsafe (somebody may change them under us).

mod names;
mod shards;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use fulcrum_common::source::WeightFiles;
use safetensors::{Dtype, tensor::TensorInfo};
use tch::{Kind, Tensor};

use crate::{ModelError, ModelFiles, description::Description, families::Module, layout::Slot};
use names::match_names;
use shards::Shards;

pub use write::Saved;
pub(crate) use write::{write, write_named};

/// A weight in its file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    shards: Arc<Shards>,
    name: String,
    transposed: bool,
}

impl Stored {
    /// As the model has it: f32, on the CPU.
    ///
    /// # Errors
    /// If it cannot be read, or is not finite.
    pub(crate) fn tensor(&self) -> Result<Tensor, ModelError> {
        let stored = self.shards.tensor(&self.name)?;
        Ok(if self.transposed { stored.f_tr()?.f_contiguous()? } else { stored })
    }
}

/// Where the tensors of `slots` are, in their order.
///
/// # Errors
/// If a file is cut short, malformed, or pickled; index and shards differ; a tensor is missing, extra, of another
/// shape or kind; or the copy of an embedding differs from it.
pub(crate) fn open(
    files: &ModelFiles,
    description: &Description,
    slots: &[Slot],
) -> Result<Vec<Stored>, ModelError> {
    let shards = Arc::new(Shards::open(&files.weights)?);
    let found = match_names(description, slots, &shards)?;
    for (slot, name) in slots.iter().zip(&found.slots) {
        check(name, &slot.stored_shape(), &shards)?;
    }
    let embedding = slots.iter().position(|slot| slot.place.module == Module::TokenEmbedding);
    if let (Some(copy), Some(original)) = (&found.unembedding, embedding) {
        check(copy, &slots[original].stored_shape(), &shards)?;
        let name = &found.slots[original];
        if shards.tensor(copy)? != shards.tensor(name)? {
            let (path, other) = (shards.path(copy).to_owned(), name.clone());
            return Err(ModelError::Contradiction { path, name: copy.clone(), other });
        }
    }
    let stored = |(slot, name): (&Slot, String)| {
        let shards = Arc::clone(&shards);
        Stored { shards, name, transposed: slot.transposed }
    };
    Ok(slots.iter().zip(found.slots).map(stored).collect())
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

/// Every tensor by its name, in f32 on the CPU, but those whose names end so.
///
/// # Errors
/// If a file cannot be read, or a tensor is of another kind or not finite.
pub(crate) fn read_all(files: &WeightFiles, but: &str) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let shards = Shards::open(files)?;
    let wanted = shards.names().filter(|name| !name.ends_with(but));
    let read = |name: &str| {
        check(name, &shards.info(name).shape, &shards)?;
        Ok((name.to_owned(), shards.tensor(name)?))
    };
    wanted.map(read).collect()
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
