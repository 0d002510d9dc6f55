//! Rows that are vectors: the files that hold them, mapped into memory, and how a slot's are picked.
//!
//! Shape suffixes: n rows of a file, b rows of a slot, d numbers of a vector.

use std::{ops::Range, path::Path};

use tch::{Device, Kind, Tensor};

use crate::{Error, batch::map};

/// Vectors of one width, row after row through all files.
#[derive(Debug)]
pub(crate) struct Features {
    /// f32 `[n, d]` each.
    files: Vec<Tensor>,
    width: usize,
    /// Where each row lies in them.
    places: Vec<usize>,
}

impl Features {
    /// Maps the rows `rows` of the files.
    ///
    /// # Errors
    /// If a file cannot be mapped or holds no whole number of vectors, or there are fewer rows.
    pub(crate) fn open(files: &[&Path], rows: Range<usize>, width: usize) -> Result<Self, Error> {
        let mapped = |path: &&Path| {
            let numbers = map(path, Kind::Float)?;
            if !numbers.numel().is_multiple_of(width) {
                let what = format!("{} numbers are no whole vectors of {width}", numbers.numel());
                return Err(Error::Tokens { path: path.to_path_buf(), what });
            }
            Ok(numbers.f_view([-1, width as i64])?)
        };
        let files = files.iter().map(mapped).collect::<Result<Vec<_>, Error>>()?;
        let there: usize = files.iter().map(|x_nd| x_nd.size()[0] as usize).sum();
        if rows.start > rows.end || rows.end > there {
            return Err(Error::Examples(format!(
                "rows {rows:?} are not within the {there} vectors there are"
            )));
        }
        Ok(Self { files, width, places: rows.collect() })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// These rows alone, in this order; all must be there.
    pub(crate) fn only(self, rows: &[usize]) -> Self {
        Self { places: rows.iter().map(|&row| self.places[row]).collect(), ..self }
    }

    /// The vectors of some rows, f32 `[b, d]`: nothing but zeros where there is to be none.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn pick(
        &self,
        rows: impl Iterator<Item = Option<usize>>,
        device: Device,
    ) -> Result<Tensor, Error> {
        let vector = |row: Option<usize>| {
            let Some(row) = row else {
                return Ok(Tensor::f_zeros([self.width as i64], (Kind::Float, Device::Cpu))?);
            };
            let mut at = self.places[row] as i64;
            for x_nd in &self.files {
                if at < x_nd.size()[0] {
                    return Ok(x_nd.f_get(at)?);
                }
                at -= x_nd.size()[0];
            }
            Err(Error::Examples(format!("there is no row {row}")))
        };
        let rows = rows.map(vector).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::f_stack(&rows, 0)?.f_to_device(device)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Examples;

    fn lists(tensor: Tensor) -> Vec<Vec<f32>> {
        tensor.try_into().unwrap()
    }

    #[test]
    fn rows_are_picked_through_all_files_and_any_stretch_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, numbers: &[f32]| {
            let path = folder.path().join(name);
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            fs::write(&path, bytes).unwrap();
            path
        };
        let (a, b) = (written("a", &[0.0, 1.0, 2.0, 3.0]), written("b", &[4.0, 5.0]));
        let files = [a.as_path(), b.as_path()];
        let examples = Examples::of_vectors(&files, 1..3, 2).unwrap();
        assert_eq!((examples.len(), examples.length(0), examples.predicted(0)), (2, 1, 0));
        let padded = examples.pad(&[1, 0, 1], Device::Cpu).unwrap();
        assert_eq!(padded.ids_bt.size(), [3, 1]);
        assert_eq!(lists(padded.vectors_bd.unwrap()), [[4.0, 5.0], [2.0, 3.0], [4.0, 5.0]]);
        let examples = examples.without([0]);
        let padded = examples.pad(&[1, 0], Device::Cpu).unwrap();
        assert_eq!(lists(padded.vectors_bd.unwrap()), [[4.0, 5.0], [0.0, 0.0]]);
        let padded = examples.only(&[1]).unwrap().pad(&[0], Device::Cpu).unwrap();
        assert_eq!(lists(padded.vectors_bd.unwrap()), [[4.0, 5.0]]);
        assert!(Examples::of_vectors(&files, 0..0, 2).unwrap().is_empty());
        let refused = |rows, width| Examples::of_vectors(&files, rows, width).unwrap_err().to_string();
        assert!(refused(1..4, 2).contains("rows 1..4 are not within the 3 vectors there are"));
        assert!(refused(0..1, 4).contains("b: 2 numbers are no whole vectors of 4"));
    }
}
