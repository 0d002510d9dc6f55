//! `fulcrum launch k8s`: what `kubectl apply` makes a run of.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::Result;
use fulcrum_common::{access::Token, experiment};

use super::workers;
use crate::{
    cluster::{
        k8s::{Run, VOLUME},
        shell::text,
    },
    commands::print,
};

const EXAMPLES: &str = "\
Examples:
  fulcrum launch k8s exp.toml --image registry/fulcrum --claim shared --workers 8 | kubectl apply -f -";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The experiment file
    file: PathBuf,
    /// The image that the containers run (launch/Containerfile makes one)
    #[arg(long)]
    image: String,
    /// The claim of a volume that many pods write at once: runs and store lie there
    #[arg(long)]
    claim: String,
    /// The namespace [default: that of whoever applies it]
    #[arg(long)]
    namespace: Option<String>,
    /// Workers, a pod each [default: those of a gang in the file, else 1]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// How often the pods of a job may be started again
    #[arg(long, value_name = "N", default_value_t = 20)]
    restarts: usize,
    /// Folder with local copies of datasets and models, on the volume: /fulcrum/data
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Make one JobSet and not two jobs; its controller must be installed
    #[arg(long)]
    jobset: bool,
}

/// Prints the objects, among them a secret with a new token.
///
/// # Errors
/// If the file is no experiment, or something in it is none that Kubernetes takes.
pub(super) fn run(args: &Args) -> Result<()> {
    let sweep = experiment::load(&args.file)?;
    let experiment = sweep.shared();
    let data = args.data_root.as_deref().map(|path| text(path).map(|path| format!("--data-root={path}")));
    let store = text(&Path::new(VOLUME).join(experiment.store()))?;
    let mut options = vec![format!("--runs={VOLUME}/runs"), format!("--store={store}")];
    options.extend(data.transpose()?);
    let token = Token::new()?;
    let run = Run {
        name: experiment.name(),
        experiment: &std::fs::read_to_string(&args.file)?,
        image: &args.image,
        claim: &args.claim,
        namespace: args.namespace.as_deref(),
        token: token.secret(),
        workers: workers(args.workers, experiment),
        restarts: args.restarts,
        options,
        cluster: experiment.cluster(),
    };
    print(&format!("{}\n", serde_json::to_string_pretty(&run.manifest(args.jobset)?)?))
}
