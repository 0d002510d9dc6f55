//! A split by the names of folders and files alone, as the hub tells it for datasets that do not say.

use std::collections::BTreeSet;

use super::{Split, unknown};

/// Endings of files with rows: of several kinds the first is read, the others are copies of it.
const KINDS: [&[&str]; 7] =
    [&["parquet"], &["arrow"], &["jsonl", "ndjson"], &["json"], &["csv"], &["tsv"], &["txt"]];

/// Endings of packed files, after that of their kind.
const PACKED: [&str; 2] = [".zst", ".gz"];

/// Files that describe a dataset and are none of its rows.
const OTHERS: [&str; 6] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "package.json",
];

/// What splits are also called.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The files whose name, folder or words in the name are those of the split; where no file is told so, all are `train`.
pub(super) fn files(names: &BTreeSet<String>, split: &Split) -> Result<Vec<String>, String> {
    let prefix = split.subset.as_ref().map(|subset| format!("{subset}/")).unwrap_or_default();
    let data: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with(&prefix) && kind(name).is_some())
        .collect();
    if data.is_empty() && !prefix.is_empty() {
        return Err(unknown("subset", prefix.trim_end_matches('/'), &folders(names)));
    }
    let own = |name: &str| name[prefix.len()..].to_owned();
    let rules: [fn(&str, &str) -> bool; 3] = [is_name, is_folder, is_word];
    let mut found: Vec<&str> = Vec::new();
    for rule in rules {
        found = data.iter().copied().filter(|name| rule(&own(name), &split.name)).collect();
        if !found.is_empty() {
            break;
        }
    }
    let told = |name: &&str| SPLITS.iter().any(|(known, _)| rules.iter().any(|rule| rule(&own(name), known)));
    if found.is_empty() && split.name == "train" && !data.iter().any(told) {
        found.clone_from(&data);
    }
    let first = found.iter().filter_map(|name| kind(name)).min();
    found.retain(|name| kind(name) == first);
    if found.is_empty() {
        let known: Vec<String> = data.iter().map(|name| (*name).to_owned()).collect();
        return Err(format!("no file is of the split {:?}: {}", split.name, list(&known)));
    }
    let homes: BTreeSet<String> = found.iter().map(|name| folder(name).to_owned()).collect();
    if homes.len() > 1 && split.subset.is_none() {
        let homes: Vec<String> = homes.into_iter().collect();
        return Err(format!(
            "the split {:?} is in several folders ({}): name one in task.subset",
            split.name,
            homes.join(", ")
        ));
    }
    Ok(found.into_iter().map(str::to_owned).collect())
}

fn list(files: &[String]) -> String {
    match files {
        [] => "there are none that hold rows".to_owned(),
        files => format!("there are {}", files.iter().take(30).cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// Position in [`KINDS`]; none for a file that holds no rows.
pub(super) fn kind(path: &str) -> Option<usize> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with('.') || OTHERS.contains(&name) {
        return None;
    }
    let plain = PACKED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let (_, ending) = plain.rsplit_once('.')?;
    KINDS.iter().position(|endings| endings.contains(&ending))
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn folders(names: &BTreeSet<String>) -> BTreeSet<String> {
    names
        .iter()
        .filter(|name| kind(name).is_some())
        .map(|name| folder(name).to_owned())
        .filter(|it| !it.is_empty())
        .collect()
}

/// The file name up to its first dot.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name)
}

/// `train-00002-of-00005.parquet` is file 2 of 5 of what comes before; what comes after, such as a hash, does not count.
pub(super) fn shard(path: &str) -> Option<(&str, usize, usize)> {
    let start = folder(path).len() + usize::from(path.contains('/'));
    let (at, _) = stem(path).match_indices("-of-").next()?;
    let (before, after) = (&path[..start + at], &path[start + at + "-of-".len()..]);
    let (name, number) = before.rsplit_once('-')?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    Some((name, number.parse().ok()?, after[..digits].parse().ok()?))
}

fn is_name(path: &str, split: &str) -> bool {
    let name = shard(path).map_or_else(|| stem(path), |(before, _, _)| stem(before));
    name == split
}

fn words(split: &str) -> &[&str] {
    SPLITS.iter().find(|(known, _)| *known == split).map_or(&[], |(_, words)| words)
}

fn is_folder(path: &str, split: &str) -> bool {
    folder(path).split('/').any(|part| part == split || words(split).contains(&part))
}

fn is_word(path: &str, split: &str) -> bool {
    stem(path).split(|c: char| !c.is_alphabetic()).any(|word| word == split || words(split).contains(&word))
}
