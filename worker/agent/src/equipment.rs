//! What this machine has for workers, as its libraries see it.

use fulcrum_common::equipment::Equipment;
use fulcrum_torch_shim::cuda;

use crate::{bench::gpu_model, device::Device};

/// Opens the libraries and looks. To be called before the first tensor.
pub(crate) fn find() -> Equipment {
    let gpus = cuda::open().map_err(|error| error.to_string());
    let model = gpus.is_ok().then(|| gpu_model(Device::Cuda(0))).flatten();
    Equipment { gpus, model, nccl: fulcrum_collective::nccl_release().map_err(|error| error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_has_its_reason() {
        let found = find();
        let told = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Equipment>(&told).unwrap(), found);
        for reason in [found.gpus.map(|_| ()), found.nccl.map(|_| ())].into_iter().filter_map(Result::err) {
            assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
        }
    }
}
