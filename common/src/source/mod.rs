//! What an experiment reads from outside the store: dataset files and pretrained models, found on this
//! machine and named by the digest of their bytes.

mod adapter;
pub mod checkpoint;
pub mod discover;
mod hub;
mod model;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

pub use adapter::{ADAPTER_FILES, AdapterFolder, adapter_digest};
pub use checkpoint::{CheckpointError, WeightFiles};
pub use hub::{HubCache, HubId, RepositoryKind, is_commit};
pub use model::{BACKBONE, COMPANIONS, ModelFolder, Purpose, model_digest, model_files, reads_images};

use discover::Split;

use crate::{
    Key,
    experiment::{Chosen, DataFiles, DataPlace, Experiment, Origin},
    plan::FileDigest,
};

/// Where local copies are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Dataset files and hub models (`--data-root`), if the user said.
    pub data: Option<PathBuf>,
    /// What was fetched before.
    pub cache: PathBuf,
    /// What was fetched from the hub before, by this program or another.
    pub hub: HubCache,
}

/// Everything that an experiment reads from outside, found and digested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    models: BTreeMap<Origin, ModelFolder>,
    adapters: BTreeMap<Origin, AdapterFolder>,
    files: Vec<SourceFile>,
}

/// One dataset file on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Name and digest, as plans have it.
    pub digest: FileDigest,
}

/// Why something outside cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is on the hub, and there is no copy here.
    #[error(
        "{what} is not at {places}: let it be fetched, or keep a copy below a data root (--data-root DIR or FULCRUM_DATA)"
    )]
    NotFetched {
        /// What is read.
        what: String,
        /// Where it was looked for.
        places: String,
    },
    /// It is not where it should be.
    #[error("{path} does not exist: {way_out}")]
    Missing {
        /// Where it was looked for.
        path: String,
        /// What to do.
        way_out: String,
    },
    /// Reading failed.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A model's `config.json` is not what it should be.
    #[error("{path} is no model description: {reason}")]
    Config {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The weights of a model are at fault.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A dataset's folder does not tell which files are a split.
    #[error("the dataset in {path}: {reason}")]
    Split {
        /// The folder.
        path: String,
        /// What is the matter.
        reason: String,
    },
    /// A name that leads out of its folder, or none at all.
    #[error("{name:?} is no file name that a plan can carry")]
    Name {
        /// The name.
        name: String,
    },
}

impl Sources {
    /// Finds and digests all that `experiment` reads. Packages must lie in the cache already,
    /// see [`Roots::package`].
    ///
    /// # Errors
    /// Names the first thing that is absent or unreadable, where it was looked for, and the way out.
    pub fn resolve(experiment: &Experiment, roots: &Roots) -> Result<Self, SourceError> {
        let mut sources = Self::default();
        for origin in experiment.origins() {
            sources.models.insert(origin.clone(), roots.model(origin)?);
        }
        for origin in experiment.adapters() {
            sources.adapters.insert(origin.clone(), roots.adapter(origin)?);
        }
        if let Some(files) = experiment.files() {
            let paths = roots.rows(files)?;
            sources.files = paths.iter().map(|path| SourceFile::open(path)).collect::<Result<_, _>>()?;
        }
        Ok(sources)
    }

    /// The dataset files, in the experiment's order.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The model of that origin.
    pub fn model(&self, origin: &Origin) -> Option<&ModelFolder> {
        self.models.get(origin)
    }

    /// The adapters of that origin.
    pub fn adapter(&self, origin: &Origin) -> Option<&AdapterFolder> {
        self.adapters.get(origin)
    }
}

impl Roots {
    /// The folder that holds the model files of a Python package, once fetched.
    pub fn package(&self, package: &str) -> PathBuf {
        self.cache.join("pypi").join(package)
    }

    /// Finds and digests a model. A package must lie in the cache already, see [`Roots::package`].
    ///
    /// # Errors
    /// If it is absent or unreadable: where it was looked for, and the way out.
    pub fn model(&self, origin: &Origin) -> Result<ModelFolder, SourceError> {
        let (folder, way_out) = match origin {
            Origin::Pypi(name) => (
                self.package(name),
                format!("the package {name:?} has not been fetched, `fulcrum run` does that"),
            ),
            Origin::Hub(id) => {
                (self.hub_folder(id, "config.json")?, "the copy of the model is not whole".to_owned())
            }
            Origin::Folder(path) => {
                (path.clone(), "a model is a folder with config.json, or hf:OWNER/NAME".to_owned())
            }
        };
        existing(folder.join("config.json"), way_out)?;
        ModelFolder::open(&folder)
    }

    /// Finds and digests adapters.
    ///
    /// # Errors
    /// As [`Roots::model`].
    pub fn adapter(&self, origin: &Origin) -> Result<AdapterFolder, SourceError> {
        AdapterFolder::open(&match origin {
            Origin::Pypi(name) => self.package(name),
            Origin::Hub(id) => self.hub_folder(id, ADAPTER_FILES[0])?,
            Origin::Folder(path) => path.clone(),
        })
    }

    /// The copy of a hub's repository below the data root, if `file` lies there.
    pub fn copied(&self, id: &HubId, file: &str) -> Option<PathBuf> {
        let folder = self.data.as_deref()?.join(id.to_string());
        folder.join(file).exists().then_some(folder)
    }

    /// A copy of a hub's model: the user's own, else the cached one.
    fn hub_folder(&self, id: &HubId, file: &str) -> Result<PathBuf, SourceError> {
        let kind = RepositoryKind::Model;
        let found = self.copied(id, file).or_else(|| self.hub.snapshot(kind, id));
        found.ok_or_else(|| self.not_fetched(&format!("the model hf:{id}"), kind, id))
    }

    fn not_fetched(&self, what: &str, kind: RepositoryKind, id: &HubId) -> SourceError {
        let data = self.data.as_deref().map(|root| format!("{} or ", root.join(id.to_string()).display()));
        let (data, cache) = (data.unwrap_or_default(), self.hub.repository(kind, id));
        SourceError::NotFetched { what: what.to_owned(), places: format!("{data}{}", cache.display()) }
    }

    /// Where the files of a dataset lie.
    fn rows(&self, files: &DataFiles) -> Result<Vec<PathBuf>, SourceError> {
        match (&files.place, &files.chosen) {
            (DataPlace::Folder(folder), Chosen::Named(names)) => {
                let way_out = "task.files names files below task.source";
                names.iter().map(|name| existing(folder.join(name), way_out.to_owned())).collect()
            }
            (DataPlace::Hub(id), Chosen::Named(names)) => {
                let lost =
                    |name| self.not_fetched(&format!("the dataset file {name}"), RepositoryKind::Dataset, id);
                names.iter().map(|name| self.hub_file(id, name).ok_or_else(|| lost(name))).collect()
            }
            (DataPlace::Folder(folder), Chosen::Split(split)) => {
                existing(folder.clone(), "task.source is the folder of a dataset".to_owned())?;
                discovered(folder, split)
            }
            (DataPlace::Hub(id), Chosen::Split(split)) => self.hub_split(id, split),
        }
    }

    /// The files of a split of a hub's dataset: in the user's own copy, else those that were fetched for it, else what a
    /// cached snapshot of another program has.
    fn hub_split(&self, id: &HubId, split: &Split) -> Result<Vec<PathBuf>, SourceError> {
        if let Some(folder) = self.copied(id, "") {
            return discovered(&folder, split);
        }
        let kind = RepositoryKind::Dataset;
        let lost = || self.not_fetched(&format!("the dataset hf:{id}"), kind, id);
        let folder = self.hub.snapshot(kind, id).ok_or_else(lost)?;
        match self.fetched_split(id, split) {
            Some(names) => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
            None => discovered(&folder, split),
        }
    }

    /// The files that were fetched for a split, if all of them are in the hub's cache.
    pub fn fetched_split(&self, id: &HubId, split: &Split) -> Option<Vec<String>> {
        let folder = self.hub.snapshot(RepositoryKind::Dataset, id)?;
        let text = fs::read(self.split_list(id, split)?).ok()?;
        let names: Vec<String> = serde_json::from_slice(&text).ok()?;
        let there = |name: &String| discover::is_inside(name) && folder.join(name).is_file();
        (!names.is_empty() && names.iter().all(there)).then_some(names)
    }

    /// Where it is kept which files of a dataset, at the commit in the hub's cache, are those of a split: the snapshot
    /// need not hold all files of the dataset, so it cannot tell.
    pub fn split_list(&self, id: &HubId, split: &Split) -> Option<PathBuf> {
        let snapshot = self.hub.snapshot(RepositoryKind::Dataset, id)?;
        let repository = self.hub.repository(RepositoryKind::Dataset, id);
        let list = self.cache.join("hub").join(repository.file_name()?).join(snapshot.file_name()?);
        let subset = split.subset.as_ref().map(|subset| format!("of-{subset}")).unwrap_or_default();
        Some(list.join(subset).join(format!("{}.json", split.name)))
    }

    /// A file of a hub's dataset: in the user's own copy of the dataset, else right below the data root, else cached.
    pub fn hub_file(&self, id: &HubId, name: &str) -> Option<PathBuf> {
        let below = |folder: PathBuf| Some(folder.join(name)).filter(|path| path.exists());
        let copied = self.copied(id, name).and_then(below);
        let copied = copied.or_else(|| below(self.data.clone()?));
        copied.or_else(|| below(self.hub.snapshot(RepositoryKind::Dataset, id)?))
    }
}

fn discovered(folder: &Path, split: &Split) -> Result<Vec<PathBuf>, SourceError> {
    let found = discover::discover_in(folder, split);
    let found = found.map_err(|reason| SourceError::Split { path: folder.display().to_string(), reason })?;
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

fn existing(path: PathBuf, way_out: String) -> Result<PathBuf, SourceError> {
    if path.exists() {
        Ok(path)
    } else {
        Err(SourceError::Missing { path: path.display().to_string(), way_out })
    }
}

impl SourceFile {
    /// Digests a file.
    ///
    /// # Errors
    /// If it cannot be read, or its name is not text.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let digest = digest(path)?;
        // The name that was given: where it is a link, as in a hub's cache, the file behind it has no ending.
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| SourceError::Name { name: path.display().to_string() })?.to_owned();
        let path = path.canonicalize().map_err(|error| unreadable(path, error))?;
        Ok(Self { path, digest: FileDigest { name, digest } })
    }
}

/// BLAKE3 of a file's bytes, in constant memory.
///
/// # Errors
/// If it cannot be read.
pub fn digest(path: &Path) -> Result<Key, SourceError> {
    let hash = || -> std::io::Result<Key> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(hasher.finalize().into())
    };
    hash().map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: std::io::Error) -> SourceError {
    SourceError::Unreadable { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment;

    const FILES: &str = r#"
        name = "t"
        recipe = "weak-to-strong"
        [task]
        source = "hf:owner/set"
        files = ["set/rows.csv"]
        text = "{{ text }}"
        label = "label"
        classes = ["0", "1"]
        split = { ground_truth = 4, weak_labels = 4, test = 4 }
        [[model]]
        name = "small"
        from = "models/small"
        [[model]]
        name = "large"
        from = "pypi:some-model"
    "#;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn write_model(folder: &Path) {
        write(
            &folder.join("config.json"),
            r#"{"architectures": ["BertModel"], "num_hidden_layers": 6, "max_position_embeddings": 512}"#,
        );
        write(&folder.join("model.safetensors"), "weights");
        write(&folder.join("tokenizer.json"), "{}");
    }

    #[test]
    fn a_linked_file_keeps_the_name_that_tells_its_format() {
        let dir = tempfile::tempdir().unwrap();
        let (blob, link) = (dir.path().join("blobs/5f2a"), dir.path().join("train.csv"));
        write(&blob, "text\na\n");
        std::os::unix::fs::symlink(&blob, &link).unwrap();
        let file = SourceFile::open(&link).unwrap();
        assert_eq!((file.digest.name.as_str(), file.path), ("train.csv", blob.canonicalize().unwrap()));
    }

    #[test]
    fn each_missing_thing_is_named_with_where_it_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let experiment = experiment::parse("t.toml", FILES, dir.path()).unwrap();
        let mut roots = Roots { data: None, cache: at("cache"), hub: HubCache::new(at("hub")) };
        let problem = |roots: &Roots| Sources::resolve(&experiment, roots).unwrap_err().to_string();

        assert!(problem(&roots).contains("models/small/config.json does not exist"), "{}", problem(&roots));
        write_model(&at("models/small"));
        assert!(
            problem(&roots).contains("cache/pypi/some-model/config.json does not exist"),
            "{}",
            problem(&roots)
        );
        write_model(&at("cache/pypi/some-model"));
        assert!(problem(&roots).contains("the dataset file set/rows.csv"), "{}", problem(&roots));
        assert!(problem(&roots).contains("--data-root"), "{}", problem(&roots));
        roots.data = Some(at("data"));
        assert!(problem(&roots).contains("data/owner/set or "), "{}", problem(&roots));
        write(&at("data/set/rows.csv"), "text,label\na,0\n");
        let sources = Sources::resolve(&experiment, &roots).unwrap();
        assert_eq!(sources.files()[0].digest.name, "rows.csv");
        assert_eq!(sources.files()[0].digest.digest, Key::of(b"text,label\na,0\n"));
    }
}
