//! Models and datasets of the Hugging Face hub, fetched into the hub's own cache, where every other program finds them.
//!
//! What the cache holds is not asked for again: name a revision to be sure of it. Everything that a server says is
//! hostile until checked: names of files, digests, lengths, and where a redirection leads.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
mod settings;
#[cfg(feature = "hub")]
mod wanted;

use std::{fmt, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use fulcrum_common::{
    experiment::{Chosen, DataFiles, DataPlace, Origin},
    source::{ADAPTER_FILES, HubId, RepositoryKind, Roots, discover::Split, model_files},
};

pub(crate) use settings::Settings;

/// A repository of the hub.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    kind: RepositoryKind,
    id: &'a HubId,
}

/// Files that are needed of a repository.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    /// Whatever makes it a model.
    Model,
    /// These.
    Files(&'a [&'a str]),
    /// Those of a split.
    Split(&'a Split),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            RepositoryKind::Model => "model",
            RepositoryKind::Dataset => "dataset",
        };
        write!(formatter, "{what} hf:{}", self.id)
    }
}

/// What may have to be fetched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs<'a> {
    /// Models.
    pub(crate) models: Vec<&'a Origin>,
    /// Adapters.
    pub(crate) adapters: Vec<&'a Origin>,
    /// Rows.
    pub(crate) files: Option<&'a DataFiles>,
}

/// Fetches all that is needed from the hub and that is neither below the data root nor in the cache.
/// `say` is told before each download.
///
/// # Errors
/// If the hub does not have it, does not give it away, cannot be reached or must not be asked.
pub(crate) fn fetch(
    needs: &Needs<'_>,
    roots: &Roots,
    settings: &Settings,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut fetcher = Fetcher { roots, settings, say };
    for origin in &needs.models {
        if let Origin::Hub(id) = origin {
            fetcher.model(id)?;
        }
    }
    for origin in &needs.adapters {
        if let Origin::Hub(id) = origin {
            fetcher.adapter(id)?;
        }
    }
    match needs.files {
        Some(DataFiles { place: DataPlace::Hub(id), chosen: Chosen::Named(names) }) => {
            fetcher.files(id, names)
        }
        Some(DataFiles { place: DataPlace::Hub(id), chosen: Chosen::Split(split) }) => {
            fetcher.split(id, split)
        }
        _ => Ok(()),
    }
}

struct Fetcher<'a> {
    roots: &'a Roots,
    settings: &'a Settings,
    say: &'a mut dyn FnMut(&str),
}

impl Fetcher<'_> {
    fn model(&mut self, id: &HubId) -> Result<()> {
        let place = Place { kind: RepositoryKind::Model, id };
        let whole =
            |folder: PathBuf| model_files(&folder).is_ok_and(|files| files.iter().all(|file| file.is_file()));
        let there = self.roots.copied(id, "config.json").is_some();
        if there || self.roots.hub.snapshot(place.kind, id).is_some_and(whole) {
            return Ok(());
        }
        self.repository(place, Wanted::Model).map(drop)
    }

    fn adapter(&mut self, id: &HubId) -> Result<()> {
        let place = Place { kind: RepositoryKind::Model, id };
        let cached = self.roots.hub.snapshot(place.kind, id);
        let whole = |folder: PathBuf| ADAPTER_FILES.iter().all(|name| folder.join(name).is_file());
        if self.roots.copied(id, ADAPTER_FILES[0]).is_some() || cached.is_some_and(whole) {
            return Ok(());
        }
        self.repository(place, Wanted::Files(&ADAPTER_FILES)).map(drop)
    }

    fn files(&mut self, id: &HubId, names: &[String]) -> Result<()> {
        let place = Place { kind: RepositoryKind::Dataset, id };
        let missing = names.iter().map(String::as_str).filter(|name| self.roots.hub_file(id, name).is_none());
        let missing: Vec<&str> = missing.collect();
        if missing.is_empty() { Ok(()) } else { self.repository(place, Wanted::Files(&missing)).map(drop) }
    }

    fn split(&mut self, id: &HubId, split: &Split) -> Result<()> {
        let place = Place { kind: RepositoryKind::Dataset, id };
        let offline = self.settings.offline && self.roots.hub.snapshot(place.kind, id).is_some();
        // What another program has cached is the best guess where nothing may be fetched.
        if offline || self.roots.copied(id, "").is_some() || self.roots.fetched_split(id, split).is_some() {
            return Ok(());
        }
        let names = self.repository(place, Wanted::Split(split))?;
        let list = self.roots.split_list(id, split).context("what was fetched is in the cache")?;
        let folder = list.parent().context("a list lies in a folder")?;
        fs::create_dir_all(folder)?;
        let mut aside = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut aside, &names)?;
        aside.persist(&list)?;
        Ok(())
    }

    /// Fetches what is wanted of a repository, and tells what that was.
    fn repository(&mut self, place: Place<'_>, wanted: Wanted<'_>) -> Result<Vec<String>> {
        if self.settings.offline {
            let cache = self.roots.hub.root().display();
            bail!(
                "the {place} is not in {cache}, and HF_HUB_OFFLINE forbids to fetch it: fetch it once without"
            );
        }
        self.download(place, wanted)
    }

    /// The revision leads to the files only once all are there.
    #[cfg(feature = "hub")]
    fn download(&mut self, place: Place<'_>, wanted: Wanted<'_>) -> Result<Vec<String>> {
        let client = client::Client::new(self.settings)?;
        let repository = cache::Repository::open(&client, &self.roots.hub, place)?;
        let names = match wanted {
            Wanted::Model => wanted::model(&repository)?,
            Wanted::Files(names) => repository.need(names)?,
            Wanted::Split(split) => repository.split(split)?,
        };
        let (bytes, folder) = (repository.bytes(&names), self.roots.hub.repository(place.kind, place.id));
        let megabytes = bytes.div_ceil(1_000_000);
        (self.say)(&format!("fetching the {place} ({megabytes} MB) into {}", folder.display()));
        names.iter().try_for_each(|name| repository.fetch(name).map(drop))?;
        repository.commit()?;
        Ok(names)
    }

    /// A program without a TLS stack.
    #[cfg(not(feature = "hub"))]
    fn download(&mut self, place: Place<'_>, wanted: Wanted<'_>) -> Result<Vec<String>> {
        let what = match wanted {
            Wanted::Model => "its files".to_owned(),
            Wanted::Files(names) => names.join(", "),
            Wanted::Split(split) => format!("the files of its split {:?}", split.name),
        };
        (self.say)(&format!(
            "{} is not asked: this program was built without the feature `hub`",
            self.settings.endpoint
        ));
        bail!("the {place} is not on this machine: put {what} below --data-root")
    }
}
