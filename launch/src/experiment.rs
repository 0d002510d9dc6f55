//! From an experiment file on disk to a plan: read, its sources found, compiled.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fulcrum_common::{
    Key,
    experiment::{self, Experiment, Sweep},
    plan::Plan,
    recipe,
    source::{Roots, Sources},
    store::Place,
};

use crate::{
    failure::Failure,
    fetch,
    hub::{self, Needs},
};

/// Where data is looked for and artifacts are kept.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Places {
    /// The artifact store: a folder, or a bucket as s3://BUCKET/PREFIX [default: the experiment file's, else `fulcrum-store`]
    #[arg(long, value_name = "PLACE")]
    pub(crate) store: Option<Place>,
    #[command(flatten)]
    pub(crate) copies: Copies,
}

/// Where local copies are looked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Copies {
    /// Folder with local copies of the datasets and models that are named by their ids on the hub
    #[arg(long, value_name = "DIR", env = "FULCRUM_DATA")]
    data_root: Option<PathBuf>,
}

/// A compiled experiment file.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) sweep: Sweep,
    /// The file's text.
    pub(crate) text: String,
    /// All that is done.
    pub(crate) plan: Plan,
    /// What of it belongs to each of the tasks, by their names; empty where they have none.
    pub(crate) tasks: Vec<(String, Plan)>,
    /// The stage whose artifact is the outcome.
    pub(crate) goal: Key,
    /// The store that is meant.
    pub(crate) store: Place,
}

/// Whether packages and repositories that are not there yet may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// They are an error.
    Never,
    /// They are fetched, and that is said.
    Missing,
}

impl Copies {
    /// Local copies first, then what is in the caches.
    ///
    /// # Errors
    /// If the environment names no cache folder, or makes no sense.
    pub(crate) fn roots(&self) -> Result<Roots> {
        let hub = hub::Settings::from_environment()?.cache();
        Ok(Roots { data: self.data_root.clone(), cache: fetch::cache_folder()?, hub })
    }
}

/// Fetches what is on no machine of the user's yet, and says so on standard error.
///
/// # Errors
/// If something is nowhere, or must not be asked for.
pub(crate) fn fetch_missing(needs: &Needs<'_>, roots: &Roots) -> Result<()> {
    let mut say = |line: &str| eprintln!("{line}");
    fetch::packages(&needs.models, roots, &mut say)?;
    hub::fetch(needs, roots, &hub::Settings::from_environment()?, &mut say)
}

/// Reads, resolves and compiles an experiment file.
///
/// # Errors
/// What is wrong with the file, or what it names and is not there.
pub(crate) fn compile(file: &Path, places: &Places, fetch: Fetch) -> Result<Compiled> {
    let sweep = experiment::load(file)?;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let roots = places.copies.roots()?;
    let mut plans = sweep.tasks().iter().map(|experiment| plan(experiment, &roots, fetch));
    let (plan, tasks) = if sweep.has_names() {
        let tasks = sweep.tasks().iter().zip(plans).map(|(experiment, plan)| {
            let name = experiment.task_name().unwrap_or_default();
            Ok((name.to_owned(), plan.with_context(|| format!("task {name:?}"))?))
        });
        let tasks: Vec<_> = tasks.collect::<Result<_>>()?;
        (recipe::join(&tasks), tasks)
    } else {
        (plans.next().ok_or_else(|| Failure::bug("the file has no task"))??, Vec::new())
    };
    let goal = plan.goal().ok_or_else(|| Failure::bug("the experiment compiles to no stage at all"))?;
    let store = places.store.clone().unwrap_or_else(|| sweep.shared().store().to_owned());
    Ok(Compiled { sweep, text, plan, tasks, goal, store })
}

fn plan(experiment: &Experiment, roots: &Roots, fetch: Fetch) -> Result<Plan> {
    if fetch == Fetch::Missing {
        let (models, adapters, files) = (experiment.origins(), experiment.adapters(), experiment.files());
        fetch_missing(&Needs { models, adapters, files }, roots)?;
    }
    Ok(recipe::compile(experiment, &Sources::resolve(experiment, roots)?)?)
}
