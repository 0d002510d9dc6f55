//! tch's words for types and reductions, in NCCL's.

use cudarc::nccl::sys::{ncclDataType_t, ncclRedOp_t};
use tch::Kind;

use crate::Reduction;

/// The type on the wire; none for those that no back-end carries.
pub(super) fn data_type(kind: Kind) -> Option<ncclDataType_t> {
    Some(match kind {
        Kind::Float => ncclDataType_t::ncclFloat32,
        Kind::Double => ncclDataType_t::ncclFloat64,
        Kind::Half => ncclDataType_t::ncclFloat16,
        Kind::BFloat16 => ncclDataType_t::ncclBfloat16,
        Kind::Int64 => ncclDataType_t::ncclInt64,
        Kind::Int => ncclDataType_t::ncclInt32,
        Kind::Int8 => ncclDataType_t::ncclInt8,
        Kind::Uint8 => ncclDataType_t::ncclUint8,
        _ => return None,
    })
}

/// The reduction on the device.
pub(super) fn reduction(op: Reduction) -> ncclRedOp_t {
    match op {
        Reduction::Sum => ncclRedOp_t::ncclSum,
        Reduction::Mean => ncclRedOp_t::ncclAvg,
        Reduction::Max => ncclRedOp_t::ncclMax,
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_torch_shim::check;
    use tch::{Device, Tensor};

    use super::*;

    #[test]
    fn exactly_the_types_that_every_back_end_carries_have_a_type_on_the_wire() {
        let kinds = [
            Kind::Float,
            Kind::Double,
            Kind::Half,
            Kind::BFloat16,
            Kind::Int64,
            Kind::Int,
            Kind::Int16,
            Kind::Int8,
            Kind::Uint8,
            Kind::Bool,
            Kind::ComplexFloat,
            Kind::ComplexDouble,
        ];
        for kind in kinds {
            let carried = check::carried(&Tensor::zeros([1], (kind, Device::Cpu)), None).is_ok();
            assert_eq!(data_type(kind).is_some(), carried, "{kind:?}");
        }
    }
}
