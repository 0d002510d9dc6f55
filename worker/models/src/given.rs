//! What a network reads of some rows: tokens, or vectors that another network has made of them.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use tch::{Device, Kind, Tensor};

use crate::{ModelError, batch::Batch, description::Description};

/// What a network reads of some rows.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// Token ids and their mask, as [`Model::forward`](crate::Model::forward) takes them.
    Tokens {
        /// i64 `[b, t]`.
        ids_bt: &'a Tensor,
        /// i64 `[b, t]`, 1 for a token, 0 for padding.
        mask_bt: &'a Tensor,
    },
    /// A vector for each row, f32 `[b, d]`: of a probe, which has nothing below its head.
    Vectors(&'a Tensor),
}

impl Given<'_> {
    /// How many rows.
    pub(crate) fn rows(&self) -> i64 {
        let (Self::Tokens { ids_bt: rows, .. } | Self::Vectors(rows)) = self;
        rows.size().first().copied().unwrap_or_default()
    }

    /// The batch, checked and on `device`. A vector stands where the state of a row's one token would.
    ///
    /// # Errors
    /// As [`Batch::new`]; if the model reads the other of the two, or vectors of another width.
    pub(crate) fn batch(&self, description: &Description, device: Device) -> Result<Batch, ModelError> {
        let refuse = |message: String| Err(ModelError::Batch(message));
        match *self {
            Self::Tokens { .. } if description.is_probe() => {
                refuse("it has tokens, but a probe reads vectors".to_owned())
            }
            Self::Tokens { ids_bt, mask_bt } => Batch::new(description, ids_bt, mask_bt, device),
            Self::Vectors(_) if !description.is_probe() => {
                refuse(format!("it has vectors, but a {} model reads tokens", description.family.model_type))
            }
            Self::Vectors(x_bd) => {
                let (found, width) = (x_bd.size(), description.hidden as i64);
                if found.len() != 2 || found[0] == 0 || found[1] != width || x_bd.kind() != Kind::Float {
                    let kind = x_bd.kind();
                    return refuse(format!("its vectors are {kind:?} {found:?}, not Float [rows, {width}]"));
                }
                let ids_bt = Tensor::zeros([found[0], 1], (Kind::Int64, Device::Cpu));
                let mut batch = Batch::new(description, &ids_bt, &ids_bt.ones_like(), device)?;
                batch.vectors_bd = Some(x_bd.to_device(device));
                Ok(batch)
            }
        }
    }
}
