//! The open files of a checkpoint, as one set of named tensors.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use fulcrum_common::source::{
    CheckpointError, WeightFiles,
    checkpoint::{Header, Shard},
};
use safetensors::tensor::TensorInfo;
use tch::{Kind, Tensor};

use super::{check_finite, kind};
use crate::ModelError;

/// Files whose headers have been checked against their lengths and the index.
#[derive(Debug)]
pub(super) struct Shards {
    /// The one file, or the index.
    origin: PathBuf,
    files: Vec<Open>,
    /// Which file holds a tensor.
    homes: BTreeMap<String, usize>,
    /// Tensors in the order in which they lie on disk.
    names: Vec<String>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    header: Header,
}

impl Shards {
    pub(super) fn open(files: &WeightFiles) -> Result<Self, ModelError> {
        let (WeightFiles::Whole(origin) | WeightFiles::Sharded(origin)) = files;
        let mut shards =
            Self { origin: origin.clone(), files: vec![], homes: BTreeMap::new(), names: vec![] };
        for shard in files.shards()? {
            let (file, header) = shard.open()?;
            shards.take(shard, file, header);
        }
        Ok(shards)
    }

    /// An index has one shard for a tensor, and a shard holds what the index says: no name comes twice.
    fn take(&mut self, shard: Shard, file: File, header: Header) {
        let home = self.files.len();
        self.homes.extend(header.names().into_iter().map(|name| (name, home)));
        self.names.extend(header.names());
        self.files.push(Open { path: shard.path, file, header });
    }

    /// The file that says which tensors there are.
    pub(super) fn origin(&self) -> &Path {
        &self.origin
    }

    /// Every tensor.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The file that holds a tensor.
    pub(super) fn path(&self, name: &str) -> &Path {
        &self.home(name).path
    }

    pub(super) fn info(&self, name: &str) -> &TensorInfo {
        self.home(name).header.info(name).expect("a tensor is in the header of its file")
    }

    fn home(&self, name: &str) -> &Open {
        &self.files[self.homes[name]]
    }

    /// One tensor as it lies on disk, in f32. Its kind must be one that is read.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let Open { path, file, header } = self.home(name);
        let TensorInfo { dtype, shape, data_offsets: (begin, end) } = self.info(name);
        let mut bytes = vec![0; end - begin];
        let mut file = file;
        let read = file.seek(SeekFrom::Start(header.data() + *begin as u64));
        read.and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| CheckpointError::Read { path: path.clone(), source })?;
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let kind = kind(*dtype).expect("kinds are checked before weights are read");
        let tensor = Tensor::f_from_data_size(&bytes, &shape, kind)?.f_to_kind(Kind::Float)?;
        check_finite(path, name, &tensor)?;
        Ok(tensor)
    }
}
