//! `fulcrum plan`: the stage graph of an experiment, what is cached, what the rest will cost.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;
use fulcrum_common::{
    plan::{render, view},
    store::Store,
};

use super::print;
use crate::experiment::{Fetch, Places, compile};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The experiment file
    file: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

/// Prints the plan. Makes no store where there is none; packages that it has to look into are fetched.
///
/// # Errors
/// What is wrong with the experiment file.
pub(super) async fn run(args: Args) -> Result<()> {
    show(&args.file, &args.places, args.json).await
}

/// The same for whoever has read the command line.
///
/// # Errors
/// As [`run`].
pub(super) async fn show(file: &Path, places: &Places, json: bool) -> Result<()> {
    let compiled = compile(file, places, Fetch::Missing)?;
    let mut cached = BTreeSet::new();
    if compiled.store.may_have_store() {
        let store = Store::at(&compiled.store)?;
        for stage in compiled.plan.stages() {
            if store.manifest(stage.key).await?.is_some() {
                cached.insert(stage.key);
            }
        }
    }
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&view(&compiled.plan, &cached))?))
    } else {
        print(&render(&compiled.plan, &cached))
    }
}
