//! The provisioned folder: what makes it whole, how it is stamped, and how it takes its place.
//!
//! ```text
//! libtorch/
//!   include/            headers
//!   lib/                libtorch_cpu, libc10, and the libraries that these two load: nothing of CUDA's arithmetic
//!   cuda/               only after `setup --cuda`: torch/lib and nvidia/*/lib as they lie in the wheels
//!   build-version       what torch-sys compares with its own version
//!   provisioned.json    the stamp, written last
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use super::existing::{self, link};
use super::wheels::{Machine, Set, TORCH, wheels};
use crate::tools;

const STAMP: &str = "provisioned.json";
/// Grows when this program lays the folder out differently, so that older ones are made again.
const LAYOUT: u64 = 1;

/// What lies where the folder goes.
#[derive(Debug, PartialEq)]
pub(crate) enum Present {
    /// Nothing, or a provisioning of something else, which may be replaced.
    Replaceable,
    /// The set that is asked for, or more.
    Ready { source: String },
    /// Not ours, but usable; it stays.
    Foreign { version: String },
}

/// Looks at the folder.
///
/// # Errors
/// If something lies there that is neither ours nor usable.
pub(crate) fn present(folder: &Path, set: Set) -> Result<Present> {
    if let Ok(stamp) = fs::read(folder.join(STAMP)) {
        return Ok(match read_stamp(&stamp, set) {
            Some(source) if folder.join("lib/libtorch_cpu.so").exists() => Present::Ready { source },
            _ => Present::Replaceable,
        });
    }
    let empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if empty || fs::symlink_metadata(folder).is_err() {
        return Ok(Present::Replaceable);
    }
    let version = existing::check(folder).context("it was not made by this program, so move it away")?;
    Ok(Present::Foreign { version })
}

/// The source that a stamp tells, if it covers the set.
fn read_stamp(stamp: &[u8], set: Set) -> Option<String> {
    let stamp: Value = serde_json::from_slice(stamp).ok()?;
    let stamped = [Set::Cpu, Set::Cuda].into_iter().find(|set| stamp["set"] == set.name())?;
    (stamp["layout"] == LAYOUT && stamp["torch"] == TORCH && stamped >= set)
        .then(|| stamp["source"].as_str().unwrap_or("unknown").to_owned())
}

/// Adds to a filled folder what linking wants, tries whether it loads, and stamps it.
///
/// # Errors
/// If the libraries do not load; the message is the loader's.
pub(crate) fn complete(folder: &Path, set: Set, source: &str, machine: Option<Machine>) -> Result<()> {
    let lib = folder.join("lib");
    // torch-sys asks for `-ltorch`, whose own library would ask for libtorch_cuda.so; everything is in libtorch_cpu.
    link(Path::new("libtorch_cpu.so"), &lib.join("libtorch.so"))?;
    if lib.join("libgomp.so.1").exists() {
        link(Path::new("libgomp.so.1"), &lib.join("libgomp.so"))?;
    }
    if set == Set::Cuda {
        complete_cuda(folder)?;
    }
    fs::write(folder.join("build-version"), format!("{TORCH}\n"))?;
    if tools::python() {
        let program = "import ctypes, sys; ctypes.CDLL(sys.argv[1])";
        let library = lib.join("libtorch_cpu.so").display().to_string();
        tools::evaluate(program, &[&library]).context("the libraries do not load")?;
    }
    write_stamp(folder, &stamp(set, source, machine))
}

/// Lets the CUDA libraries find those in `lib/`, and cudarc find NCCL under the name it asks for.
fn complete_cuda(folder: &Path) -> Result<()> {
    let cuda = folder.join("cuda");
    if !cuda.join("torch").is_symlink() {
        for name in ["libtorch_cpu.so", "libc10.so", "libgomp.so.1"] {
            link(&Path::new("../../../lib").join(name), &cuda.join("torch/lib").join(name))?;
        }
        for name in ["libcudart.so.13", "libcupti.so.13"] {
            link(&Path::new("../../../../lib").join(name), &cuda.join("nvidia/cu13/lib").join(name))?;
        }
    }
    link(Path::new("libnccl.so.2"), &cuda.join("nvidia/nccl/lib/libnccl.so"))
}

fn stamp(set: Set, source: &str, machine: Option<Machine>) -> Value {
    let pins = machine.into_iter().flat_map(|machine| {
        wheels(set).map(move |wheel| {
            json!({ "name": wheel.name, "version": wheel.version, "sha256": wheel.pin(machine).sha256 })
        })
    });
    json!({ "layout": LAYOUT, "torch": TORCH, "set": set.name(), "source": source, "wheels": pins.collect::<Vec<_>>() })
}

fn write_stamp(folder: &Path, stamp: &Value) -> Result<()> {
    let aside = folder.join(format!("{STAMP}.new"));
    let mut file = File::create(&aside)?;
    writeln!(file, "{stamp:#}")?;
    file.sync_all()?;
    fs::rename(aside, folder.join(STAMP)).context("cannot write the stamp")
}

/// Puts a finished folder in its place; what was there before goes. The path never leads nowhere, so that
/// builds and programs that are running do not notice.
///
/// # Errors
/// If the file system refuses.
pub(crate) fn replace(finished: &Path, place: &Path) -> Result<()> {
    if fs::symlink_metadata(place).is_err() {
        return fs::rename(finished, place).with_context(|| format!("cannot make {}", place.display()));
    }
    if renameat2(AT_FDCWD, finished, AT_FDCWD, place, RenameFlags::RENAME_EXCHANGE).is_ok() {
        return remove(finished);
    }
    // Some network file systems cannot exchange; then there is a moment between the two.
    let old = aside(place, "old");
    remove(&old)?;
    fs::rename(place, &old).with_context(|| format!("cannot replace {}", place.display()))?;
    fs::rename(finished, place).with_context(|| format!("cannot make {}", place.display()))?;
    remove(&old)
}

/// A neighbour of the folder, on the same file system.
pub(crate) fn aside(folder: &Path, purpose: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{purpose}"))
}

/// Removes a folder or link, if it is there.
///
/// # Errors
/// If the file system refuses.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

/// Checks that the file system has room.
///
/// # Errors
/// If fewer bytes are free, with both numbers.
pub(crate) fn room(folder: &Path, bytes: u64) -> Result<()> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let data = nix::sys::statvfs::statvfs(there)
        .with_context(|| format!("cannot ask for room in {}", there.display()))?;
    let free = data.blocks_available() * data.fragment_size();
    let (need_mb, free_mb) = (bytes.div_ceil(1_000_000), free / 1_000_000);
    ensure!(
        free >= bytes,
        "too little room in {}: {need_mb} MB are needed, {free_mb} MB are free",
        there.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(folder: &Path) {
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::write(folder.join("lib/libtorch_cpu.so"), "").unwrap();
    }

    #[test]
    fn a_stamp_covers_its_set_and_smaller_ones() {
        for (stamped, wanted, covered) in [
            (Set::Cpu, Set::Cpu, true),
            (Set::Cpu, Set::Cuda, false),
            (Set::Cuda, Set::Cpu, true),
            (Set::Cuda, Set::Cuda, true),
        ] {
            let text = stamp(stamped, "wheels", Some(Machine::X86_64)).to_string();
            let found = read_stamp(text.as_bytes(), wanted);
            assert_eq!(found.is_some(), covered, "{stamped:?} for {wanted:?}");
        }
    }

    #[test]
    fn a_stamp_of_another_torch_or_layout_or_half_a_stamp_covers_nothing() {
        let good = stamp(Set::Cuda, "wheels", None);
        for (key, value) in [("torch", json!("2.10.0")), ("layout", json!(0)), ("set", json!("rocm"))] {
            let mut other = good.clone();
            other[key] = value;
            assert_eq!(read_stamp(other.to_string().as_bytes(), Set::Cpu), None, "{key}");
        }
        assert_eq!(read_stamp(&good.to_string().as_bytes()[..20], Set::Cpu), None);
    }

    #[test]
    fn a_stamped_folder_is_ready_until_its_libraries_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        library(folder.path());
        write_stamp(folder.path(), &stamp(Set::Cpu, "here", None)).unwrap();
        assert_eq!(present(folder.path(), Set::Cpu).unwrap(), Present::Ready { source: "here".into() });
        assert_eq!(present(folder.path(), Set::Cuda).unwrap(), Present::Replaceable);
        fs::remove_file(folder.path().join("lib/libtorch_cpu.so")).unwrap();
        assert_eq!(present(folder.path(), Set::Cpu).unwrap(), Present::Replaceable);
    }

    #[test]
    fn a_folder_that_somebody_else_filled_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(present(folder.path(), Set::Cpu).unwrap(), Present::Replaceable);
        library(folder.path());
        let error = format!("{:#}", present(folder.path(), Set::Cpu).unwrap_err());
        assert!(error.contains("move it away"), "{error}");
        fs::create_dir_all(folder.path().join("include/ATen")).unwrap();
        fs::write(folder.path().join("include/ATen/ATen.h"), "").unwrap();
        fs::write(folder.path().join("build-version"), "2.11.0+cpu").unwrap();
        assert_eq!(
            present(folder.path(), Set::Cpu).unwrap(),
            Present::Foreign { version: "2.11.0+cpu".into() }
        );
    }

    #[test]
    fn a_finished_folder_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("libtorch");
        for round in ["first", "second"] {
            let finished = aside(&place, "new");
            fs::create_dir(&finished).unwrap();
            fs::write(finished.join("round"), round).unwrap();
            replace(&finished, &place).unwrap();
            assert_eq!(fs::read_to_string(place.join("round")).unwrap(), round);
            assert!(!finished.exists());
        }
    }

    #[test]
    fn removing_a_link_leaves_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        library(folder.path());
        link(&folder.path().join("lib"), &folder.path().join("link")).unwrap();
        remove(&folder.path().join("link")).unwrap();
        assert!(folder.path().join("lib/libtorch_cpu.so").exists());
    }

    #[test]
    fn too_little_room_tells_both_numbers() {
        let error = room(Path::new("/"), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("MB are needed") && error.contains("MB are free"), "{error}");
        room(Path::new("/"), 1).unwrap();
    }
}
