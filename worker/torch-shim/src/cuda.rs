//! The CUDA half of libtorch, opened at run time: one build serves machines with and without a GPU.
//!
//! `libtorch_cuda.so` registers its kernels as it is opened. libtorch looks once, at the first call that asks,
//! whether it has been: so [`open`] comes before the first tensor.

use std::{
    env,
    error::Error as _,
    ffi::c_int,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::Device;

use crate::{Error, sys};

const TEST_DEVICE: &str = "FULCRUM_TEST_DEVICE";
const LIBRARY: &str = "libtorch_cuda.so";

/// From the folder of `libtorch_cpu.so` to the CUDA libraries that `cargo xtask setup --cuda` brings.
const PROVISIONED: &str = "../cuda/torch/lib";

/// Opens the CUDA half of the libtorch that this process runs on, once, and gives the number of devices.
///
/// # Errors
/// If it is not there, does not fit, or sees no device; the message tells what was looked for and where.
pub fn open() -> Result<usize, Error> {
    static OPENED: OnceLock<Result<usize, String>> = OnceLock::new();
    OPENED.get_or_init(open_once).clone().map_err(Error::new)
}

/// The most bytes of a GPU that tensors of this process ever held at a time.
///
/// # Errors
/// If [`open`] was not called, or there is no such GPU.
pub fn peak_memory(ordinal: usize) -> Result<u64, Error> {
    let index = c_int::try_from(ordinal).map_err(|error| Error::new(error.to_string()))?;
    let mut bytes = 0;
    // SAFETY: the out pointer outlives the call.
    sys::check(unsafe { sys::fulcrum_cuda_peak(index, &mut bytes) })?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// What tests compute on: the CPU, or the first GPU where the variable `FULCRUM_TEST_DEVICE` is `cuda`, as in
/// `tests/gpu.sh`. To be asked before the first tensor.
///
/// # Errors
/// If a GPU is asked for and there is none, or the variable is neither `cpu` nor `cuda`.
pub fn test_device() -> Result<Device, Error> {
    match env::var(TEST_DEVICE).as_deref() {
        Err(_) | Ok("cpu") => Ok(Device::Cpu),
        Ok("cuda") => open().map(|_| Device::Cuda(0)),
        Ok(other) => Err(Error::new(format!("{TEST_DEVICE}={other} is neither cpu nor cuda"))),
    }
}

fn open_once() -> Result<usize, String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let folder = folder_of("libtorch_cpu.so", &maps).ok_or("no CUDA: this process has no libtorch_cpu.so")?;
    let path = find(&folder)?;
    // SAFETY: the library's initializers register kernels and touch nothing of ours. It stays open for the life
    // of the process, as the registered kernels lie in it.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
        .map_err(|error| format!("no CUDA: {}", words(&error)))?;
    std::mem::forget(library);
    match usize::try_from(tch::Cuda::device_count()) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!(
            "no CUDA device: {} is open and sees none; `nvidia-smi` tells whether the driver does",
            path.display()
        )),
    }
}

/// The folder of a library of this process, links resolved, as the kernel lists it.
fn folder_of(library: &str, maps: &str) -> Option<PathBuf> {
    let mut paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let path = paths.find(|path| path.file_name().is_some_and(|name| name == library))?;
    path.parent().map(Path::to_path_buf)
}

/// The library beside that of the CPU, or where setup puts it.
fn find(folder: &Path) -> Result<PathBuf, String> {
    let places = [folder.join(LIBRARY), folder.join(PROVISIONED).join(LIBRARY)];
    if let Some(found) = places.iter().find(|place| place.exists()) {
        return Ok(found.clone());
    }
    let [beside, provisioned] = places.map(|place| place.display().to_string());
    Err(format!(
        "no CUDA: there is neither {beside} nor {provisioned}: run `cargo xtask setup --cuda`, or start with \
         LD_LIBRARY_PATH set to the torch/lib of an installed torch 2.11"
    ))
}

/// An error of the loader in one line; what the system says is its source.
fn words(error: &libloading::Error) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_library_is_read_off_the_list_of_mappings() {
        let maps = "7f00-7f01 r-xp 00000000 fe:00 12     /usr/lib/libc.so.6\n\
                    7f02-7f03 r--p 00000000 00:00 0\n\
                    7f04-7f05 r--p 00000000 fe:00 13     /opt/my torch/lib/libtorch_cpu.so\n";
        assert_eq!(folder_of("libtorch_cpu.so", maps), Some("/opt/my torch/lib".into()));
        assert_eq!(folder_of("libtorch_cuda.so", maps), None);
        let mine = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(folder_of("libtorch_cpu.so", &mine).unwrap().join("libtorch_cpu.so").exists());
    }

    #[test]
    fn memory_of_a_gpu_that_is_not_open_is_an_error() {
        if std::env::var_os(TEST_DEVICE).is_none() {
            assert!(peak_memory(0).is_err());
        }
    }

    #[test]
    fn the_library_beside_that_of_the_cpu_goes_before_the_provisioned_one() {
        let root = std::env::temp_dir().join(format!("fulcrum-cuda-{}", std::process::id()));
        let (folder, provisioned) = (root.join("lib"), root.join("cuda/torch/lib"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&provisioned).unwrap();
        let error = find(&folder).unwrap_err();
        assert!(error.contains("neither") && error.contains("lib/libtorch_cuda.so"), "{error}");
        fs::write(provisioned.join(LIBRARY), "").unwrap();
        assert!(find(&folder).unwrap().ends_with("lib/../cuda/torch/lib/libtorch_cuda.so"));
        fs::write(folder.join(LIBRARY), "").unwrap();
        assert_eq!(find(&folder).unwrap(), folder.join(LIBRARY));
        fs::remove_dir_all(root).unwrap();
    }
}
