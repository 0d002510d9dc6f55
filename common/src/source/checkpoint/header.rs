//! The header of a safetensors file: eight bytes of length, JSON, then the numbers without gaps.

use std::{io::Read, path::Path};

use safetensors::{
    SafeTensorError,
    tensor::{Metadata, TensorInfo},
};

use super::CheckpointError;

/// The longest header that is read: a few hundred bytes for each of 100,000 tensors.
const LIMIT: u64 = 1 << 25;

/// A header that fits its file: every tensor lies inside it, none over another.
#[derive(Debug)]
pub struct Header {
    tensors: Metadata,
    data: u64,
}

impl Header {
    /// Reads the header of a file of `length` bytes; `path` names it in messages.
    ///
    /// # Errors
    /// If it cannot be read, is no header, or claims other bytes than the file has.
    pub fn read(file: &mut impl Read, length: u64, path: &Path) -> Result<Self, CheckpointError> {
        let broken = |source| CheckpointError::Safetensors { path: path.to_owned(), source };
        let mut fill = |bytes: &mut [u8]| {
            let read = file.read_exact(bytes);
            read.map_err(|source| CheckpointError::Read { path: path.to_owned(), source })
        };
        let rest = length.checked_sub(8).ok_or_else(|| broken(SafeTensorError::HeaderTooSmall))?;
        let mut prefix = [0; 8];
        fill(&mut prefix)?;
        let bytes = u64::from_le_bytes(prefix);
        if bytes > rest {
            return Err(broken(SafeTensorError::InvalidHeaderLength));
        }
        if bytes > LIMIT {
            let path = path.to_owned();
            return Err(CheckpointError::TooLong { path, what: "header", bytes, limit: LIMIT });
        }
        let mut text = vec![0; bytes as usize];
        fill(&mut text)?;
        let tensors: Metadata = serde_json::from_slice(&text)
            .map_err(|error| broken(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        if tensors.data_len() as u64 != rest - bytes {
            return Err(broken(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self { tensors, data: 8 + bytes })
    }

    /// Names of the tensors, in the order in which they lie in the file.
    pub fn names(&self) -> Vec<String> {
        self.tensors.offset_keys()
    }

    /// Kind, shape and place of a tensor; the place counts from [`Header::data`].
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.info(name)
    }

    /// Where the first tensor begins in the file.
    pub fn data(&self) -> u64 {
        self.data
    }
}
