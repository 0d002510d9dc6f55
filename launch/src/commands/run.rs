//! `fulcrum run`: an experiment from its file to its report, on this machine.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Result;
use fulcrum_common::store::Store;

use super::print;
use crate::{
    experiment::{Compiled, Fetch, Places, compile},
    job::{self, Crew, Width},
    outputs,
    report::table,
    run_folder::{RunFacts, RunFolder, write, write_json},
    warnings::warnings,
};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The experiment file
    file: PathBuf,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    places: Places,
    /// Folder of all runs; this one is kept in a folder of its name below it
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// Runs the experiment, writes its reports, prints its table. What is in the store already is not done again.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    let compiled = compile(&args.file, &args.places, Fetch::Missing)?;
    let parallel = compiled.experiment.parallel();
    let crew = Crew::new(args.width, parallel.workers, parallel.threads)?;
    let crew = Crew { fewest: parallel.fewest.and_then(NonZeroUsize::new), ..crew };
    let folder = RunFolder::create(&args.runs, compiled.experiment.name())?;
    let _lock = folder.lock()?;
    let store = Store::open(&compiled.store)?;
    describe(&args, &compiled, &folder, &store)?;

    let Compiled { experiment, plan, .. } = &compiled;
    let goal = job::run(experiment.name(), plan, &folder, &store, crew, experiment.checkpoints()).await?;
    let warnings = warnings(&compiled.plan, &store).await?;
    let outcome = outputs::write_all(&folder, &store, &goal, &warnings).await?;
    let warnings: String = warnings.iter().map(|line| format!("{line}\n")).collect();
    print(&format!("{}\n{warnings}\n{}\n", table(&outcome.results), folder.report().display()))
}

/// Leaves in the run folder what is being run, before it runs. The outcome of anything else goes first.
fn describe(args: &Args, compiled: &Compiled, folder: &RunFolder, store: &Store) -> Result<()> {
    if outputs::facts(folder).is_none_or(|facts| facts.goal != compiled.goal) {
        outputs::remove_all(folder)?;
    }
    write(&folder.experiment(), compiled.text.as_bytes())?;
    write_json(&folder.plan(), &compiled.plan)?;
    let facts = RunFacts {
        name: compiled.experiment.name().to_owned(),
        recipe: compiled.experiment.recipe().to_owned(),
        experiment_file: args.file.clone(),
        goal: compiled.goal,
        store: store.root().to_owned(),
    };
    write_json(&folder.facts(), &facts)
}
