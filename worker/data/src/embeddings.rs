//! Embeddings in safetensors files: a tensor `labels` with the class of each row, and tensors with a vector for each.
//!
//! A file is never in memory as a whole: its header is checked, labels are read, and vectors are read one by one.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use fulcrum_common::source::checkpoint::Header;
use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorInfo};
use serde_json::Value;

use crate::{
    error::{DataError, Result},
    source::{Place, Record},
};

/// The tensor that holds the class of each row.
const LABELS: &str = "labels";

/// The rows of a file: the columns `name` (file and place) and `label` (a number).
pub(crate) fn records(
    name: &str,
    path: &Path,
) -> Result<impl Iterator<Item = Result<(Place, Record)>> + use<>> {
    let labels = Stored::open(path, name)?.labels()?;
    let (name, file): (String, Arc<str>) = (name.to_owned(), name.into());
    Ok(labels.into_iter().enumerate().map(move |(row, label)| {
        let columns = [("name", Value::from(format!("{name} {row}"))), ("label", label.into())];
        let record = columns.map(|(column, value)| (column.to_owned(), value)).into();
        Ok((Place::row(file.clone(), row as u64 + 1), record))
    }))
}

/// One tensor of each of some files, whose rows are counted through all of them.
#[derive(Debug)]
pub struct Vectors {
    files: Vec<(Stored, TensorInfo)>,
    width: usize,
}

impl Vectors {
    /// Opens the files, `(path, name for messages)`.
    ///
    /// # Errors
    /// If one is no safetensors file, lacks the tensor, or has it in another shape than a row for each label, as wide as in the
    /// other files, or of another kind than f64, f32, f16 and bf16.
    pub fn open<'a>(files: impl IntoIterator<Item = (&'a PathBuf, &'a str)>, tensor: &str) -> Result<Self> {
        let mut found = Vectors { files: Vec::new(), width: 0 };
        for (path, name) in files {
            let file = Stored::open(path, name)?;
            let (info, rows) = (file.info(tensor)?.clone(), file.labels()?.len());
            let width = match info.shape[..] {
                [found, width] if found == rows && width > 0 => width,
                _ => {
                    let shape = &info.shape;
                    return Err(file.fault(format!("{tensor} is {shape:?}, but there are {rows} labels")));
                }
            };
            if !matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(file.fault(format!("{tensor} is {}: use F64, F32, F16 or BF16", info.dtype)));
            }
            if found.width != 0 && found.width != width {
                let before = found.width;
                return Err(file.fault(format!("{tensor} has {width} numbers per row, {before} before it")));
            }
            found.width = width;
            found.files.push((file, info));
        }
        Ok(found)
    }

    /// Numbers per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The vector of a row.
    ///
    /// # Errors
    /// If there is no such row, it cannot be read, or a number is not finite.
    pub fn read(&self, row: i64) -> Result<Vec<f32>> {
        let absent = || DataError::value(format!("row {row} is none of the files of embeddings"));
        let mut at = usize::try_from(row).map_err(|_| absent())?;
        for (file, info) in &self.files {
            if at < info.shape[0] {
                let vector = file.row(info, at, self.width)?;
                return match vector.iter().all(|number| number.is_finite()) {
                    true => Ok(vector),
                    false => Err(file.fault(format!("row {at} holds a number that is not finite"))),
                };
            }
            at -= info.shape[0];
        }
        Err(absent())
    }
}

/// An open file whose header has been checked.
#[derive(Debug)]
struct Stored {
    name: String,
    file: File,
    header: Header,
}

impl Stored {
    fn open(path: &Path, name: &str) -> Result<Self> {
        let mut file = File::open(path).map_err(DataError::io(path))?;
        let length = file.metadata().map_err(DataError::io(path))?.len();
        let header = Header::read(&mut file, length, Path::new(name)).map_err(DataError::value_of)?;
        Ok(Self { name: name.to_owned(), file, header })
    }

    fn fault(&self, what: String) -> DataError {
        DataError::file(Path::new(&self.name), what)
    }

    fn info(&self, tensor: &str) -> Result<&TensorInfo> {
        self.header.info(tensor).ok_or_else(|| {
            let known = self.header.names().join(", ");
            self.fault(format!("has no tensor {tensor:?}; it has {known}"))
        })
    }

    fn labels(&self) -> Result<Vec<i64>> {
        let info = self.info(LABELS)?;
        let &[rows] = info.shape.as_slice() else {
            return Err(self.fault(format!("{LABELS} is {:?}: one number per row is needed", info.shape)));
        };
        let bytes = self.bytes(info, 0, rows)?;
        let numbers = match info.dtype {
            Dtype::U8 => bytes.iter().map(|&byte| byte.into()).collect(),
            Dtype::I32 => each(&bytes, |b| i32::from_le_bytes(b).into()),
            Dtype::I64 => each(&bytes, i64::from_le_bytes),
            other => return Err(self.fault(format!("{LABELS} is {other}: use U8, I32 or I64"))),
        };
        Ok(numbers)
    }

    fn row(&self, info: &TensorInfo, row: usize, width: usize) -> Result<Vec<f32>> {
        let bytes = self.bytes(info, row * width, width)?;
        Ok(match info.dtype {
            Dtype::F64 => each(&bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F16 => each(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => each(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            _ => each(&bytes, f32::from_le_bytes),
        })
    }

    /// So many numbers of a tensor.
    fn bytes(&self, info: &TensorInfo, from: usize, count: usize) -> Result<Vec<u8>> {
        let size = info.dtype.bitsize() / 8;
        let mut bytes = vec![0; count * size];
        let at = self.header.data() + (info.data_offsets.0 + from * size) as u64;
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|error| self.fault(format!("cannot be read: {error}")))?;
        Ok(bytes)
    }
}

fn each<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|chunk| number(chunk.try_into().expect("N bytes"))).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use safetensors::tensor::TensorView;

    use super::*;

    type Named<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);
    type Tensors<'a> = &'a [Named<'a>];

    fn written(folder: &Path, name: &str, tensors: Tensors<'_>) -> PathBuf {
        let views: BTreeMap<_, _> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
            })
            .collect();
        let path = folder.join(name);
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        path
    }

    fn x(dtype: Dtype, shape: &'static [usize], bytes: Vec<u8>) -> Named<'static> {
        ("x", dtype, shape, bytes)
    }

    fn halves(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect()
    }

    #[test]
    fn rows_are_counted_through_all_files_and_their_numbers_become_f32() {
        let folder = tempfile::tempdir().unwrap();
        let first = written(
            folder.path(),
            "a",
            &[
                ("labels", Dtype::U8, &[2], vec![1, 0]),
                ("x.features", Dtype::F16, &[2, 2], halves(&[0.5, 1.0, -2.0, 3.0])),
            ],
        );
        let single = [7.25f32, 8.0].map(f32::to_le_bytes).concat();
        let second = written(
            folder.path(),
            "b",
            &[
                ("labels", Dtype::I64, &[1], 2i64.to_le_bytes().into()),
                ("x.features", Dtype::F32, &[1, 2], single),
            ],
        );
        let vectors = Vectors::open([(&first, "a"), (&second, "b")], "x.features").unwrap();
        let rows: Vec<_> = [2, 0, 1].map(|row| vectors.read(row).unwrap()).into();
        assert_eq!((rows, vectors.width()), (vec![vec![7.25, 8.0], vec![0.5, 1.0], vec![-2.0, 3.0]], 2));
        assert!(vectors.read(3).is_err() && vectors.read(-1).is_err());
        let labels: Vec<_> =
            records("a", &first).unwrap().map(|row| row.unwrap().1["label"].clone()).collect();
        assert_eq!(labels, [1, 0]);
    }

    #[test]
    fn files_that_are_not_as_they_should_be_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let labels = || ("labels", Dtype::U8, &[2usize][..], vec![1, 0]);
        let refused = |tensors: Tensors<'_>, tensor: &str| {
            let path = written(folder.path(), "f", tensors);
            let opened = Vectors::open([(&path, "f.safetensors")], tensor);
            opened.and_then(|vectors| vectors.read(0).map(drop)).unwrap_err().to_string()
        };
        let cases: [(Tensors<'_>, &str); 6] = [
            (&[labels()], "f.safetensors: has no tensor \"x\"; it has labels"),
            (&[x(Dtype::F16, &[2, 1], halves(&[1.0, 2.0]))], "f.safetensors: has no tensor \"labels\""),
            (
                &[labels(), x(Dtype::F16, &[1, 2], halves(&[1.0, 2.0]))],
                "f.safetensors: x is [1, 2], but there are 2",
            ),
            (&[labels(), x(Dtype::U8, &[2, 1], vec![1, 2])], "f.safetensors: x is U8: use F64"),
            (
                &[labels(), x(Dtype::F16, &[2, 1], halves(&[f32::NAN, 2.0]))],
                "f.safetensors: row 0 holds a number that is not finite",
            ),
            (
                &[
                    ("labels", Dtype::F16, &[2], halves(&[1.0, 2.0])),
                    x(Dtype::F16, &[2, 1], halves(&[1.0, 2.0])),
                ],
                "f.safetensors: labels is F16: use U8, I32 or I64",
            ),
        ];
        for (tensors, expected) in cases {
            let message = refused(tensors, "x");
            assert!(message.starts_with(expected), "{message}");
        }
        let path = folder.path().join("cut");
        fs::write(&path, [9u8; 20]).unwrap();
        assert!(Vectors::open([(&path, "cut")], "x").is_err());
    }
}
