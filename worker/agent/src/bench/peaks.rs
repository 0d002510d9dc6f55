//! What devices are called, and how many floating-point operations they can do.

use std::{collections::BTreeSet, fs, path::Path};

use fulcrum_common::plan::Precision;

use crate::device::Device;

/// Dense matrix products per second by the makers' data sheets, in 1e12 operations: bf16 in tensor cores, and f32 outside
/// of them, as torch computes it where nobody allows TF32. None for what a device cannot do at full speed. Names are
/// parts of what the driver says; the first that fits counts.
const PEAKS: &[(&str, Option<f64>, f64)] = &[
    ("B200", Some(2250.0), 75.0),
    ("H200", Some(989.4), 66.9),
    ("H100 PCIe", Some(756.5), 51.2),
    ("H100 NVL", Some(835.5), 60.0),
    ("H100", Some(989.4), 66.9),
    ("A100", Some(312.0), 19.5),
    ("A800", Some(312.0), 19.5),
    ("L40S", Some(362.1), 91.6),
    ("L40", Some(181.1), 90.5),
    ("L4", Some(121.0), 30.3),
    ("A40", Some(149.7), 37.4),
    ("A30", Some(165.0), 10.3),
    ("A10G", Some(70.0), 35.0),
    ("A10", Some(125.0), 31.2),
    ("RTX A6000", Some(154.8), 38.7),
    ("RTX 6000 Ada", Some(364.2), 91.1),
    ("RTX 4090", Some(165.2), 82.6),
    ("RTX 3090", Some(71.0), 35.6),
    ("V100", None, 15.7),
    ("T4", None, 8.1),
];

/// Operations per second of a device, where they are known.
pub(super) fn flops(name: &str, precision: Precision) -> Option<f64> {
    let (_, bf16, fp32) = PEAKS.iter().find(|(part, ..)| names(name, part))?;
    let tera = match precision {
        Precision::Bf16 => (*bf16)?,
        Precision::Fp32 => *fp32,
    };
    Some(tera * 1e12)
}

/// Whether the words of `part` stand in a row in `name`; `L4` is not in `L40`.
fn names(name: &str, part: &str) -> bool {
    let words: Vec<&str> = name.split([' ', '-']).collect();
    let wanted: Vec<&str> = part.split(' ').collect();
    words.windows(wanted.len()).any(|found| found == wanted)
}

/// What the device is called; none where that is not known.
pub(crate) fn device_name(device: Device) -> Option<String> {
    match device {
        Device::Cpu => field(&fs::read_to_string("/proc/cpuinfo").ok()?, "model name"),
        Device::Cuda(_) => gpu_name(Path::new("/proc/driver/nvidia/gpus")),
    }
}

/// The model of all GPUs that the driver lists, if they are of one: CUDA may number them otherwise.
fn gpu_name(list: &Path) -> Option<String> {
    let files = fs::read_dir(list).ok()?.flatten().map(|entry| entry.path().join("information"));
    let names: BTreeSet<String> =
        files.filter_map(|file| field(&fs::read_to_string(file).ok()?, "Model")).collect();
    let mut names = names.into_iter();
    names.next().filter(|_| names.next().is_none())
}

/// The value of `key: value`.
fn field(text: &str, key: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_a_part_of_its_name() {
        for (name, bf16, fp32) in [
            ("NVIDIA H100 80GB HBM3", Some(989.4), Some(66.9)),
            ("NVIDIA H100 PCIe", Some(756.5), Some(51.2)),
            ("NVIDIA A100-SXM4-80GB", Some(312.0), Some(19.5)),
            ("NVIDIA L4", Some(121.0), Some(30.3)),
            ("NVIDIA L40", Some(181.1), Some(90.5)),
            ("NVIDIA GeForce RTX 4090", Some(165.2), Some(82.6)),
            ("Tesla T4", None, Some(8.1)),
            ("Tesla V100-SXM2-32GB", None, Some(15.7)),
            ("AMD EPYC", None, None),
        ] {
            let tera = |precision| flops(name, precision).map(|flops| flops / 1e12);
            assert_eq!((tera(Precision::Bf16), tera(Precision::Fp32)), (bf16, fp32), "{name}");
        }
    }

    #[test]
    fn gpus_of_several_models_have_no_name_in_common() {
        let root = tempfile::tempdir().unwrap();
        let gpu = |number: &str, model: &str| {
            fs::create_dir(root.path().join(number)).unwrap();
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 16\n");
            fs::write(root.path().join(number).join("information"), text).unwrap();
        };
        assert_eq!(gpu_name(root.path()), None);
        gpu("0000:01:00.0", "NVIDIA L4");
        gpu("0000:02:00.0", "NVIDIA L4");
        assert_eq!(gpu_name(root.path()).as_deref(), Some("NVIDIA L4"));
        gpu("0000:03:00.0", "NVIDIA A10");
        assert_eq!(gpu_name(root.path()), None);
    }
}
