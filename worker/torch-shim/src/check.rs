//! What every collective operation asks of its tensors, whoever carries it.

use tch::{Kind, Tensor};

use crate::{Error, Reduction};

/// Refuses what no back-end carries: a tensor with holes, a type without a wire format, the mean of integers.
///
/// # Errors
/// Says what is wrong with the tensor.
pub fn carried(tensor: &Tensor, op: Option<Reduction>) -> Result<(), Error> {
    let kind = tensor.kind();
    let float = matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16);
    if !float && !matches!(kind, Kind::Uint8 | Kind::Int8 | Kind::Int | Kind::Int64) {
        return Err(Error::new(format!("tensors of type {kind:?} are not carried")));
    }
    if op == Some(Reduction::Mean) && !float {
        return Err(Error::new(format!("the mean of {kind:?} is not a whole number: use the sum")));
    }
    if !tensor.is_contiguous() {
        return Err(Error::new(format!("a tensor of shape {:?} is not contiguous", tensor.size())));
    }
    Ok(())
}

/// Refuses a `whole` that is not of the type of `part` and `world` times as long.
///
/// # Errors
/// Names the two types or lengths.
pub fn share(part: &Tensor, whole: &Tensor, world: usize) -> Result<(), Error> {
    carried(part, None)?;
    carried(whole, None)?;
    if part.kind() != whole.kind() {
        return Err(Error::new(format!("types differ: {:?} and {:?}", part.kind(), whole.kind())));
    }
    let (part, whole) = (part.numel(), whole.numel());
    if part.checked_mul(world) != Some(whole) {
        return Err(Error::new(format!("{whole} values are not {part} for each of {world} ranks")));
    }
    Ok(())
}

/// Refuses a `root` beyond the world.
///
/// # Errors
/// Names both.
pub fn root(root: usize, world: usize) -> Result<(), Error> {
    if root < world {
        return Ok(());
    }
    Err(Error::new(format!("there is no rank {root} in a world of {world}")))
}
