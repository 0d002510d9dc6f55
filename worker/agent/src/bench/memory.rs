//! The most memory that this process ever held.

use std::fs;

use fulcrum_torch_shim::cuda;

use crate::device::Device;

const MIB: f64 = 1024.0 * 1024.0;

/// Of the machine: the kernel's `VmHWM`. Not a number where the system does not tell.
pub(super) fn peak_rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    high_water_kib(&status).map_or(f64::NAN, |kib| kib / 1024.0)
}

fn high_water_kib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Of the device: what tensors held; none on a CPU.
///
/// # Errors
/// If libtorch does not tell.
pub(super) fn device_mib(device: Device) -> anyhow::Result<Option<f64>> {
    match device {
        Device::Cpu => Ok(None),
        Device::Cuda(ordinal) => Ok(Some(cuda::peak_memory(ordinal)? as f64 / MIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_off_the_status() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(high_water_kib(status), Some(20480.0));
        assert_eq!(high_water_kib("VmHWM:\tmuch\n"), None);
        assert!(peak_rss_mib() > 1.0);
    }
}
