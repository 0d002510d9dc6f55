//! The settings of two experiment files, key by key.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;
use toml::{Table, Value};

/// A setting that differs.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Setting {
    /// Its place in the file, e.g. `train.learning_rate`; entries of `[[model]]` go by their name.
    pub(super) key: String,
    /// As the first file has it.
    pub(super) first: Option<String>,
    /// As the second file has it.
    pub(super) second: Option<String>,
}

/// What differs between two experiment files but the run's name. A file that is not there has no settings.
///
/// # Errors
/// If a file is no TOML.
pub(super) fn differences(first: &Path, second: &Path) -> Result<Vec<Setting>> {
    let read = |path: &Path| -> Result<BTreeMap<String, String>> {
        let Ok(text) = fs::read_to_string(path) else { return Ok(BTreeMap::new()) };
        let table: Table = text.parse().with_context(|| format!("cannot understand {}", path.display()))?;
        Ok(flat(&table))
    };
    Ok(between(&read(first)?, &read(second)?))
}

fn between(first: &BTreeMap<String, String>, second: &BTreeMap<String, String>) -> Vec<Setting> {
    let mut keys: Vec<&String> = first.keys().chain(second.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| first.get(*key) != second.get(*key) && *key != "name");
    let setting = |key: &String| Setting {
        key: key.clone(),
        first: first.get(key).cloned(),
        second: second.get(key).cloned(),
    };
    keys.into_iter().map(setting).collect()
}

fn flat(table: &Table) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, value) in table {
        descend(key.clone(), value, &mut found);
    }
    found
}

fn descend(key: String, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                descend(format!("{key}.{name}"), value, found);
            }
        }
        Value::Array(entries) if !entries.is_empty() && entries.iter().all(Value::is_table) => {
            for (at, entry) in entries.iter().enumerate() {
                let name = entry.get("name").and_then(Value::as_str).map(str::to_owned);
                descend(format!("{key}.{}", name.unwrap_or_else(|| at.to_string())), entry, found);
            }
        }
        value => {
            found.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_key_by_key_and_models_by_their_name() {
        let first =
            "name = \"a\"\nseeds = [0, 1]\n[train]\nepochs = 2\n[[model]]\nname = \"s\"\nlayers = 1\n";
        let second = "name = \"b\"\nseeds = [0, 1]\n[train]\nepochs = 3\nbatch = 8\n[[model]]\nname = \"l\"\nlayers = 1\n\
                      [[model]]\nname = \"s\"\nlayers = 1\n";
        let [first, second] = [first, second].map(|text| flat(&text.parse::<Table>().unwrap()));
        let told: Vec<_> = between(&first, &second)
            .into_iter()
            .map(|s| format!("{}: {:?} {:?}", s.key, s.first.as_deref(), s.second.as_deref()))
            .collect();
        let expected = [
            "model.l.layers: None Some(\"1\")",
            "model.l.name: None Some(\"\\\"l\\\"\")",
            "train.batch: None Some(\"8\")",
            "train.epochs: Some(\"2\") Some(\"3\")",
        ];
        assert_eq!(told, expected);
        assert!(between(&first, &first).is_empty());
    }
}
