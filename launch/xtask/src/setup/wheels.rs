//! The wheels that libtorch is made of: names, versions, hashes, and which of their files are taken.
//!
//! torch's own requirements name the CUDA wheels; their versions are those that pip resolves for
//! `torch==2.11.0`. A new torch means a new table, together with `tch` in the root `Cargo.toml`.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// The torch release that `tch` is built for.
pub(crate) const TORCH: &str = "2.11.0";

/// What is provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    /// What building needs, and running without a GPU.
    Cpu,
    /// The CUDA libraries as well, which a worker opens at run time.
    Cuda,
}

impl Set {
    /// The name in the stamp and on screen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Set::Cpu => "cpu",
            Set::Cuda => "cuda",
        }
    }

    /// An upper bound of what the wanted files take once unpacked.
    pub(crate) fn unpacked_bytes_max(self) -> u64 {
        match self {
            Set::Cpu => 700_000_000,
            Set::Cuda => 4_800_000_000,
        }
    }
}

/// The machines that the pinned wheels are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The machine that this program runs on.
    ///
    /// # Errors
    /// If no wheel is pinned for it.
    pub(crate) fn here() -> Result<Machine> {
        Self::named(std::env::consts::OS, std::env::consts::ARCH, cfg!(target_env = "gnu"))
    }

    fn named(system: &str, architecture: &str, glibc: bool) -> Result<Machine> {
        match (system, architecture, glibc) {
            ("linux", "x86_64", true) => Ok(Machine::X86_64),
            ("linux", "aarch64", true) => Ok(Machine::Aarch64),
            _ => bail!(
                "no wheels are pinned for {system} on {architecture} (only Linux with glibc, x86_64 or aarch64): \
                 install torch {TORCH} yourself and set LIBTORCH to a folder with its include/ and lib/"
            ),
        }
    }

    /// The platform tags under which the wheels may be published.
    pub(crate) fn platforms(self) -> Vec<String> {
        let name = self.name();
        let glibc = [28, 27, 26, 25, 24, 18, 17, 12, 5].map(|minor| format!("manylinux_2_{minor}_{name}"));
        glibc.into_iter().chain([format!("manylinux2014_{name}"), format!("linux_{name}")]).collect()
    }

    /// The name in file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        }
    }
}

/// One wheel at one version.
#[derive(Debug)]
pub(crate) struct Wheel {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    set: Set,
    x86_64: Pin,
    aarch64: Pin,
}

/// The one file that is taken as this wheel on one kind of machine.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
}

impl Wheel {
    /// The file that must arrive.
    pub(crate) fn pin(&self, machine: Machine) -> &Pin {
        match machine {
            Machine::X86_64 => &self.x86_64,
            Machine::Aarch64 => &self.aarch64,
        }
    }

    /// The requirement as pip reads it.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// The name under which the wheel is kept.
    pub(crate) fn file(&self, machine: Machine) -> String {
        format!("{}-{}-{}.whl", self.name, self.version, machine.name())
    }
}

/// The wheels of a set.
pub(crate) fn wheels(set: Set) -> impl Iterator<Item = &'static Wheel> {
    WHEELS.iter().filter(move |wheel| wheel.set <= set)
}

/// Where a file of a wheel goes in the provisioned folder, if it is wanted.
///
/// `lib/` holds only what a binary without CUDA needs: with `libtorch_cuda.so` in it, every binary would be
/// linked to the CUDA libraries. Those go under `cuda/` as they lie in the wheels, so that the
/// libraries find each other by the relative paths they were built with.
pub(crate) fn place(member: &str, set: Set) -> Option<PathBuf> {
    let parts: Vec<&str> = member.split('/').collect();
    if parts.iter().any(|part| part.is_empty() || *part == ".." || part.contains('\\')) {
        return None;
    }
    match parts[..] {
        ["torch", "include", ..] => Some(parts[1..].iter().collect()),
        ["torch", "lib", file] => match library(file)? {
            Set::Cpu => Some(["lib", file].iter().collect()),
            Set::Cuda => (set == Set::Cuda).then(|| ["cuda", "torch", "lib", file].iter().collect()),
        },
        ["nvidia", "cu13", "lib", file @ ("libcudart.so.13" | "libcupti.so.13")] => {
            Some(["lib", file].iter().collect())
        }
        ["nvidia", package, "lib", file] if set == Set::Cuda && file.contains(".so") => {
            Some(["cuda", "nvidia", package, "lib", file].iter().collect())
        }
        _ => None,
    }
}

/// Which set needs a library of torch's `lib` folder; `None` for what only Python needs.
pub(crate) fn library(file: &str) -> Option<Set> {
    // libtorch.so is an empty library that asks for libtorch_cuda.so; a link takes its place.
    let python = ["libtorch_python", "libshm", "libtorch_global_deps", "libtorch.so"];
    let cuda = ["cuda", "nvrtc", "nvshmem"];
    if !file.contains(".so") || python.iter().any(|name| file.starts_with(name)) {
        None
    } else if cuda.iter().any(|name| file.contains(name)) {
        Some(Set::Cuda)
    } else {
        Some(Set::Cpu)
    }
}

#[rustfmt::skip] // one line per pin, whatever its length
const WHEELS: &[Wheel] = &[
    Wheel {
        name: "torch",
        version: "2.11.0",
        set: Set::Cpu,
        x86_64: Pin { bytes: 530_604_548, sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a" },
        aarch64: Pin { bytes: 419_718_178, sha256: "d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6" },
    },
    Wheel {
        name: "nvidia-cuda-runtime",
        version: "13.0.96",
        set: Set::Cpu,
        x86_64: Pin { bytes: 2_243_632, sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548" },
        aarch64: Pin { bytes: 2_261_060, sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55" },
    },
    Wheel {
        name: "nvidia-cuda-cupti",
        version: "13.0.85",
        set: Set::Cpu,
        x86_64: Pin { bytes: 10_715_597, sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8" },
        aarch64: Pin { bytes: 10_310_827, sha256: "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151" },
    },
    Wheel {
        name: "nvidia-cublas",
        version: "13.1.0.3",
        set: Set::Cuda,
        x86_64: Pin { bytes: 423_133_236, sha256: "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171" },
        aarch64: Pin { bytes: 542_851_226, sha256: "c86fc7f7ae36d7528288c5d88098edcb7b02c633d262e7ddbb86b0ad91be5df2" },
    },
    Wheel {
        name: "nvidia-cuda-nvrtc",
        version: "13.0.88",
        set: Set::Cuda,
        x86_64: Pin { bytes: 90_215_200, sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575" },
        aarch64: Pin { bytes: 43_015_449, sha256: "d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b" },
    },
    Wheel {
        name: "nvidia-cudnn-cu13",
        version: "9.19.0.56",
        set: Set::Cuda,
        x86_64: Pin { bytes: 366_066_321, sha256: "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf" },
        aarch64: Pin { bytes: 433_781_201, sha256: "6ed29ffaee1176c612daf442e4dd6cfeb6a0caa43ddcbeb59da94953030b1be4" },
    },
    Wheel {
        name: "nvidia-cufft",
        version: "12.0.0.61",
        set: Set::Cuda,
        x86_64: Pin { bytes: 214_085_489, sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3" },
        aarch64: Pin { bytes: 214_053_554, sha256: "2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5" },
    },
    Wheel {
        name: "nvidia-cufile",
        version: "1.15.1.6",
        set: Set::Cuda,
        x86_64: Pin { bytes: 1_223_672, sha256: "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44" },
        aarch64: Pin { bytes: 1_136_992, sha256: "bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1" },
    },
    Wheel {
        name: "nvidia-curand",
        version: "10.4.0.35",
        set: Set::Cuda,
        x86_64: Pin { bytes: 59_544_258, sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc" },
        aarch64: Pin { bytes: 61_962_106, sha256: "133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a" },
    },
    Wheel {
        name: "nvidia-cusolver",
        version: "12.0.4.66",
        set: Set::Cuda,
        x86_64: Pin { bytes: 200_941_980, sha256: "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112" },
        aarch64: Pin { bytes: 223_467_760, sha256: "02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2" },
    },
    Wheel {
        name: "nvidia-cusparse",
        version: "12.6.3.3",
        set: Set::Cuda,
        x86_64: Pin { bytes: 145_942_937, sha256: "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b" },
        aarch64: Pin { bytes: 162_155_568, sha256: "80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c" },
    },
    Wheel {
        name: "nvidia-cusparselt-cu13",
        version: "0.8.0",
        set: Set::Cuda,
        x86_64: Pin { bytes: 169_884_119, sha256: "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd" },
        aarch64: Pin { bytes: 220_791_277, sha256: "400c6ed1cf6780fc6efedd64ec9f1345871767e6a1a0a552a1ea0578117ea77c" },
    },
    Wheel {
        name: "nvidia-nccl-cu13",
        version: "2.28.9",
        set: Set::Cuda,
        x86_64: Pin { bytes: 196_493_177, sha256: "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42" },
        aarch64: Pin { bytes: 196_561_677, sha256: "01c873ba1626b54caa12272ed228dc5b2781545e0ae8ba3f432a8ef1c6d78643" },
    },
    Wheel {
        name: "nvidia-nvjitlink",
        version: "13.0.88",
        set: Set::Cuda,
        x86_64: Pin { bytes: 40_713_933, sha256: "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b" },
        aarch64: Pin { bytes: 38_768_748, sha256: "e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c" },
    },
    Wheel {
        name: "nvidia-nvshmem-cu13",
        version: "3.4.5",
        set: Set::Cuda,
        x86_64: Pin { bytes: 60_412_546, sha256: "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80" },
        aarch64: Pin { bytes: 60_215_947, sha256: "6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9" },
    },
    Wheel {
        name: "nvidia-nvtx",
        version: "13.0.85",
        set: Set::Cuda,
        x86_64: Pin { bytes: 148_047, sha256: "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4" },
        aarch64: Pin { bytes: 148_878, sha256: "cb7780edb6b14107373c835bf8b72e7a178bac7367e23da7acb108f973f157a6" },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_set_is_three_wheels_and_about_545_megabytes() {
        let names: Vec<_> = wheels(Set::Cpu).map(|wheel| wheel.name).collect();
        assert_eq!(names, ["torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti"]);
        let bytes: u64 = wheels(Set::Cpu).map(|wheel| wheel.pin(Machine::X86_64).bytes).sum();
        assert!((540_000_000..550_000_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn the_cuda_set_has_the_nccl_that_torch_was_built_with() {
        let nccl = wheels(Set::Cuda).find(|wheel| wheel.name == "nvidia-nccl-cu13").unwrap();
        assert_eq!(nccl.version, "2.28.9");
        assert!(wheels(Set::Cpu).all(|wheel| wheels(Set::Cuda).any(|other| other.name == wheel.name)));
    }

    #[test]
    fn every_pin_is_a_sha256_of_its_own() {
        let pins: Vec<_> = WHEELS.iter().flat_map(|wheel| [&wheel.x86_64, &wheel.aarch64]).collect();
        let unique: std::collections::BTreeSet<_> = pins.iter().map(|pin| pin.sha256).collect();
        assert_eq!(unique.len(), pins.len());
        for pin in pins {
            assert!(pin.sha256.len() == 64 && pin.sha256.bytes().all(|c| c.is_ascii_hexdigit()), "{pin:?}");
        }
    }

    #[test]
    fn members_go_where_the_set_wants_them() {
        let cases = [
            ("torch/include/ATen/ATen.h", Some("include/ATen/ATen.h"), Some("include/ATen/ATen.h")),
            ("torch/lib/libtorch_cpu.so", Some("lib/libtorch_cpu.so"), Some("lib/libtorch_cpu.so")),
            ("torch/lib/libgomp.so.1", Some("lib/libgomp.so.1"), Some("lib/libgomp.so.1")),
            ("torch/lib/libarm_compute.so", Some("lib/libarm_compute.so"), Some("lib/libarm_compute.so")),
            ("torch/lib/libtorch_cuda.so", None, Some("cuda/torch/lib/libtorch_cuda.so")),
            ("torch/lib/libc10_cuda.so", None, Some("cuda/torch/lib/libc10_cuda.so")),
            ("torch/lib/libcaffe2_nvrtc.so", None, Some("cuda/torch/lib/libcaffe2_nvrtc.so")),
            ("torch/lib/libtorch_nvshmem.so", None, Some("cuda/torch/lib/libtorch_nvshmem.so")),
            ("torch/lib/libtorch.so", None, None),
            ("torch/lib/libtorch_python.so", None, None),
            ("torch/lib/libshm/manager.cpp", None, None),
            ("nvidia/cu13/lib/libcudart.so.13", Some("lib/libcudart.so.13"), Some("lib/libcudart.so.13")),
            ("nvidia/cu13/lib/libcudart_static.a", None, None),
            ("nvidia/nccl/lib/libnccl.so.2", None, Some("cuda/nvidia/nccl/lib/libnccl.so.2")),
            ("torch/nn/functional.py", None, None),
            ("torch/include/../../evil.h", None, None),
            ("torch/include/", None, None),
        ];
        for (member, cpu, cuda) in cases {
            assert_eq!(place(member, Set::Cpu), cpu.map(PathBuf::from), "{member} in the cpu set");
            assert_eq!(place(member, Set::Cuda), cuda.map(PathBuf::from), "{member} in the cuda set");
        }
    }

    #[test]
    fn an_unknown_machine_is_told_to_set_libtorch() {
        for (system, architecture, glibc) in
            [("macos", "aarch64", false), ("linux", "riscv64", true), ("linux", "x86_64", false)]
        {
            let error = Machine::named(system, architecture, glibc).unwrap_err().to_string();
            assert!(error.contains(system) && error.contains("set LIBTORCH"), "{error}");
        }
    }
}
