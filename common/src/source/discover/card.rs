//! The header of a dataset's `README.md`: YAML that may say which files belong to which subset and split.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

use super::{Split, is_inside, names, pattern::matches, unknown};

/// Nested values deeper than this are no card.
const DEPTH: usize = 64;

/// One entry of `configs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    name: String,
    default: bool,
    /// Folder that patterns start from, with a slash at its end, or empty.
    folder: String,
    /// Patterns by split; none where the names of the files tell.
    files: Option<Vec<(String, Vec<String>)>>,
}

/// What the card says; none where it does not speak of files.
pub(super) fn configs(
    names: &BTreeSet<String>,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Option<Vec<Config>>, String> {
    if !names.contains("README.md") {
        return Ok(None);
    }
    let text = read("README.md")?;
    let text = String::from_utf8_lossy(&text);
    let Some(header) = header(&text) else { return Ok(None) };
    let card = yaml(header).map_err(|reason| format!("the header of README.md is not readable: {reason}"))?;
    let Some(listed) = card.get("configs") else { return Ok(None) };
    let broken =
        || "configs in the header of README.md is not as the hub has it: name the files to read".to_owned();
    let read: Option<Vec<Config>> = listed.as_array().ok_or_else(broken)?.iter().map(config).collect();
    read.map(|configs| Some(configs).filter(|configs| !configs.is_empty())).ok_or_else(broken)
}

/// The files of a split, as the card has them.
pub(super) fn files(
    configs: &[Config],
    names: &BTreeSet<String>,
    split: &Split,
) -> Result<Vec<String>, String> {
    let all: Vec<String> = configs.iter().map(|config| config.name.clone()).collect();
    let config = match &split.subset {
        Some(subset) => configs
            .iter()
            .find(|config| config.name == *subset)
            .ok_or_else(|| unknown("subset", subset, &all))?,
        None => {
            let default = configs.iter().find(|config| config.default);
            let default = default.or_else(|| configs.iter().find(|config| config.name == "default"));
            let only = (configs.len() == 1).then(|| &configs[0]);
            default.or(only).ok_or_else(|| {
                format!("there are several subsets, name one in task.subset: {}", all.join(", "))
            })?
        }
    };
    let Some(listed) = &config.files else {
        let inside = names.iter().filter_map(|name| name.strip_prefix(&config.folder));
        let inside = inside.map(str::to_owned).collect();
        let found = names::files(&inside, &Split { subset: None, name: split.name.clone() })?;
        return Ok(found.into_iter().map(|name| format!("{}{name}", config.folder)).collect());
    };
    let known: Vec<String> = listed.iter().map(|(name, _)| name.clone()).collect();
    let patterns = listed.iter().find(|(name, _)| *name == split.name);
    let (_, patterns) = patterns.ok_or_else(|| unknown("split", &split.name, &known))?;
    let mut found: Vec<String> = Vec::new();
    for pattern in patterns {
        let pattern = format!("{}{}", config.folder, pattern.trim_start_matches("./"));
        let matched = names.iter().filter(|name| names::kind(name).is_some() && matches(&pattern, name));
        let fresh: Vec<String> = matched.filter(|name| !found.contains(name)).cloned().collect();
        found.extend(fresh);
    }
    if found.is_empty() {
        return Err(format!(
            "README.md says that {} are the split {:?}, and there is no such file",
            patterns.join(", "),
            split.name
        ));
    }
    Ok(found)
}

fn config(entry: &Value) -> Option<Config> {
    let folder = match entry.get("data_dir") {
        Some(folder) => folder.as_str()?.trim_start_matches("./").trim_end_matches('/'),
        None => "",
    };
    let folder = match folder {
        "" | "." => String::new(),
        folder => Some(format!("{folder}/")).filter(|folder| is_inside(folder))?,
    };
    let files = entry.get("data_files").map(splits);
    let files = match files {
        Some(files) => Some(files?),
        None => None,
    };
    let default = entry.get("default").and_then(Value::as_str) == Some("true");
    Some(Config { name: entry.get("config_name")?.as_str()?.to_owned(), default, folder, files })
}

/// `data_files`: patterns by split, or patterns that are all of `train`.
fn splits(listed: &Value) -> Option<Vec<(String, Vec<String>)>> {
    let by_split =
        |entry: &Value| Some((entry.get("split")?.as_str()?.to_owned(), patterns(entry.get("path")?)?));
    match listed {
        Value::Array(entries) if entries.iter().all(Value::is_object) => {
            entries.iter().map(by_split).collect()
        }
        Value::Object(splits) => {
            splits.iter().map(|(name, paths)| Some((name.clone(), patterns(paths)?))).collect()
        }
        plain => Some(vec![("train".to_owned(), patterns(plain)?)]),
    }
}

fn patterns(value: &Value) -> Option<Vec<String>> {
    let pattern = |value: &Value| value.as_str().filter(|path| is_inside(path)).map(str::to_owned);
    match value {
        Value::Array(paths) => paths.iter().map(pattern).collect(),
        one => Some(vec![pattern(one)?]),
    }
}

/// The part between the first line `---` and the next.
fn header(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches('\u{feff}').strip_prefix("---")?.trim_start_matches([' ', '\r']);
    let rest = rest.strip_prefix('\n')?;
    let end = rest.match_indices("\n---").map(|(at, _)| at).find(|at| {
        let after = &rest[at + 4..];
        after.is_empty() || after.starts_with(['\n', '\r'])
    })?;
    Some(&rest[..=end])
}

/// A document of YAML whose scalars are all taken as text. References within it are refused: they can make a short text
/// stand for more than a machine holds.
fn yaml(text: &str) -> Result<Value, String> {
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let mut done = match event {
            Event::Alias(_) => return Err(format!("line {} has a reference", span.start.line())),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == DEPTH => {
                return Err(format!("line {} is nested too deep", span.start.line()));
            }
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|(value, _)| value),
            Event::Scalar(text, ..) => Some(Value::String(text.into_owned())),
            _ => None,
        };
        match (open.last_mut(), done.take()) {
            (_, None) => {}
            (None, Some(root)) => return Ok(root),
            (Some((Value::Array(items), _)), Some(value)) => items.push(value),
            (Some((Value::Object(entries), key)), Some(value)) => match (key.take(), value) {
                (Some(key), value) => drop(entries.insert(key, value)),
                (None, Value::String(text)) => *key = Some(text),
                (None, other) => *key = Some(other.to_string()),
            },
            (Some(_), Some(_)) => {}
        }
    }
    Ok(Value::Null)
}
