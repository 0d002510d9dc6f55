//! `fulcrum artifacts`: what is in the store, whether it is whole, what of it nobody needs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use comfy_table::Cell;
use fulcrum_common::{
    Key, exit,
    plan::Plan,
    store::{Manifest, Store},
};

use super::print;
use crate::{
    experiment::{Fetch, Places, compile},
    failure::{Failure, of_store},
    progress::thousands,
    run_folder::{RunFolder, read_json},
    table::{number, table},
};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what is in the store
    Ls(At),
    /// Compare every byte in the store with its digest
    Verify(At),
    /// Remove what no run and no named experiment file reaches, and what failed attempts left behind
    Gc(Gc),
    /// Copy the files of one artifact into a new folder
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct At {
    /// The artifact store
    #[arg(long, value_name = "DIR", default_value = "fulcrum-store")]
    store: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Gc {
    /// Experiment files whose stages are kept, beside those of the runs
    keep: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
    /// Folder of all runs; what their plans reach is kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Folder with local copies of the datasets and models that experiment files name
    #[arg(long, value_name = "DIR", env = "FULCRUM_DATA")]
    data_root: Option<PathBuf>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// The artifact's key, or the first digits of it
    key: String,
    /// The new folder
    folder: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Does what was asked.
///
/// # Errors
/// If there is no store, something in it is damaged, or it is in use.
pub(super) async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Ls(at) => ls(&open(&at)?).await,
        Command::Verify(at) => verify(&open(&at)?).await,
        Command::Gc(gc) => clean(gc).await,
        Command::Export(export) => copy(&export).await,
    }
}

/// Opens a store that is there: looking must not make one.
fn open(at: &At) -> Result<Store> {
    if !at.store.join("artifacts").is_dir() {
        bail!("{} is no artifact store: name it with --store", at.store.display());
    }
    Ok(Store::open(&at.store)?)
}

async fn ls(store: &Store) -> Result<()> {
    let mut manifests = store.list().await.map_err(of_store)?;
    manifests.sort_by(|a, b| (a.spec.work.kind(), &a.name).cmp(&(b.spec.work.kind(), &b.name)));
    print(&format!("{}\n", listed(&manifests)))
}

fn listed(manifests: &[Manifest]) -> String {
    let mut table = table(["key", "kind", "name", "files", "bytes"]);
    for manifest in manifests {
        table.add_row([
            Cell::new(manifest.key.short()),
            Cell::new(manifest.spec.work.kind()),
            Cell::new(&manifest.name),
            number(manifest.files.len()),
            number(thousands(manifest.bytes())),
        ]);
    }
    let bytes = manifests.iter().map(Manifest::bytes).sum();
    format!("{table}\n{} artifacts, {} bytes", manifests.len(), thousands(bytes))
}

async fn verify(store: &Store) -> Result<()> {
    let seen = store.verify().await?;
    let counts = format!(
        "{} artifacts, {} files, {} bytes compared, {} damaged",
        thousands(seen.artifacts),
        thousands(seen.files),
        thousands(seen.bytes),
        seen.faults.len()
    );
    print(&format!("{counts}\n"))?;
    if seen.faults.is_empty() {
        return Ok(());
    }
    let fault = |fault: &fulcrum_common::store::Fault| {
        let name = fault.name.as_deref().unwrap_or("unreadable manifest");
        format!("{} ({name}): {}", fault.key.short(), fault.error)
    };
    let faults: Vec<String> = seen.faults.iter().map(fault).collect();
    Err(Failure::new(exit::DIGEST, faults.join("\n")).into())
}

async fn clean(gc: Gc) -> Result<()> {
    let mut keep = kept_by_runs(&gc.runs)?;
    let places = Places { store: Some(gc.at.store.clone()), data_root: gc.data_root };
    for file in &gc.keep {
        let compiled = compile(file, &places, Fetch::Never)
            .with_context(|| format!("nothing is removed while {} cannot be kept", file.display()))?;
        keep.extend(compiled.plan.stages.iter().map(|stage| stage.key));
    }
    let store = open(&gc.at)?;
    if !gc.dry_run {
        let swept = store.gc(&keep).await.map_err(of_store)?;
        let (artifacts, attempts, bytes) = (swept.artifacts, swept.attempts, thousands(swept.bytes));
        return print(&format!(
            "removed {artifacts} artifacts, {attempts} unfinished attempts, {bytes} bytes\n"
        ));
    }
    let mut lines = String::new();
    for key in store.keys().await?.into_iter().filter(|key| !keep.contains(key)) {
        let line = match store.manifest(key).await {
            Ok(Some(manifest)) => format!("{}  {} bytes", manifest.name, thousands(manifest.bytes())),
            Ok(None) => continue,
            Err(error) => error.to_string(),
        };
        lines.push_str(&format!("would remove {}  {line}\n", key.short()));
    }
    print(&lines)
}

/// The stages of every run below `runs`.
fn kept_by_runs(runs: &Path) -> Result<BTreeSet<Key>> {
    let mut keep = BTreeSet::new();
    if !runs.is_dir() {
        return Ok(keep);
    }
    for entry in fs::read_dir(runs).with_context(|| format!("cannot read {}", runs.display()))? {
        let folder = RunFolder::new(entry?.path());
        if folder.plan().is_file() {
            // Not checked: what a run of another version made is kept too.
            let plan: Plan =
                read_json(&folder.plan()).context("nothing is removed while a plan cannot be read")?;
            keep.extend(plan.stages.iter().map(|stage| stage.key));
        }
    }
    Ok(keep)
}

async fn copy(export: &Export) -> Result<()> {
    let store = open(&export.at)?;
    let keys = store.keys().await?;
    let mut found = keys.iter().filter(|key| key.to_string().starts_with(&export.key));
    let key = match (found.next(), found.next()) {
        (Some(key), None) => *key,
        (None, _) => {
            bail!("no artifact in {} has a key that begins with {:?}", store.root().display(), export.key)
        }
        (Some(_), Some(_)) => {
            bail!("several artifacts have a key that begins with {:?}: give more digits", export.key)
        }
    };
    let manifest = store.export(key, &export.folder).await.map_err(of_store)?;
    print(&format!("{} -> {}\n", manifest.name, export.folder.display()))
}
