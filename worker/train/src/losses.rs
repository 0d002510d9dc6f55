//! `losses.jsonl`: what a training leaves beside its model. No times: the same training gives the same bytes.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Error;

/// One step of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLoss {
    /// The step, counted from 0.
    pub step: usize,
    /// Mean loss over the global batch, before the step's update; NaN, `null` in the file, where it is not finite.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Digest of the rows that the ranks consumed, and where they stand in the batch: the same on any number of ranks.
    #[serde(serialize_with = "digits", deserialize_with = "from_digits")]
    pub rows: u64,
    /// Whether nothing was updated, as the loss or the gradient was not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// 16 hexadecimal digits: JSON's numbers have 53 bits.
pub(crate) fn digits<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{number:016x}"))
}

fn from_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    u64::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
}

/// Writes one JSON object per line.
///
/// # Errors
/// If the file cannot be written.
pub fn write_losses(path: &Path, losses: &[StepLoss]) -> Result<(), Error> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        for loss in losses {
            serde_json::to_writer(&mut file, loss)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_one_line_that_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses.jsonl");
        let losses = [
            StepLoss { step: 0, loss: 0.1 + 0.2, learning_rate: 1e-4, rows: 0xfedc, skipped: false },
            StepLoss { step: 1, loss: 0.25, learning_rate: 5e-5, rows: u64::MAX, skipped: true },
        ];
        write_losses(&path, &losses).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(
            r#"{"step":0,"loss":0.30000000000000004,"learning_rate":0.0001,"rows":"000000000000fedc"}"#
        ));
        let read: Vec<StepLoss> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, losses);
        assert!(write_losses(folder.path(), &losses).is_err(), "a folder cannot be written");
    }
}
