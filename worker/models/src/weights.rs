//! Weights on disk: a safetensors file, checked against the tensors that the configuration calls for.
//!
//! The header is checked in full before any weight is read. Weights are then read one tensor at a time, so
//! loading takes the memory of the model and of its largest tensor; mapping the file would save a copy but is
//! unsafe (somebody may change it under us).

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use safetensors::{
    Dtype, SafeTensorError, View,
    tensor::{Metadata, TensorInfo},
};
use tch::{Device, Kind, Tensor};

use crate::{ModelError, description::Description, families::Module, layout::Slot};

/// The longest header that is read: a few hundred bytes for each of 100,000 tensors.
const HEADER_BYTES: u64 = 1 << 25;

/// The tensors of `slots`, in their order: f32, on the CPU.
///
/// # Errors
/// If the file is cut short or malformed, a tensor is missing, extra, of another shape or kind, or not finite.
pub(crate) fn read(
    path: &Path,
    description: &Description,
    slots: &[Slot],
) -> Result<Vec<Tensor>, ModelError> {
    let mut file = Weights::open(path)?;
    let found = match_names(path, description, slots, &file.header)?;
    for (slot, name) in slots.iter().zip(&found.slots) {
        check(name, &slot.stored_shape(), file.info(name))?;
    }
    let mut tensors = Vec::with_capacity(slots.len());
    for (slot, name) in slots.iter().zip(&found.slots) {
        let stored = file.tensor(name)?;
        tensors.push(if slot.transposed { stored.f_tr()?.f_contiguous()? } else { stored });
    }
    if let Some(copy) = &found.unembedding {
        let original = slots.iter().position(|slot| slot.place.module == Module::TokenEmbedding);
        let original = original.expect("every model embeds tokens");
        check(copy, &slots[original].stored_shape(), file.info(copy))?;
        if file.tensor(copy)? != tensors[original] {
            let other = found.slots[original].clone();
            return Err(ModelError::Contradiction { name: copy.clone(), other });
        }
    }
    Ok(tensors)
}

/// The names under which a file holds what the model needs.
struct Found {
    /// One per slot.
    slots: Vec<String>,
    /// A copy of the token embedding.
    unembedding: Option<String>,
}

/// Finds every slot in the header, and a place for every name of the header.
fn match_names(
    path: &Path,
    description: &Description,
    slots: &[Slot],
    header: &Metadata,
) -> Result<Found, ModelError> {
    let wanted: BTreeMap<&str, usize> =
        slots.iter().enumerate().map(|(at, slot)| (slot.name.as_str(), at)).collect();
    let mut found: Vec<Option<String>> = vec![None; slots.len()];
    let mut unembedding = None;
    for name in header.offset_keys() {
        let plain = plain_name(description, &name);
        let place = match wanted.get(plain.as_ref()) {
            Some(&at) => &mut found[at],
            None if description.family.ignored.iter().any(|ending| plain.ends_with(ending)) => continue,
            None if description.family.unembedding == Some(plain.as_ref()) => &mut unembedding,
            None => return Err(ModelError::Extra { path: path.to_owned(), name }),
        };
        if place.is_some() {
            return Err(ModelError::Extra { path: path.to_owned(), name });
        }
        *place = Some(name);
    }
    let missing =
        |slot: &Slot| ModelError::Missing { path: path.to_owned(), name: slot.full_name(description) };
    let slots: Result<_, _> =
        slots.iter().zip(found).map(|(slot, name)| name.ok_or_else(|| missing(slot))).collect();
    Ok(Found { slots: slots?, unembedding })
}

/// The name without the family's prefix and in today's spelling.
fn plain_name<'a>(description: &Description, name: &'a str) -> Cow<'a, str> {
    let plain = name.strip_prefix(description.family.prefix).unwrap_or(name);
    let renamed = description.family.renamed.iter().find_map(|(old, new)| {
        let stem = plain.strip_suffix(old)?;
        Some(Cow::Owned(format!("{stem}{new}")))
    });
    renamed.unwrap_or(Cow::Borrowed(plain))
}

fn check(name: &str, expected: &[usize], info: &TensorInfo) -> Result<(), ModelError> {
    if info.shape != expected {
        let (found, expected) = (info.shape.clone(), expected.to_vec());
        return Err(ModelError::Shape { name: name.to_owned(), found, expected });
    }
    kind(info.dtype)
        .map(|_| ())
        .ok_or_else(|| ModelError::Kind { name: name.to_owned(), found: info.dtype.to_string() })
}

/// libtorch's name of the kinds that are read.
fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        _ => None,
    }
}

/// An open safetensors file whose header has been checked against its length.
struct Weights<'a> {
    path: &'a Path,
    file: File,
    header: Metadata,
    /// Where the first tensor begins.
    data: u64,
}

impl<'a> Weights<'a> {
    fn open(path: &'a Path) -> Result<Self, ModelError> {
        let unreadable = |source: io::Error| ModelError::Read { path: path.to_owned(), source };
        let broken = |source| ModelError::Safetensors { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let rest = length.checked_sub(8).ok_or_else(|| broken(SafeTensorError::HeaderTooSmall))?;
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(unreadable)?;
        let bytes = u64::from_le_bytes(prefix);
        if bytes > rest {
            return Err(broken(SafeTensorError::InvalidHeaderLength));
        }
        if bytes > HEADER_BYTES {
            return Err(ModelError::TooLong {
                path: path.to_owned(),
                what: "header",
                bytes,
                limit: HEADER_BYTES,
            });
        }
        let mut text = vec![0; bytes as usize];
        file.read_exact(&mut text).map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&text)
            .map_err(|error| broken(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        if header.data_len() as u64 != rest - bytes {
            return Err(broken(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self { path, file, header, data: 8 + bytes })
    }

    fn info(&self, name: &str) -> &TensorInfo {
        self.header.info(name).expect("the name is from this header")
    }

    /// One tensor as it lies on disk, in f32.
    fn tensor(&mut self, name: &str) -> Result<Tensor, ModelError> {
        let TensorInfo { dtype, shape, data_offsets: (begin, end) } = self.info(name).clone();
        let mut bytes = vec![0; end - begin];
        let read = self.file.seek(SeekFrom::Start(self.data + begin as u64));
        read.and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|source| ModelError::Read { path: self.path.to_owned(), source })?;
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let kind = kind(dtype).expect("kinds are checked before weights are read");
        let tensor = Tensor::f_from_data_size(&bytes, &shape, kind)?.f_to_kind(Kind::Float)?;
        check_finite(name, &tensor)?;
        Ok(tensor)
    }
}

fn check_finite(name: &str, tensor: &Tensor) -> Result<(), ModelError> {
    if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1 {
        return Ok(());
    }
    Err(ModelError::NotFinite { name: name.to_owned() })
}

/// Writes the tensors in f32, as transformers stores them. The same tensors give the same bytes.
///
/// # Errors
/// If a weight is not finite (nobody could load the file) or the file cannot be written.
pub(crate) fn write(path: &Path, slots: &[Slot], parameters: &[(String, Tensor)]) -> Result<(), ModelError> {
    for (name, tensor) in parameters {
        check_finite(name, tensor)?;
    }
    let stored = slots.iter().zip(parameters).map(|(slot, (name, tensor))| {
        (name, Stored { tensor, shape: slot.stored_shape(), transposed: slot.transposed })
    });
    // transformers refuses a file that does not say which framework it is for.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(stored, Some(format), path)
        .map_err(|error| ModelError::Write { path: path.to_owned(), reason: error.to_string() })
}

/// A tensor on its way to the disk.
struct Stored<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
    transposed: bool,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu);
        let tensor = if self.transposed { tensor.tr() } else { tensor }.contiguous();
        let mut bytes = vec![0; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}
