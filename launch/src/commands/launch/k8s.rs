//! `fulcrum launch k8s`: what `kubectl apply` makes a run of.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use fulcrum_common::{access::Token, experiment, store::Place};

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
    /// The claim of a volume that many pods write at once: runs lie there, and a store that is a folder
    #[arg(long)]
    claim: String,
    /// The artifact store: a folder on the volume, or a bucket as s3://BUCKET/PREFIX [default: the experiment file's]
    #[arg(long, value_name = "PLACE")]
    store: Option<Place>,
    /// Of a store in a bucket: the secret whose keys are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and whatever else says how
    /// it is reached
    #[arg(long, value_name = "SECRET")]
    credentials: Option<String>,
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
    let place = args.store.as_ref().unwrap_or(experiment.store());
    let store = match (place, &args.credentials) {
        (Place::Folder(folder), None) => text(&Path::new(VOLUME).join(folder))?,
        (Place::Bucket(bucket), Some(_)) => bucket.to_string(),
        (Place::Folder(_), Some(_)) => {
            bail!("--credentials is for a store in a bucket, and {place} is a folder")
        }
        (Place::Bucket(_), None) => {
            bail!("the pods cannot open {place}: name the secret that says how, with --credentials")
        }
    };
    let mut options = vec![format!("--runs={VOLUME}/runs"), format!("--store={store}")];
    options.extend(data.transpose()?);
    let token = Token::new()?;
    let run = Run {
        name: experiment.name(),
        experiment: &std::fs::read_to_string(&args.file)?,
        image: &args.image,
        claim: &args.claim,
        credentials: args.credentials.as_deref(),
        namespace: args.namespace.as_deref(),
        token: token.secret(),
        workers: workers(args.workers, experiment),
        restarts: args.restarts,
        options,
        cluster: experiment.cluster(),
    };
    print(&format!("{}\n", serde_json::to_string_pretty(&run.manifest(args.jobset)?)?))
}
