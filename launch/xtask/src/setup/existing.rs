//! torch that is on the machine already: a LIBTORCH of the user, or an installed Python package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::wheels::{Set, TORCH, library};
use crate::tools;

/// Where a folder of libtorch tells its version: the zip archives in the first, the wheels in the others.
const VERSION_FILES: [&str; 3] =
    ["build-version", "include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];

/// Checks a folder with `include/` and `lib/` that somebody else made, and returns its version.
///
/// # Errors
/// If it lacks something, or holds another release than `tch` is built for.
pub(crate) fn check(folder: &Path) -> Result<String> {
    ensure!(folder.is_absolute(), "LIBTORCH={} is not an absolute path", folder.display());
    for needed in ["lib/libtorch_cpu.so", "include/ATen/ATen.h"] {
        ensure!(folder.join(needed).exists(), "{} has no {needed}", folder.display());
    }
    let version = VERSION_FILES
        .iter()
        .find_map(|file| version_in(&fs::read_to_string(folder.join(file)).ok()?))
        .with_context(|| format!("{} does not tell its version in {}", folder.display(), VERSION_FILES[0]))?;
    ensure!(release(&version) == TORCH, "{} holds torch {version}, and {TORCH} is needed", folder.display());
    Ok(version)
}

/// An installed package `torch` of the right release.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The folder of the package, with `include/` and `lib/`.
    pub(crate) package: PathBuf,
    pub(crate) version: String,
}

impl Installed {
    /// Looks for torch in the python3 that the user would start. Python finds it without importing it.
    pub(crate) fn find() -> Option<Installed> {
        let program = "import importlib.util as u, os; print(os.path.dirname(os.path.realpath(u.find_spec('torch').origin)))";
        let package = PathBuf::from(tools::evaluate(program, &[]).ok()?.trim());
        let version = version_in(&fs::read_to_string(package.join("version.py")).ok()?)?;
        (release(&version) == TORCH).then_some(Installed { package, version })
    }

    /// Fills a new folder with links to what the set needs.
    ///
    /// # Errors
    /// If a link cannot be made, or the package lacks what the set needs.
    pub(crate) fn link(&self, set: Set, folder: &Path) -> Result<()> {
        let site = self.package.parent().context("torch lies in no folder")?;
        ensure!(self.package.join("include").is_dir(), "{} has no include", self.package.display());
        link(&self.package.join("include"), &folder.join("include"))?;
        let of_torch = entries(&self.package.join("lib"))?
            .into_iter()
            .filter(|(name, _)| library(name) == Some(Set::Cpu));
        // Linux distributions' tools move renamed copies of system libraries here.
        let beside = entries(&site.join("torch.libs"))?;
        for (name, path) in of_torch.chain(beside) {
            link(&path, &folder.join("lib").join(name))?;
        }
        let packages = entries(&site.join("nvidia"))?;
        for name in ["libcudart.so.13", "libcupti.so.13"] {
            let mut places = packages.iter().map(|(_, package)| package.join("lib").join(name));
            if let Some(path) = places.find(|path| path.exists()) {
                link(&path, &folder.join("lib").join(name))?;
            }
        }
        if set == Set::Cuda { self.link_cuda(&packages, &folder.join("cuda")) } else { Ok(()) }
    }

    fn link_cuda(&self, packages: &[(String, PathBuf)], folder: &Path) -> Result<()> {
        let Some((_, nccl)) = packages.iter().find(|(name, _)| name == "nccl") else {
            bail!("{} has no CUDA libraries beside it", self.package.display());
        };
        ensure!(
            self.package.join("lib/libtorch_cuda.so").exists(),
            "torch {} is built without CUDA",
            self.version
        );
        link(&self.package, &folder.join("torch"))?;
        for (name, path) in packages.iter().filter(|(name, _)| name != "nccl") {
            link(path, &folder.join("nvidia").join(name))?;
        }
        // A folder of its own, as one more link will be made in it.
        link(&nccl.join("lib/libnccl.so.2"), &folder.join("nvidia/nccl/lib/libnccl.so.2"))
    }
}

/// Makes a link and the folder it lies in.
pub(crate) fn link(original: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(place.parent().expect("a link lies in a folder"))?;
    std::os::unix::fs::symlink(original, place).with_context(|| format!("cannot link {}", place.display()))
}

/// What lies in a folder, by name and in order; nothing if it does not exist.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let mut found = fs::read_dir(folder)?.map(entry).collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// Finds a version in a `build-version` file, a C++ header or torch's `version.py`.
fn version_in(text: &str) -> Option<String> {
    let starts_with_digit = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let alone = Some(text.trim()).filter(|text| text.lines().count() == 1).filter(starts_with_digit);
    let quoted = || {
        let text = text.split_once("__version__ =").or_else(|| text.split_once("define TORCH_VERSION \\"))?.1;
        text.split(['\'', '"']).nth(1).filter(starts_with_digit)
    };
    alone.or_else(quoted).map(str::to_owned)
}

/// A version without its build: `2.11.0+cu130` is the release 2.11.0.
fn release(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_version_is_read_from_each_kind_of_file() {
        let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION \\\n  \"2.11.0\"\n";
        let python = "from typing import Optional\n__all__ = ['__version__']\n__version__ = '2.11.0+cu130'\n";
        let cases = [
            ("2.11.0+cpu\n", Some("2.11.0+cpu")),
            (header, Some("2.11.0")),
            (python, Some("2.11.0+cu130")),
            ("", None),
            ("nightly", None),
            ("#define TORCH_VERSION_MAJOR 2\n", None),
        ];
        for (text, version) in cases {
            assert_eq!(version_in(text).as_deref(), version, "{text}");
        }
    }

    #[test]
    fn a_libtorch_of_another_release_or_without_libraries_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = || check(folder.path()).unwrap_err().to_string();
        assert!(error().contains("has no lib/libtorch_cpu.so"), "{}", error());
        write(folder.path(), &[("lib/libtorch_cpu.so", ""), ("include/ATen/ATen.h", "")]);
        assert!(error().contains("does not tell its version"), "{}", error());
        write(folder.path(), &[("build-version", "2.9.1\n")]);
        assert!(error().contains("holds torch 2.9.1, and 2.11.0 is needed"), "{}", error());
        write(folder.path(), &[("build-version", "2.11.0+cpu\n")]);
        assert_eq!(check(folder.path()).unwrap(), "2.11.0+cpu");
        assert!(check(Path::new("libtorch")).unwrap_err().to_string().contains("absolute"));
    }

    #[test]
    fn an_installed_torch_is_linked_by_set() {
        let site = tempfile::tempdir().unwrap();
        let libraries = ["torch/lib/libc10.so", "torch/lib/libc10_cuda.so", "torch/lib/libtorch_cuda.so"];
        let nvidia = ["nvidia/cu13/lib/libcudart.so.13", "nvidia/nccl/lib/libnccl.so.2", "torch/include/a.h"];
        write(site.path(), &libraries.map(|name| (name, name)));
        write(site.path(), &nvidia.map(|name| (name, name)));
        let torch = Installed { package: site.path().join("torch"), version: "2.11.0".into() };

        let cpu = site.path().join("cpu");
        torch.link(Set::Cpu, &cpu).unwrap();
        let mut names: Vec<_> =
            entries(&cpu.join("lib")).unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["libc10.so", "libcudart.so.13"]);
        assert!(!cpu.join("cuda").exists());

        let cuda = site.path().join("cuda");
        torch.link(Set::Cuda, &cuda).unwrap();
        for name in
            ["torch/lib/libtorch_cuda.so", "nvidia/cu13/lib/libcudart.so.13", "nvidia/nccl/lib/libnccl.so.2"]
        {
            assert_eq!(fs::read_to_string(cuda.join("cuda").join(name)).unwrap(), name);
        }
    }
}
