//! `fulcrum artifacts`: what is in the store, whether it is whole, what of it nobody needs.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::Cell;
use fulcrum_common::{
    Key, exit,
    plan::Plan,
    store::{Fault, Manifest, Place, Store, Swept, Verification},
};

use super::print;
use crate::{
    experiment::{Copies, Fetch, Places, compile},
    failure::Failure,
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
    Verify(Verify),
    /// Remove what no run and no named experiment file reaches, and what failed attempts left behind
    Gc(Gc),
    /// Say what one artifact holds, and of what it was made
    Show(Show),
    /// Copy the files of one artifact into a new folder
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct At {
    /// The artifact store: a folder, or a bucket as s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE", default_value = "fulcrum-store")]
    store: Place,
}

/// What a bucket has no lock to say.
#[derive(Debug, clap::Args)]
struct Alone {
    /// No run, worker or other command uses the store: your word, where it is in a bucket and has no lock
    #[arg(long)]
    alone: bool,
}

impl Alone {
    /// The store, to be cleaned.
    fn vouch(&self, store: Store) -> Result<Store> {
        Ok(if self.alone { store.vouched()? } else { store })
    }
}

#[derive(Debug, clap::Args)]
struct Verify {
    #[command(flatten)]
    at: At,
    /// Remove artifacts that are damaged: the next run makes them again
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    alone: Alone,
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
    #[command(flatten)]
    copies: Copies,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    alone: Alone,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The artifact's key, or the first digits of it
    key: String,
    #[command(flatten)]
    at: At,
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
        Command::Verify(args) if args.repair => repair(args.alone.vouch(open(&args.at)?)?).await,
        Command::Verify(args) => verify(&open(&args.at)?).await,
        Command::Gc(gc) => clean(gc).await,
        Command::Show(args) => show(&args).await,
        Command::Export(export) => copy(&export).await,
    }
}

/// Opens a store that is there: looking must not make one.
fn open(at: &At) -> Result<Store> {
    if !at.store.may_have_store() {
        bail!("{} is no artifact store: name it with --store", at.store);
    }
    Ok(Store::at(&at.store)?)
}

async fn ls(store: &Store) -> Result<()> {
    let (mut manifests, mut damaged) = (Vec::new(), Vec::new());
    for (key, found) in store.list().await? {
        match found {
            Ok(manifest) => manifests.push(manifest),
            Err(_) => damaged.push(key),
        }
    }
    manifests.sort_by(|a, b| (a.spec.work.kind(), &a.name).cmp(&(b.spec.work.kind(), &b.name)));
    print(&format!("{}\n", listed(&manifests, &damaged)))
}

fn listed(manifests: &[Manifest], damaged: &[Key]) -> String {
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
    for key in damaged {
        table.add_row([key.short().as_str(), "damaged"]);
    }
    let bytes = manifests.iter().map(Manifest::bytes).sum();
    let whole = format!("{} artifacts, {} bytes", manifests.len(), thousands(bytes));
    match damaged.len() {
        0 => format!("{table}\n{whole}"),
        n => format!("{table}\n{whole}, and {n} damaged: `fulcrum artifacts verify` says how"),
    }
}

async fn verify(store: &Store) -> Result<()> {
    let seen = store.verify().await?;
    print(&format!("{}\n", counts(&seen)))?;
    if seen.faults.is_empty() {
        return Ok(());
    }
    let mut faults: Vec<String> = seen.faults.iter().map(told).collect();
    faults.push(
        "`fulcrum artifacts verify --repair` removes damaged artifacts, and the next run makes them again"
            .into(),
    );
    Err(Failure::new(exit::DIGEST, faults.join("\n")).into())
}

async fn repair(store: Store) -> Result<()> {
    let (seen, swept) = store.repair().await?;
    let (damaged, unread): (Vec<_>, Vec<_>) = seen.faults.iter().partition(|fault| fault.error.is_damage());
    let mut lines = format!("{}\n", counts(&seen));
    for fault in damaged {
        lines.push_str(&format!("{}\n", told(fault)));
    }
    let (removed, bytes, kept) = (swept.artifacts, thousands(swept.bytes), swept.kept);
    print(&format!("{lines}removed {removed} artifacts, {bytes} bytes; kept {kept} artifacts\n"))?;
    if unread.is_empty() {
        return Ok(());
    }
    let unread: Vec<String> = unread.into_iter().map(told).collect();
    Err(Failure::new(exit::NO_PROGRESS, unread.join("\n")).into())
}

fn counts(seen: &Verification) -> String {
    format!(
        "{} artifacts, {} files, {} bytes compared, {} damaged",
        thousands(seen.artifacts),
        thousands(seen.files),
        thousands(seen.bytes),
        seen.faults.len()
    )
}

/// One line on a fault.
fn told(fault: &Fault) -> String {
    let name = fault.name.as_deref().unwrap_or("unreadable manifest");
    format!("{} ({name}): {}", fault.key.short(), fault.error)
}

async fn clean(gc: Gc) -> Result<()> {
    let store = open(&gc.at)?;
    let mut keep = kept_by_runs(&gc)?;
    let places = Places { store: Some(gc.at.store.clone()), copies: gc.copies };
    for file in &gc.keep {
        let compiled = compile(file, &places, Fetch::Never)
            .with_context(|| format!("nothing is removed while {} cannot be kept", file.display()))?;
        keep.extend(compiled.plan.stages().iter().map(|stage| stage.key));
    }
    if gc.dry_run {
        return foretell(&store, &keep).await;
    }
    let Swept { artifacts, kept, attempts, bytes } = gc.alone.vouch(store)?.gc(&keep).await?;
    let bytes = thousands(bytes);
    print(&format!(
        "removed {artifacts} artifacts, {attempts} unfinished attempts, {bytes} bytes; kept {kept} artifacts\n"
    ))
}

/// Says which artifacts would be removed, and how many kept.
async fn foretell(store: &Store, keep: &BTreeSet<Key>) -> Result<()> {
    let (mut lines, mut kept) = (String::new(), 0);
    for (key, found) in store.list().await? {
        if keep.contains(&key) {
            kept += 1;
            continue;
        }
        let line = match found {
            Ok(manifest) => format!("{}  {} bytes", manifest.name, thousands(manifest.bytes())),
            Err(error) => error.to_string(),
        };
        lines.push_str(&format!("would remove {}  {line}\n", key.short()));
    }
    print(&format!("{lines}would keep {kept} artifacts\n"))
}

/// The stages of every run in the runs folder. Where there is none, experiment files must say what is kept: a wrong
/// folder must not empty the store.
fn kept_by_runs(gc: &Gc) -> Result<BTreeSet<Key>> {
    let (mut keep, runs) = (BTreeSet::new(), &gc.runs);
    if !runs.is_dir() {
        if gc.keep.is_empty() {
            bail!(
                "{} is no folder, so nothing would be kept: name the folder of the runs with --runs, or the experiment files to keep",
                runs.display()
            );
        }
        return Ok(keep);
    }
    for entry in fs::read_dir(runs).with_context(|| format!("cannot read {}", runs.display()))? {
        let folder = RunFolder::new(entry?.path());
        if folder.plan().is_file() {
            // Not checked: what a run of another version made is kept too.
            let plan: Plan =
                read_json(&folder.plan()).context("nothing is removed while a plan cannot be read")?;
            keep.extend(plan.stages().iter().map(|stage| stage.key));
        }
    }
    Ok(keep)
}

async fn copy(export: &Export) -> Result<()> {
    let store = open(&export.at)?;
    let manifest = store.export(find(&store, &export.key).await?, &export.folder).await?;
    print(&format!("{} -> {}\n", manifest.name, export.folder.display()))
}

async fn show(args: &Show) -> Result<()> {
    let store = open(&args.at)?;
    let key = find(&store, &args.key).await?;
    let manifest = store.manifest(key).await?.context("the artifact was removed just now")?;
    let mut rows = table(["file", "bytes", "BLAKE3"]);
    for file in &manifest.files {
        rows.add_row([
            Cell::new(&file.name),
            number(thousands(file.bytes)),
            Cell::new(file.digest.to_string()),
        ]);
    }
    let mut text = format!("{}\nkey   {key}\nkind  {}\n", manifest.name, manifest.spec.work.kind());
    for (name, value) in &manifest.facts {
        text.push_str(&format!("{name} = {value}\n"));
    }
    for (role, input) in &manifest.spec.inputs {
        let name =
            store.manifest(*input).await?.map_or_else(|| "not in the store".to_owned(), |made| made.name);
        text.push_str(&format!("made of {role}: {}  {name}\n", input.short()));
    }
    print(&format!("{text}\n{rows}\n"))
}

/// The one artifact whose key begins so.
async fn find(store: &Store, digits: &str) -> Result<Key> {
    let keys = store.keys().await?;
    let mut found = keys.iter().filter(|key| key.to_string().starts_with(digits));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(*key),
        (None, _) => {
            bail!("no artifact in {} has a key that begins with {digits:?}", store.place())
        }
        (Some(_), Some(_)) => {
            bail!("several artifacts have a key that begins with {digits:?}: give more digits")
        }
    }
}
