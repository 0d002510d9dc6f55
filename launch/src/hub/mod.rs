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

use std::{collections::BTreeMap, fmt, path::PathBuf};

use anyhow::{Result, bail};
use fulcrum_common::{
    experiment::{DataFile, Experiment, Origin},
    source::{ADAPTER_FILES, HubId, RepositoryKind, Roots, model_files},
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

/// Fetches all that the experiment reads from the hub and that is neither below the data root nor in the cache.
/// `say` is told before each download.
///
/// # Errors
/// If the hub does not have it, does not give it away, cannot be reached or must not be asked.
pub(crate) fn fetch(
    experiment: &Experiment,
    roots: &Roots,
    settings: &Settings,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut fetcher = Fetcher { roots, settings, say };
    for origin in experiment.origins() {
        if let Origin::Hub(id) = origin {
            fetcher.model(id)?;
        }
    }
    for origin in experiment.adapters() {
        if let Origin::Hub(id) = origin {
            fetcher.adapter(id)?;
        }
    }
    let mut missing: BTreeMap<&HubId, Vec<&str>> = BTreeMap::new();
    for file in experiment.files() {
        if let DataFile::OnHub { id, name } = file
            && roots.hub_file(id, name).is_none()
        {
            missing.entry(id).or_default().push(name);
        }
    }
    missing.into_iter().try_for_each(|(id, names)| fetcher.dataset(id, &names))
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
        self.repository(place, Wanted::Model)
    }

    fn adapter(&mut self, id: &HubId) -> Result<()> {
        let place = Place { kind: RepositoryKind::Model, id };
        let cached = self.roots.hub.snapshot(place.kind, id);
        let whole = |folder: PathBuf| ADAPTER_FILES.iter().all(|name| folder.join(name).is_file());
        if self.roots.copied(id, ADAPTER_FILES[0]).is_some() || cached.is_some_and(whole) {
            return Ok(());
        }
        self.repository(place, Wanted::Files(&ADAPTER_FILES))
    }

    fn dataset(&mut self, id: &HubId, names: &[&str]) -> Result<()> {
        let place = Place { kind: RepositoryKind::Dataset, id };
        self.repository(place, Wanted::Files(names))
    }

    /// Fetches what is wanted of a repository.
    fn repository(&mut self, place: Place<'_>, wanted: Wanted<'_>) -> Result<()> {
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
    fn download(&mut self, place: Place<'_>, wanted: Wanted<'_>) -> Result<()> {
        let client = client::Client::new(self.settings)?;
        let repository = cache::Repository::open(&client, &self.roots.hub, place)?;
        let names = match wanted {
            Wanted::Model => wanted::model(&repository)?,
            Wanted::Files(names) => repository.need(names)?,
        };
        let (bytes, folder) = (repository.bytes(&names), self.roots.hub.repository(place.kind, place.id));
        let megabytes = bytes.div_ceil(1_000_000);
        (self.say)(&format!("fetching the {place} ({megabytes} MB) into {}", folder.display()));
        names.iter().try_for_each(|name| repository.fetch(name).map(drop))?;
        repository.commit()
    }

    /// A program without a TLS stack.
    #[cfg(not(feature = "hub"))]
    fn download(&mut self, place: Place<'_>, wanted: Wanted<'_>) -> Result<()> {
        let what = match wanted {
            Wanted::Model => "its files".to_owned(),
            Wanted::Files(names) => names.join(", "),
        };
        (self.say)(&format!(
            "{} is not asked: this program was built without the feature `hub`",
            self.settings.endpoint
        ));
        bail!("the {place} is not on this machine: put {what} below --data-root")
    }
}
