//! Which files of a dataset folder hold a split, by the conventions of the Hugging Face hub: what `README.md` says, what
//! `save_to_disk` left, else the names of folders and files.

mod card;
mod names;
mod pattern;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path},
};

use serde::Deserialize;

/// The split of a dataset that is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Split {
    /// The configuration, which the hub calls a subset, where a dataset has several.
    pub subset: Option<String>,
    /// Its name, e.g. `train`.
    pub name: String,
}

/// Longest `README.md` or `state.json` that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// Most files that a folder is searched for.
const MOST_FILES: usize = 200_000;

/// The files of a split, in the order in which they are read. `names` are all files of the dataset, relative to it;
/// `read` gives the text of one.
///
/// # Errors
/// Says in one line why no files, or not all of them, can be told.
pub fn discover(
    names: &BTreeSet<String>,
    split: &Split,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Vec<String>, String> {
    let found = match saved(names, split, read)? {
        Some(found) => found,
        None => match card::configs(names, read)? {
            Some(configs) => card::files(&configs, names, split)?,
            None => names::files(names, split)?,
        },
    };
    whole(&found)?;
    Ok(found)
}

/// [`discover`] in a folder on this machine.
///
/// # Errors
/// As [`discover`], or if the folder cannot be read.
pub fn discover_in(folder: &Path, split: &Split) -> Result<Vec<String>, String> {
    let names = walk(folder)?;
    discover(&names, split, &mut |name| {
        let path = folder.join(name);
        let unreadable = |error| format!("{} cannot be read: {error}", path.display());
        match fs::metadata(&path).map_err(unreadable)?.len() {
            bytes if bytes > LIMIT => {
                Err(format!("{} has {bytes} bytes, {LIMIT} are the most", path.display()))
            }
            _ => fs::read(&path).map_err(unreadable),
        }
    })
}

/// Every file below a folder, by its path from there. Links to folders are not followed.
fn walk(folder: &Path) -> Result<BTreeSet<String>, String> {
    let (mut names, mut open) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(inner) = open.pop() {
        let unreadable = |error| format!("{} cannot be read: {error}", inner.display());
        for entry in fs::read_dir(&inner).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) {
                names.insert(name.to_owned());
            }
            if names.len() > MOST_FILES {
                return Err(format!(
                    "{} holds more than {MOST_FILES} files: name those to read",
                    folder.display()
                ));
            }
        }
    }
    Ok(names)
}

/// What `Dataset.save_to_disk` writes beside the rows.
#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    files: Vec<StateFile>,
    #[serde(rename = "_split")]
    split: Option<String>,
}

#[derive(Deserialize)]
struct StateFile {
    filename: String,
}

/// What `DatasetDict.save_to_disk` writes above its datasets.
#[derive(Deserialize)]
struct Dict {
    splits: Vec<String>,
}

/// The files of a dataset, or of a split of several, that `save_to_disk` left.
fn saved(
    names: &BTreeSet<String>,
    split: &Split,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Option<Vec<String>>, String> {
    let home = if names.contains("dataset_dict.json") {
        let dict: Dict = parse("dataset_dict.json", read)?;
        if !dict.splits.contains(&split.name) {
            return Err(unknown("split", &split.name, &dict.splits));
        }
        format!("{}/", split.name)
    } else if names.contains("state.json") {
        String::new()
    } else {
        return Ok(None);
    };
    let state: State = parse(&format!("{home}state.json"), read)?;
    if let Some(other) = state.split.filter(|name| home.is_empty() && *name != split.name) {
        return Err(unknown("split", &split.name, &[other]));
    }
    let files: Vec<String> = state.files.iter().map(|file| format!("{home}{}", file.filename)).collect();
    match files.iter().find(|file| !names.contains(*file)) {
        Some(file) => Err(format!("{home}state.json names {file}, which is not there")),
        None => Ok(Some(files)),
    }
}

fn parse<T: for<'de> Deserialize<'de>>(
    name: &str,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<T, String> {
    serde_json::from_slice(&read(name)?)
        .map_err(|error| format!("{name} is not as save_to_disk writes it: {error}"))
}

/// Of files such as `train-00000-of-00003.parquet` all must be there: a part of a split looks like a whole one.
fn whole(files: &[String]) -> Result<(), String> {
    let mut shards: BTreeMap<(&str, usize), BTreeSet<usize>> = BTreeMap::new();
    for file in files {
        if let Some((stem, shard, of)) = names::shard(file) {
            shards.entry((stem, of)).or_default().insert(shard);
        }
    }
    match shards.iter().find(|((_, of), found)| found.len() < *of) {
        Some(((stem, of), found)) => Err(format!("{} of {of} files of {stem} are there", found.len())),
        None => Ok(()),
    }
}

/// Whether a path stays below the folder that it is joined to.
pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.into_iter().map(String::as_str).take(30).collect();
    format!("there is no {what} {name:?}: known are {}", known.join(", "))
}

#[cfg(test)]
mod tests;
