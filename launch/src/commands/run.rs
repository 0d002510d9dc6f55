//! `fulcrum run`: an experiment from its file to its report.

use std::{net::Ipv4Addr, num::NonZeroUsize, path::PathBuf};

use anyhow::{Result, bail};
use fulcrum_common::{
    exit,
    experiment::Experiment,
    network::{self, Interface},
    plan::Plan,
    store::{Manifest, Store},
};

use super::{plan, print};
use crate::{
    experiment::{Compiled, Fetch, Places, compile},
    failure::Failure,
    job::{self, Crew, Spread, Width},
    outputs,
    progress::Progress,
    run_folder::{Lock, RunFacts, RunFolder, write, write_json},
    supervise::end_on_signals,
    warnings::warnings,
};

/// What is to be run, and where its files are.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The experiment file
    file: PathBuf,
    #[command(flatten)]
    places: Places,
    /// Folder of all runs; this one is kept in a folder of its name below it
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Add a line of JSON to this file for each event: a stage began, got on, is done; a worker came, went; the end
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// What tells this launch from others of the same name
    #[arg(long, hide = true, env = "FULCRUM_LAUNCH")]
    launch: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  fulcrum run exp.toml --workers 2                   all on this machine
  fulcrum run exp.toml --workers 8 --device cuda     a GPU for each worker
  fulcrum run exp.toml --workers 8 --here 0          the workers come by `fulcrum worker`";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    what: Wanted,
    #[command(flatten)]
    width: Width,
    /// How many of the workers are started here; the others come from elsewhere, by `fulcrum worker` [default: all]
    #[arg(long, value_name = "N")]
    here: Option<usize>,
    /// The network interface that workers elsewhere find the coordinator on: its name, or a network like 10.1.0.0/16
    /// [default: loopback with all workers here, else the first that is not]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<Interface>,
    /// The port that the coordinator listens on [default: any that is free]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Start nothing: show the stages and what they will cost, as `fulcrum plan` does
    #[arg(long)]
    dry_run: bool,
}

/// Runs the experiment, writes its reports, prints its table. What is in the store already is not done again.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    if args.dry_run {
        return plan::show(&args.what.file, &args.what.places, false).await;
    }
    end_on_signals()?;
    args.what.bring(args.width, |_, crew, _| spread(&args, crew)).await
}

impl Wanted {
    /// Brings the experiment to its report. The workers are where `spread` says, which is told how many, and the run's folder.
    ///
    /// # Errors
    /// With the exit code of the contract.
    pub(super) async fn bring(
        &self,
        width: Width,
        spread: impl FnOnce(&Experiment, Crew, &RunFolder) -> Result<Spread>,
    ) -> Result<()> {
        let compiled = compile(&self.file, &self.places, Fetch::Missing)?;
        let experiment = compiled.sweep.shared();
        let parallel = experiment.parallel();
        let crew = Crew::new(width, parallel.workers, parallel.threads)?;
        let crew = Crew { fewest: parallel.fewest.and_then(NonZeroUsize::new), ..crew };
        let folder = RunFolder::create(&self.runs, experiment.name())?;
        let spread = spread(experiment, crew, &folder)?;
        let _lock = self.alone(&folder)?;
        let store = Store::at(&compiled.store)?;
        self.describe(&compiled, &folder, &store)?;

        let (name, plan) = (experiment.name(), &compiled.plan);
        let mut progress = Progress::new(name, plan.stages().len());
        if let Some(file) = &self.events {
            progress.write_down(file)?;
        }
        let (crew, checkpoints) = ((crew, spread), experiment.checkpoints());
        let made = job::run(name, plan, &folder, &store, crew, checkpoints, &mut progress).await;
        progress.end(&made);
        let told = match made {
            Ok(goal) => tell(plan, &store, &folder, &goal).await,
            Err(error) => Err(error),
        };
        let goes_on = |error| [exit::PREEMPTED, exit::MEMBERSHIP].contains(&Failure::code_of(error));
        if told.as_ref().is_err_and(goes_on) {
            return told;
        }
        let closed = folder.close();
        told.and(closed)
    }

    /// Takes the run's folder. Where an engine starts this again, the lock may still be that of a machine that was lost, and
    /// another start finds it let go.
    fn alone(&self, folder: &RunFolder) -> Result<Lock> {
        let lock = folder.lock();
        match self.launch {
            None => lock,
            Some(_) => Ok(lock.map_err(|busy| Failure::new(exit::MEMBERSHIP, format!("{busy:#}")))?),
        }
    }

    /// Leaves in the run folder what is being run, before it runs. The outcome of anything else goes first.
    fn describe(&self, compiled: &Compiled, folder: &RunFolder, store: &Store) -> Result<()> {
        if outputs::facts(folder).is_none_or(|facts| facts.goal != compiled.goal) {
            outputs::remove_all(folder)?;
        }
        let experiment = compiled.sweep.shared();
        let facts = RunFacts {
            name: experiment.name().to_owned(),
            recipe: experiment.recipe().to_owned(),
            experiment_file: self.file.clone(),
            goal: compiled.goal,
            store: store.place(),
            tasks: compiled.tasks.iter().map(|(name, _)| name.clone()).collect(),
            launch: self.launch.clone(),
            is_over: false,
        };
        for (name, plan) in &compiled.tasks {
            let goal = plan.goal().ok_or_else(|| Failure::bug("a task compiles to no stage at all"))?;
            let facts = RunFacts { name: name.clone(), goal, tasks: Vec::new(), ..facts.clone() };
            write_description(&folder.create_task(name)?, &compiled.text, plan, &facts)?;
        }
        write_description(folder, &compiled.text, &compiled.plan, &facts)
    }
}

/// Writes the reports of what was made, and prints their table.
async fn tell(plan: &Plan, store: &Store, folder: &RunFolder, goal: &Manifest) -> Result<()> {
    let warnings = warnings(plan, store).await?;
    let finished = outputs::write_all(folder, store, goal, &warnings).await?;
    let warnings: String = warnings.iter().map(|line| format!("{line}\n")).collect();
    print(&format!("{}\n{warnings}\n{}\n", finished.table(), folder.report().display()))
}

fn write_description(folder: &RunFolder, text: &str, plan: &Plan, facts: &RunFacts) -> Result<()> {
    write(&folder.experiment(), text.as_bytes())?;
    write_json(&folder.plan(), plan)?;
    write_json(&folder.facts(), facts)
}

/// Where the workers are, as the command line has it.
fn spread(args: &Args, crew: Crew) -> Result<Spread> {
    let all = crew.workers.get();
    if let Some(here) = args.here.filter(|here| *here > all) {
        bail!("--here {here} is more than all {all} workers of the run");
    }
    let is_alone = args.here.is_none_or(|here| here == all);
    let address = match &args.interface {
        None if is_alone => Ipv4Addr::LOCALHOST.into(),
        interface => network::address(interface.as_ref())?,
    };
    Ok(Spread { listen: (address, args.port).into(), here: args.here, elsewhere: Vec::new() })
}
