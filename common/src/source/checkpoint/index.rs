//! The index of a sharded checkpoint: which shard holds which tensor.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Component, Path},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::{CheckpointError, Shard, text};

/// The longest index that is read, in bytes: some hundred for each of 100,000 tensors.
pub(super) const LIMIT: u64 = 1 << 25;

/// A checked index: every tensor in one shard, every shard named as a plain file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Index {
    // The rest of an index, such as the total size, is believed by nobody: the shards' own headers say what there is.
    #[serde(rename = "weight_map", deserialize_with = "by_shard")]
    shards: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    /// Reads an index file.
    ///
    /// # Errors
    /// If it cannot be read or [`Index::parse`] refuses it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::parse(&text(path, "index", LIMIT)?)
            .map_err(|reason| CheckpointError::Index { path: path.to_owned(), reason })
    }

    /// Reads the text of an index.
    ///
    /// # Errors
    /// Says why not: no JSON, no `weight_map`, a tensor twice, a shard that is not a file name.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let index: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if index.shards.is_empty() {
            return Err("its weight_map is empty".to_owned());
        }
        index.shards.keys().try_for_each(|name| check_name(name)).map(|()| index)
    }

    /// File names of the shards, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shards.keys().map(String::as_str)
    }

    /// The shards in the folder of the index.
    pub(super) fn beside(self, index: &Path) -> Result<Vec<Shard>, CheckpointError> {
        let unreadable = |path: &Path, source| CheckpointError::Read { path: path.to_owned(), source };
        let folder = index.parent().unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let home = folder.canonicalize().map_err(|error| unreadable(folder, error))?;
        let place = |(name, tensors): (String, BTreeSet<String>)| {
            let path = folder.join(&name);
            let target = path.canonicalize().map_err(|error| unreadable(&path, error))?;
            if !target.is_file() || !(target.starts_with(&home) || is_blob(&home, &target)) {
                let reason = format!(
                    "its shard {name:?} is {}, no file of the folder: copy it there",
                    target.display()
                );
                return Err(CheckpointError::Index { path: index.to_owned(), reason });
            }
            Ok(Shard { path, tensors: Some(tensors) })
        };
        self.shards.into_iter().map(place).collect()
    }
}

/// Whether the hub's cache keeps the bytes of a snapshot at `target`: `snapshots/COMMIT` of a repository links to
/// its `blobs`.
fn is_blob(snapshot: &Path, target: &Path) -> bool {
    let Some(snapshots) = snapshot.parent().filter(|folder| folder.ends_with("snapshots")) else {
        return false;
    };
    snapshots.parent().is_some_and(|repository| target.starts_with(repository.join("blobs")))
}

/// A shard is a file beside the index, and nothing that could be a path on any system.
fn check_name(name: &str) -> Result<(), String> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let odd = |c: char| c == '/' || c == '\\' || c == ':' || c.is_control();
    let short = name.len() <= 255 && !name.starts_with('.');
    if plain && short && name.ends_with(".safetensors") && !name.contains(odd) {
        return Ok(());
    }
    let name: String = name.chars().take(100).collect();
    Err(format!("its shard {name:?} is not the name of a safetensors file beside it"))
}

/// `{tensor: shard}` turned round. A tensor that comes twice is an error: parsers differ in which one they keep.
fn by_shard<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, BTreeSet<String>>, D::Error> {
    struct Map;
    impl<'de> Visitor<'de> for Map {
        type Value = BTreeMap<String, BTreeSet<String>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object of tensor names and file names")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut seen = BTreeSet::new();
            let mut shards = Self::Value::new();
            while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
                if !seen.insert(tensor.clone()) {
                    return Err(A::Error::custom(format!("tensor {tensor:?} comes twice")));
                }
                shards.entry(shard).or_default().insert(tensor);
            }
            Ok(shards)
        }
    }
    deserializer.deserialize_map(Map)
}
