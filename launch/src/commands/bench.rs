//! `fulcrum bench`: how fast training, inference and sums over ranks are on this machine.

use std::{num::NonZeroUsize, path::PathBuf, thread::available_parallelism};

use anyhow::{Result, bail};
use clap::{ArgGroup, Subcommand, ValueEnum};
use fulcrum_common::{
    bench::{Job, Model, Rows, Shape, Work},
    plan::{self, Head, Numerics},
};

use super::print;
use crate::{devices::Devices, outcome, supervise};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Training steps: AdamW on all weights, gradients clipped to norm 1
    Train(Train),
    /// Batches without gradients, each rank on its own
    Infer(Infer),
    /// Sums of an f32 tensor over all ranks
    Allreduce(AllReduce),
}

#[derive(Debug, clap::Args)]
struct Train {
    #[command(flatten)]
    network: Network,
    /// Rows of a forward and backward pass [default: those of a rank]
    #[arg(long, value_name = "N")]
    micro_batch: Option<NonZeroUsize>,
    /// What is computed in; weights, sums and optimizer are f32 in any case
    #[arg(long, value_enum, default_value_t = Precision::Fp32)]
    precision: Precision,
    /// Who holds what
    #[arg(long, value_enum, default_value_t = Strategy::Data)]
    strategy: Strategy,
    /// Ranks of a group, for --strategy hybrid
    #[arg(long, value_name = "N", required_if_eq("strategy", "hybrid"))]
    shards: Option<NonZeroUsize>,
    /// Same bytes for any number of ranks
    #[arg(long)]
    deterministic: bool,
    /// What gradients travel in from rank to rank
    #[arg(long, value_enum, default_value_t = Precision::Fp32)]
    wire: Precision,
    /// Nothing travels while something is computed: to see what overlap hides
    #[arg(long)]
    no_overlap: bool,
    /// Keep a checkpoint after so many steps, and tell how long it holds the training up; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0)]
    checkpoint_steps: usize,
    /// Compare what workers hold alike after so many steps; 0 for never
    #[arg(long, value_name = "N", default_value_t = 0)]
    verify_steps: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Infer {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct AllReduce {
    /// Size of the tensor
    #[arg(long, value_name = "N", default_value = "25")]
    mib: NonZeroUsize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("network").required(true)))]
struct Network {
    /// A folder with config.json and model.safetensors
    #[arg(long, value_name = "DIR", group = "network")]
    model: Option<PathBuf>,
    /// Random weights instead: gpt2-30m, gpt2-120m, llama-30m, llama-120m, or for a try gpt2-tiny, llama-tiny
    #[arg(long, value_name = "NAME", group = "network")]
    shape: Option<Shape>,
    /// What it ends in
    #[arg(long, value_enum, default_value_t = Ending::Classifier)]
    head: Ending,
    /// Rows per step on each rank
    #[arg(long, value_name = "N", default_value = "8")]
    batch: NonZeroUsize,
    /// Tokens of a row
    #[arg(long, value_name = "N", default_value = "128")]
    seq: NonZeroUsize,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Ranks: processes on this machine that meet over loopback
    #[arg(long, value_name = "N", default_value = "1")]
    world: NonZeroUsize,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value = "20")]
    steps: NonZeroUsize,
    /// Steps before them that are not
    #[arg(long, value_name = "N", default_value = "3")]
    warmup: NonZeroUsize,
    /// Threads per rank [default: cores over ranks]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What to compute on: cpu; cuda for a GPU for each rank; cuda:N for one that all share
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Devices,
    /// Seed of weights and rows
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ending {
    Classifier,
    Lm,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    Fp32,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Strategy {
    Data,
    Zero1,
    Sharded,
    Hybrid,
}

/// Measures and prints.
///
/// # Errors
/// With the exit code of the rank that failed.
pub(super) async fn run(args: Args) -> Result<()> {
    let (work, common) = args.what.checked()?;
    let world = common.world.get();
    let threads = match common.threads {
        Some(threads) => threads.get(),
        None => (available_parallelism().map_or(1, NonZeroUsize::get) / world).max(1),
    };
    let (steps, warmup, seed) = (common.steps.get(), common.warmup.get(), common.seed);
    let job = Job { work, world, threads, steps, warmup, seed };
    let report = supervise::measure(&job, common.device).await?;
    let text = if common.json { serde_json::to_string(&report)? + "\n" } else { outcome::render(&report) };
    print(&text)
}

impl What {
    fn checked(self) -> Result<(Work, Common)> {
        match self {
            Self::Train(train) => {
                let rows = train.network.checked()?;
                let micro_batch = train.micro_batch.map_or(rows.batch, NonZeroUsize::get);
                if micro_batch > rows.batch {
                    bail!("--micro-batch {micro_batch} is more than the {} rows of a rank", rows.batch);
                }
                let strategy = match (train.strategy, train.shards) {
                    (Strategy::Hybrid, Some(shards)) => plan::Strategy::Hybrid { shards: shards.get() },
                    (Strategy::Hybrid, None) => bail!("--strategy hybrid needs --shards"),
                    (_, Some(_)) => bail!("--shards is for --strategy hybrid"),
                    (Strategy::Data, None) => plan::Strategy::Data,
                    (Strategy::Zero1, None) => plan::Strategy::Zero1,
                    (Strategy::Sharded, None) => plan::Strategy::Sharded,
                };
                let precision = match train.precision {
                    Precision::Fp32 => plan::Precision::Fp32,
                    Precision::Bf16 => plan::Precision::Bf16,
                };
                let mode = if train.deterministic { plan::Mode::Deterministic } else { plan::Mode::Fast };
                let wire = match train.wire {
                    Precision::Fp32 => plan::Wire::Fp32,
                    Precision::Bf16 => plan::Wire::Bf16,
                };
                let numerics = Numerics { precision, mode, wire };
                if numerics.contradicts_itself() {
                    bail!("--wire bf16 rounds what --deterministic adds exactly: take one of the two");
                }
                let overlap = !train.no_overlap;
                let (checkpoint_steps, verify_steps) = (train.checkpoint_steps, train.verify_steps);
                let work = Work::Train {
                    rows,
                    micro_batch,
                    strategy,
                    numerics,
                    overlap,
                    checkpoint_steps,
                    verify_steps,
                };
                Ok((work, train.common))
            }
            Self::Infer(infer) => Ok((Work::Infer { rows: infer.network.checked()? }, infer.common)),
            Self::Allreduce(sums) => Ok((Work::AllReduce { mib: sums.mib.get() }, sums.common)),
        }
    }
}

impl Network {
    fn checked(self) -> Result<Rows> {
        let model = match (self.model, self.shape) {
            (Some(folder), _) if !folder.is_dir() => bail!("--model {} is no folder", folder.display()),
            (Some(folder), _) => Model::Folder(folder.canonicalize()?),
            (None, Some(shape)) => Model::Shape(shape),
            (None, None) => bail!("name a model with --model or --shape"),
        };
        let head = match self.head {
            Ending::Classifier => Head::Classifier { classes: 2 },
            Ending::Lm => Head::LanguageModel,
        };
        let (batch, seq) = (self.batch.get(), self.seq.get());
        if head == Head::LanguageModel && seq < 2 {
            bail!("--seq 1 leaves nothing to predict: a language model needs at least 2");
        }
        Ok(Rows { model, head, batch, seq })
    }
}
