//! Takes the wanted files out of checked wheels.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::progress::Progress;
use super::wheels::{Set, place};

/// Unpacks the files of a wheel that the set wants into the folder.
///
/// # Errors
/// If the archive is damaged, a file cannot be written, or nothing in it is wanted.
pub(crate) fn unpack(wheel: &Path, set: Set, folder: &Path, label: &str) -> Result<()> {
    let mut archive = open(wheel)?;
    let wanted = wanted(&mut archive, set)?;
    ensure!(
        !wanted.is_empty(),
        "nothing in {} is of use: it is not the wheel it is named for",
        wheel.display()
    );
    let progress =
        Progress::new(&format!("unpack {label}"), wanted.iter().map(|member| member.bytes).sum(), 0);
    let mut done = 0;
    for member in wanted {
        let target = folder.join(&member.target);
        fs::create_dir_all(target.parent().expect("a placed file lies in a folder"))?;
        let mut from = archive.by_index(member.index)?;
        let mut to =
            File::create_new(&target).with_context(|| format!("cannot create {}", target.display()))?;
        let written =
            io::copy(&mut from, &mut to).with_context(|| format!("cannot write {}", target.display()))?;
        done += written;
        progress.at(done);
    }
    progress.end(done);
    Ok(())
}

struct Member {
    index: usize,
    bytes: u64,
    target: PathBuf,
}

fn open(wheel: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
    ZipArchive::new(BufReader::new(file)).with_context(|| format!("{} is not a zip archive", wheel.display()))
}

fn wanted(archive: &mut ZipArchive<BufReader<File>>, set: Set) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index)?;
        let Some(target) = place(member.name(), set) else { continue };
        if member.is_symlink() {
            bail!("{} in the wheel is a link", member.name());
        }
        members.push(Member { index, bytes: member.size(), target });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wheel(folder: &Path, members: &[(&str, &str)]) -> PathBuf {
        let path = folder.join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, text) in members {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn only_wanted_files_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let members = [
            ("torch/lib/libc10.so", "cpu"),
            ("torch/lib/libc10_cuda.so", "gpu"),
            ("torch/nn/a.py", "python"),
        ];
        let wheel = wheel(folder.path(), &members);
        let out = folder.path().join("out");
        unpack(&wheel, Set::Cpu, &out, "torch").unwrap();
        assert_eq!(fs::read_to_string(out.join("lib/libc10.so")).unwrap(), "cpu");
        assert!(!out.join("cuda").exists() && !out.join("nn").exists());
    }

    #[test]
    fn a_wheel_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &[("numpy/core.py", "")]);
        let error = unpack(&wheel, Set::Cpu, folder.path(), "torch").unwrap_err().to_string();
        assert!(error.contains("nothing in"), "{error}");
    }
}
