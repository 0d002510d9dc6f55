//! Updates of optimizers over flat tensors, each as one kernel.

mod adamw;
mod sgd;

use tch::{Device, Kind, Tensor};

pub use adamw::{AdamW, Moments, fused_adamw};
pub use sgd::{Sgd, fused_sgd};

use crate::Error;

/// The device of `lists` of tensors that are parallel to the first; none if they are empty.
///
/// # Errors
/// If the tensors are not contiguous ones of f32, of the same number and lengths, on one device.
fn fitting(lists: &[&[Tensor]]) -> Result<Option<Device>, Error> {
    let [first, ..] = lists else { return Ok(None) };
    if lists.iter().any(|list| list.len() != first.len()) {
        let lengths: Vec<_> = lists.iter().map(|list| list.len()).collect();
        return Err(Error::new(format!("lists of {lengths:?} tensors differ")));
    }
    let Some(device) = first.first().map(Tensor::device) else { return Ok(None) };
    for (tensor, model) in lists.iter().flat_map(|list| list.iter().zip(*first)) {
        let is = (tensor.kind(), tensor.numel(), tensor.device(), tensor.is_contiguous());
        let length = model.numel();
        if is != (Kind::Float, length, device, true) {
            let expected = format!("{length} contiguous f32 values on {device:?}");
            return Err(Error::new(format!("a fused update expects {expected}, got {is:?}")));
        }
    }
    Ok(Some(device))
}
