//! Weights as transformers stores them.

use std::{borrow::Cow, collections::HashMap, path::Path};

use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};

use super::check_finite;
use crate::{ModelError, layout::Slot};

/// Writes the tensors in f32, as transformers stores them. The same tensors give the same bytes.
///
/// # Errors
/// If a weight is not finite (nobody could load the file) or the file cannot be written.
pub(crate) fn write(path: &Path, slots: &[Slot], parameters: &[(String, Tensor)]) -> Result<(), ModelError> {
    for (name, tensor) in parameters {
        check_finite(path, name, tensor)?;
    }
    let stored = slots.iter().zip(parameters).map(|(slot, (name, tensor))| {
        (name, Saved { tensor, shape: slot.stored_shape(), transposed: slot.transposed })
    });
    serialize(path, stored)
}

/// Writes tensors by name, in f32, as they lie in memory. The same tensors give the same bytes.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_named(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), ModelError> {
    for (name, tensor) in tensors {
        check_finite(path, name, tensor)?;
    }
    let stored = tensors.iter().map(|(name, tensor)| {
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        (name, Saved { tensor, shape, transposed: false })
    });
    serialize(path, stored)
}

fn serialize<'a>(
    path: &Path,
    stored: impl IntoIterator<Item = (&'a String, Saved<'a>)>,
) -> Result<(), ModelError> {
    // transformers refuses a file that does not say which framework it is for.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(stored, Some(format), path)
        .map_err(|error| ModelError::unwritten(path)(error))
}

/// A tensor on its way to the disk, in f32.
#[derive(Debug)]
pub struct Saved<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
    transposed: bool,
}

impl<'a> Saved<'a> {
    /// Its numbers in a row, without its shape.
    pub fn flat(tensor: &'a Tensor) -> Self {
        Self { tensor, shape: vec![tensor.numel()], transposed: false }
    }
}

impl View for Saved<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float);
        let tensor = if self.transposed { tensor.tr() } else { tensor }.contiguous();
        let mut bytes = vec![0; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}
