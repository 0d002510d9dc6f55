//! What a worker computes on.

use std::{fmt, str::FromStr};

use fulcrum_torch_shim::cuda;

/// A device of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The processor.
    Cpu,
    /// The GPU of this number, as CUDA counts them.
    Cuda(usize),
}

impl Device {
    /// Makes libtorch ready for it. To be called before the first tensor.
    ///
    /// # Errors
    /// If this machine has no such device, or not the libraries for it.
    pub(crate) fn open(self) -> anyhow::Result<()> {
        match self {
            Self::Cpu => Ok(()),
            Self::Cuda(ordinal) => exists(ordinal, cuda::open()?),
        }
    }

    /// As tch says it.
    pub(crate) fn torch(self) -> tch::Device {
        match self {
            Self::Cpu => tch::Device::Cpu,
            Self::Cuda(ordinal) => tch::Device::Cuda(ordinal),
        }
    }
}

fn exists(ordinal: usize, count: usize) -> anyhow::Result<()> {
    let s = if count == 1 { "" } else { "s" };
    anyhow::ensure!(ordinal < count, "there is no cuda:{ordinal}: this machine shows {count} CUDA device{s}");
    Ok(())
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(Self::Cuda).ok_or_else(|| format!("{text:?} is none of cpu, cuda and cuda:N"))
    }
}

/// The word in the protocol.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_as_it_is_written_and_cuda_alone_is_the_first() {
        for (text, device, written) in [
            ("cpu", Device::Cpu, "cpu"),
            ("cuda", Device::Cuda(0), "cuda:0"),
            ("cuda:3", Device::Cuda(3), "cuda:3"),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), written);
        }
        for wrong in ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", ""] {
            assert!(wrong.parse::<Device>().unwrap_err().contains("none of cpu, cuda and cuda:N"), "{wrong}");
        }
    }

    #[test]
    fn a_number_beyond_the_machines_is_named() {
        assert!(exists(0, 1).is_ok());
        let error = exists(3, 1).unwrap_err().to_string();
        assert_eq!(error, "there is no cuda:3: this machine shows 1 CUDA device");
    }
}
