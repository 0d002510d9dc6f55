//! What the workers of this machine compute on.

use std::{fmt, str::FromStr};

/// A device for every seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Devices {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU of its own for each, in the order of the seats.
    OneGpuEach,
    /// One GPU for all.
    Gpu(usize),
}

impl Devices {
    /// The device of one of `workers` seats, as the worker's command line has it.
    pub(crate) fn of(self, seat: usize, workers: usize) -> Vec<String> {
        match self {
            Self::Cpu => vec!["--device=cpu".to_owned()],
            Self::OneGpuEach => vec![format!("--device=cuda:{seat}")],
            Self::Gpu(number) => {
                let shares = (workers > 1).then(|| "--shares-device".to_owned());
                [format!("--device=cuda:{number}")].into_iter().chain(shares).collect()
            }
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::OneGpuEach => f.write_str("cuda"),
            Self::Gpu(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::OneGpuEach),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Self::Gpu).ok_or_else(|| format!("{text:?} is none of cpu, cuda and cuda:N"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_alone_spreads_the_workers_over_the_gpus_and_a_number_makes_them_share_one() {
        let of = |text: &str, workers| text.parse().map(|devices: Devices| devices.of(1, workers).join(" "));
        assert_eq!(of("cpu", 2).unwrap(), "--device=cpu");
        assert_eq!(of("cuda", 2).unwrap(), "--device=cuda:1");
        assert_eq!(of("cuda:0", 2).unwrap(), "--device=cuda:0 --shares-device");
        assert_eq!(of("cuda:0", 1).unwrap(), "--device=cuda:0");
        for text in ["cpu", "cuda", "cuda:3"] {
            assert_eq!(text.parse::<Devices>().unwrap().to_string(), text);
        }
        assert_eq!(of("gpu", 1).unwrap_err(), "\"gpu\" is none of cpu, cuda and cuda:N");
    }
}
