//! Tokenized rows, and how a list of them becomes one slot of padded tensors.
//!
//! Shape suffixes: b rows of a slot, t tokens, c classes.

use tch::{Device, Kind, Tensor};

use crate::Error;

/// Tokenized rows, with soft or hard labels where there are any.
#[derive(Clone, Debug)]
pub struct Examples {
    tokens: Vec<Vec<i64>>,
    pad: i64,
    targets: Option<Targets>,
}

#[derive(Clone, Debug)]
struct Targets {
    classes: usize,
    /// Row after row, one probability per class.
    values: Vec<f32>,
}

/// The tensors of one forward pass.
#[derive(Debug)]
pub struct Padded {
    /// i64 `[b, t]`.
    pub ids_bt: Tensor,
    /// i64 `[b, t]`, 1 for a token, 0 for padding.
    pub mask_bt: Tensor,
    /// f32 `[b, c]`.
    pub targets_bc: Option<Tensor>,
}

impl Examples {
    /// Rows of token ids; `pad` fills short rows (the mask hides it).
    ///
    /// # Errors
    /// If a row has no token.
    pub fn new(tokens: Vec<Vec<i64>>, pad: i64) -> Result<Self, Error> {
        if let Some(row) = tokens.iter().position(Vec::is_empty) {
            return Err(Error::Examples(format!("row {row} has no tokens: remove it, or give it text")));
        }
        Ok(Self { tokens, pad, targets: None })
    }

    /// Adds a label to every row: `values` holds one probability per class, row after row
    /// (a hard label is one-hot).
    ///
    /// # Errors
    /// If there are more or fewer than `classes` values per row, or one is not in 0..=1.
    pub fn with_targets(mut self, values: Vec<f32>, classes: usize) -> Result<Self, Error> {
        let expected = self.len() * classes;
        if values.len() != expected || classes == 0 {
            let message =
                format!("{} label values for {} rows of {classes} classes", values.len(), self.len());
            return Err(Error::Examples(message));
        }
        if let Some(at) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
            let message =
                format!("row {} has a label of {}: it must be from 0 to 1", at / classes, values[at]);
            return Err(Error::Examples(message));
        }
        self.targets = Some(Targets { classes, values });
        Ok(self)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of one row.
    pub fn tokens(&self, row: usize) -> &[i64] {
        &self.tokens[row]
    }

    /// The tensors of one forward pass over `rows`, padded to the longest of them: the shape depends on
    /// these rows alone, never on who runs them. Ids and mask stay on the CPU, where models check them;
    /// labels go to `device`.
    pub fn pad(&self, rows: &[usize], device: Device) -> Padded {
        let longest = rows.iter().map(|&row| self.tokens[row].len()).max().unwrap_or(0);
        let shape = [rows.len() as i64, longest as i64];
        let mut ids = Vec::with_capacity(rows.len() * longest);
        let mut mask = Vec::with_capacity(rows.len() * longest);
        for &row in rows {
            let tokens = &self.tokens[row];
            ids.extend_from_slice(tokens);
            ids.resize(ids.len() + longest - tokens.len(), self.pad);
            mask.resize(mask.len() + tokens.len(), 1i64);
            mask.resize(mask.len() + longest - tokens.len(), 0);
        }
        Padded {
            ids_bt: Tensor::from_slice(&ids).view(shape),
            mask_bt: Tensor::from_slice(&mask).view(shape),
            targets_bc: self.targets(rows, device),
        }
    }

    /// Labels of `rows`, f32 `[b, c]`.
    pub fn targets(&self, rows: &[usize], device: Device) -> Option<Tensor> {
        let Targets { classes, values } = self.targets.as_ref()?;
        let picked: Vec<f32> =
            rows.iter().flat_map(|row| &values[row * classes..(row + 1) * classes]).copied().collect();
        let shape = [rows.len() as i64, *classes as i64];
        Some(Tensor::from_slice(&picked).view(shape).to_kind(Kind::Float).to_device(device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rows() -> Examples {
        Examples::new(vec![vec![5, 6, 7], vec![8]], 0).unwrap()
    }

    #[test]
    fn a_slot_is_padded_to_its_own_longest_row() {
        let padded = two_rows().pad(&[1, 0], Device::Cpu);
        assert_eq!(Vec::<Vec<i64>>::try_from(padded.ids_bt).unwrap(), [[8, 0, 0], [5, 6, 7]]);
        assert_eq!(Vec::<Vec<i64>>::try_from(padded.mask_bt).unwrap(), [[1, 0, 0], [1, 1, 1]]);
        assert_eq!(two_rows().pad(&[1], Device::Cpu).ids_bt.size(), [1, 1]);
    }

    #[test]
    fn labels_follow_their_rows() {
        let examples = two_rows().with_targets(vec![0.25, 0.75, 1.0, 0.0], 2).unwrap();
        let targets_bc = examples.pad(&[1, 0], Device::Cpu).targets_bc.unwrap();
        assert_eq!(Vec::<Vec<f32>>::try_from(targets_bc).unwrap(), [[1.0, 0.0], [0.25, 0.75]]);
    }

    #[test]
    fn rows_and_labels_that_do_not_fit_are_refused() {
        assert!(Examples::new(vec![vec![1], vec![]], 0).unwrap_err().to_string().contains("row 1"));
        assert!(two_rows().with_targets(vec![1.0; 3], 2).is_err());
        for wrong in [f32::NAN, -0.1, 1.5, f32::INFINITY] {
            let error = two_rows().with_targets(vec![0.0, 1.0, wrong, 0.0], 2).unwrap_err();
            assert!(error.to_string().starts_with("row 1 has a label of"), "{error}");
        }
    }
}
