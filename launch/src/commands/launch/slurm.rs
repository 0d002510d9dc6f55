//! `fulcrum launch slurm`: a job that brings experiments to their reports.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use fulcrum_common::{
    exit,
    experiment::{self, Experiment, Sweep},
    store::Place,
};

use super::workers;
use crate::{
    cluster::{
        shell::text,
        slurm::{Job, Member, script},
    },
    commands::print,
    failure::Failure,
    supervise::Programs,
};

const EXAMPLES: &str = "\
Examples:
  fulcrum launch slurm exp.toml --workers 8 --print    see the job
  fulcrum launch slurm exp.toml --workers 8            submit it
  fulcrum launch slurm sst2.toml blimp.toml            an array of jobs";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The experiment files; several are an array of jobs
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Workers of an experiment, a task each [default: those of a gang in the file, else 1]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// The artifact store: a folder on storage that all machines share, or a bucket as s3://BUCKET/PREFIX [default: the
    /// experiment file's]
    #[arg(long, value_name = "PLACE")]
    store: Option<Place>,
    /// Folder with local copies of datasets and models
    #[arg(long, value_name = "DIR", env = "FULCRUM_DATA")]
    data_root: Option<PathBuf>,
    /// Folder of all runs, on storage that all machines share
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// The network interface that machines find each other on: its name, or a network like 10.1.0.0/16
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Print the job and submit nothing
    #[arg(long)]
    print: bool,
    /// Wait until the job is over, and end with its exit code
    #[arg(long, conflicts_with = "print")]
    wait: bool,
}

/// Writes the job, and submits it unless it is only to be seen.
///
/// # Errors
/// If a file is no experiment, or Slurm does not take the job.
pub(super) fn run(args: &Args) -> Result<()> {
    let sweeps = args.files.iter().map(|file| experiment::load(file)).collect::<Result<Vec<_>, _>>()?;
    let experiments: Vec<_> = sweeps.iter().map(Sweep::shared).collect();
    let first = experiments[0];
    for (&other, file) in experiments.iter().zip(&args.files) {
        if other.cluster() != first.cluster() || workers(args.workers, other) != workers(args.workers, first)
        {
            let (one, file) = (args.files[0].display(), file.display());
            bail!("{one} and {file} differ in [cluster] or parallel.workers: launch them one by one");
        }
    }
    let members = experiments.iter().zip(&args.files).map(|(one, file)| member(args, one, file));
    let members = members.collect::<Result<Vec<_>>>()?;
    let (programs, folder) = (Programs::find()?, std::env::current_dir().context("cannot tell the folder")?);
    let name = if experiments.len() == 1 { first.name() } else { "sweep" };
    let (cluster, count) = (first.cluster(), workers(args.workers, first));
    let threads = first.parallel().threads.unwrap_or(cluster.cpus);
    let device = if cluster.gpus { "cuda" } else { "cpu" };
    let interface = args.interface.iter().map(|interface| format!("--interface={interface}"));
    let worker = ["worker".to_owned(), format!("--threads={threads}"), format!("--device={device}")];
    let job = Job {
        name: format!("fulcrum-{name}"),
        fulcrum: programs.fulcrum(),
        folder: &folder,
        log: &args.runs.join("slurm-%j.log"),
        experiments: &members,
        options: options(args, count, threads)?,
        worker: worker.into_iter().chain(interface).collect(),
        workers: count,
        cluster,
    };
    let script = script(&job)?;
    if args.print {
        return print(&script);
    }
    let path = args.runs.join(format!("{}.slurm", job.name));
    fs::create_dir_all(&args.runs).with_context(|| format!("cannot make {}", args.runs.display()))?;
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    submit(&path, args.wait)
}

fn member(args: &Args, experiment: &Experiment, file: &Path) -> Result<Member> {
    Ok(Member { file: text(file)?, run: text(&args.runs.join(experiment.name()))? })
}

/// What `fulcrum run` is told besides the file.
fn options(args: &Args, workers: usize, threads: usize) -> Result<Vec<String>> {
    let mut options = vec![format!("--workers={workers}"), "--here=0".to_owned()];
    options.push(format!("--threads={threads}"));
    options.extend(args.store.iter().map(|store| format!("--store={store}")));
    for (key, path) in [("runs", Some(&args.runs)), ("data-root", args.data_root.as_ref())] {
        if let Some(path) = path {
            options.push(format!("--{key}={}", text(path)?));
        }
    }
    options.extend(args.interface.iter().map(|interface| format!("--interface={interface}")));
    Ok(options)
}

/// Gives the job to Slurm, which says its number.
fn submit(script: &Path, wait: bool) -> Result<()> {
    let mut command = Command::new("sbatch");
    command.arg("--parsable").args(wait.then_some("--wait")).arg(script).stderr(Stdio::inherit());
    let output = command
        .output()
        .context("cannot start sbatch: is this a machine of the cluster? --print shows the job")?;
    let number = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match (output.status.code(), number.is_empty()) {
        (Some(0), _) => print(&format!("job {number}: {}\n", script.display())),
        // With --wait, sbatch ends as the job did.
        (Some(code), false) => Err(Failure::new(code, format!("job {number} ended with {code}")).into()),
        _ => Err(Failure::new(exit::USAGE, format!("sbatch did not take {}", script.display())).into()),
    }
}
