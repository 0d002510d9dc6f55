//! A snapshot as two files: its tensors in safetensors, flat and f32, and everything else in a binary header of our own.
//!
//! Whoever goes on from checkpoints reads the headers of all ranks, and of the tensors those that it wants.

use std::{collections::BTreeMap, ops::Range};

use fulcrum_common::codec::Format;
use fulcrum_models::Saved;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Part, Snapshot, StepLoss, Wanted};

/// What a header is.
const FORMAT: Format = Format { name: *b"snap", version: 2 };

/// A snapshot as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Everything but the tensors.
    pub header: Vec<u8>,
    /// The tensors.
    pub tensors: Vec<u8>,
}

/// A header that was read.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    step: u64,
    updates: u64,
    skipped: u64,
    micro_batch: u64,
    resized: bool,
    parts: Vec<Place>,
    memory: Vec<String>,
    losses: Vec<Step>,
}

/// Loss, learning rate, digest of rows, and whether the step was skipped.
type Step = (f64, f64, u64, bool);

/// A part, and the names of its tensors.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    name: String,
    numbers: Range<u64>,
    kinds: Vec<String>,
}

impl Files {
    /// Reads the tensors, wherever they are; afterwards they may change.
    ///
    /// # Errors
    /// If libtorch or the serializer refuses.
    pub fn of(snapshot: &Snapshot) -> Result<Self, Error> {
        let _guard = tch::no_grad_guard();
        let header = Header::of(snapshot);
        let parts = header.parts.iter().zip(&snapshot.parts).flat_map(|(place, part)| {
            part.tensors.iter().map(|(kind, tensor)| (place.key(kind), Saved::flat(tensor)))
        });
        let memory = snapshot.memory.iter().map(|(name, tensor)| (memory_key(name), Saved::flat(tensor)));
        let tensors = safetensors::serialize(parts.chain(memory), None).map_err(refused)?;
        Ok(Self { header: FORMAT.encode(&header).map_err(refused)?, tensors })
    }
}

impl Header {
    fn of(snapshot: &Snapshot) -> Self {
        let place = |Part { name, numbers, tensors }: &Part| Place {
            name: name.clone(),
            numbers: numbers.start as u64..numbers.end as u64,
            kinds: tensors.keys().cloned().collect(),
        };
        let loss = |it: &StepLoss| (it.loss, it.learning_rate, it.rows, it.skipped);
        Self {
            step: snapshot.step as u64,
            updates: snapshot.updates,
            skipped: snapshot.skipped as u64,
            micro_batch: snapshot.micro_batch as u64,
            resized: snapshot.resized,
            parts: snapshot.parts.iter().map(place).collect(),
            memory: snapshot.memory.keys().cloned().collect(),
            losses: snapshot.losses.iter().map(loss).collect(),
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// If the bytes are not what [`Files::of`] gave, or another version did.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        FORMAT.decode(bytes).map_err(refused)
    }

    /// Whether any of its tensors are wanted.
    pub fn is_wanted(&self, wanted: Wanted<'_>) -> bool {
        !self.memory.is_empty() || self.parts.iter().any(|place| place.is_wanted(wanted))
    }

    /// The snapshot with its tensors, as far as they are wanted. Where none are, the bytes may be empty.
    ///
    /// # Errors
    /// If the bytes are not the tensors of this header.
    pub fn snapshot(&self, tensors: &[u8], wanted: Wanted<'_>) -> Result<Snapshot, Error> {
        let (mut parts, mut memory) = (Vec::new(), BTreeMap::new());
        if self.is_wanted(wanted) {
            let stored = SafeTensors::deserialize(tensors).map_err(refused)?;
            for place in self.parts.iter().filter(|place| place.is_wanted(wanted)) {
                parts.push(place.part(&stored)?);
            }
            for name in &self.memory {
                memory.insert(name.clone(), tensor(&stored, &memory_key(name))?);
            }
        }
        let losses = self.losses.iter().enumerate();
        let loss = |(step, &(loss, learning_rate, rows, skipped)): (usize, &Step)| StepLoss {
            step,
            loss,
            learning_rate,
            rows,
            skipped,
        };
        Ok(Snapshot {
            step: number(self.step)?,
            updates: self.updates,
            skipped: number(self.skipped)?,
            micro_batch: number(self.micro_batch)?,
            resized: self.resized,
            parts,
            memory,
            losses: losses.map(loss).collect(),
        })
    }
}

impl Place {
    /// What one of its tensors is called in the file.
    fn key(&self, kind: &str) -> String {
        format!("{}[{}..{}].{kind}", self.name, self.numbers.start, self.numbers.end)
    }

    fn is_wanted(&self, wanted: Wanted<'_>) -> bool {
        let Range { start, end } = self.numbers;
        wanted(&self.name, &(start as usize..end as usize))
    }

    fn part(&self, stored: &SafeTensors<'_>) -> Result<Part, Error> {
        let numbers = number(self.numbers.start)?..number(self.numbers.end)?;
        let read = |kind: &String| {
            let tensor = tensor(stored, &self.key(kind))?;
            if tensor.numel() == numbers.len() {
                return Ok((kind.clone(), tensor));
            }
            let what = format!("{} has {} numbers", self.key(kind), tensor.numel());
            Err(Error::State(format!("a checkpoint does not hold together: {what}")))
        };
        let tensors = self.kinds.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Part { name: self.name.clone(), numbers, tensors })
    }
}

fn memory_key(name: &str) -> String {
    format!("memory.{name}")
}

fn number(found: u64) -> Result<usize, Error> {
    usize::try_from(found).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::State(format!("a checkpoint: {error}"))
}

/// A tensor of the file, on the CPU.
fn tensor(stored: &SafeTensors<'_>, key: &str) -> Result<Tensor, Error> {
    let view = stored.tensor(key).map_err(refused)?;
    match (view.dtype(), view.shape()) {
        (Dtype::F32, &[length]) => Ok(Tensor::f_from_data_size(view.data(), &[length as i64], Kind::Float)?),
        (kind, shape) => Err(Error::State(format!("a checkpoint: {key} is {kind:?} of shape {shape:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let tensors = |from: f32| {
            let numbers = Tensor::from_slice(&[from, from + 0.5]);
            BTreeMap::from([("weights".to_owned(), numbers.copy()), ("means".to_owned(), numbers * 2.0)])
        };
        let part = |name: &str, from| Part { name: name.to_owned(), numbers: 3..5, tensors: tensors(from) };
        let losses = vec![
            StepLoss { step: 0, loss: f64::NAN, learning_rate: 0.1, rows: 7, skipped: true },
            StepLoss { step: 1, loss: 0.1 + 0.2, learning_rate: 0.05, rows: u64::MAX, skipped: false },
        ];
        let memory = BTreeMap::from([("rows".to_owned(), Tensor::from_slice(&[4f32]))]);
        let parts = vec![part("a.weight", 1.0), part("b.weight", 7.0)];
        Snapshot { step: 2, updates: 1, skipped: 0, micro_batch: 8, resized: true, parts, memory, losses }
    }

    fn read(files: &Files, wanted: Wanted<'_>) -> Result<Snapshot, Error> {
        Header::read(&files.header)?.snapshot(&files.tensors, wanted)
    }

    #[test]
    fn what_is_written_is_read_back_as_far_as_it_is_wanted() {
        let files = Files::of(&snapshot()).unwrap();
        assert_eq!(files, Files::of(&snapshot()).unwrap());
        let all = read(&files, &|_, _| true).unwrap();
        let second = read(&files, &|name, numbers| name == "b.weight" && *numbers == (3..5)).unwrap();
        assert_eq!((all.step, all.updates, all.skipped, all.micro_batch, all.parts.len()), (2, 1, 0, 8, 2));
        assert!(all.resized && all.losses[0].loss.is_nan() && all.losses[0].skipped);
        assert_eq!(all.losses[1], snapshot().losses[1]);
        assert_eq!(all.memory["rows"], Tensor::from_slice(&[4f32]));
        let [part] = second.parts.as_slice() else { panic!("{} parts", second.parts.len()) };
        assert_eq!((part.name.as_str(), &part.numbers), ("b.weight", &(3..5)));
        assert_eq!(part.tensors, snapshot().parts[1].tensors);
        assert_eq!(part.tensors["means"], Tensor::from_slice(&[14f32, 15.0]));
    }

    #[test]
    fn tensors_of_another_snapshot_are_refused() {
        let files = Files::of(&snapshot()).unwrap();
        let mut other = snapshot();
        other.parts[0].numbers = 4..6;
        let tensors = Files::of(&other).unwrap().tensors;
        assert!(read(&Files { tensors, ..files.clone() }, &|_, _| true).is_err());
        let cut = files.tensors[..files.tensors.len() - 1].to_vec();
        assert!(read(&Files { tensors: cut, ..files.clone() }, &|_, _| true).is_err());
        assert!(read(&Files { header: files.tensors.clone(), ..files }, &|_, _| true).is_err());
    }
}
