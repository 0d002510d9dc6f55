//! `fulcrum infer`: one model over one table of rows, one Parquet file out.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Result, bail};
use fulcrum_common::{experiment::Batches, recipe};

use super::{
    one_off::{OneOff, Text, collect, new_file},
    print,
};
use crate::progress::thousands;

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: OneOff,
    #[command(flatten)]
    text: Text,
    /// The new Parquet file: columns `row` and `probabilities` for a classifier; `row`, `tokens` and
    /// `log_probability` (over all tokens but the first) for a language model
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Texts are cut to this many tokens [default: as many as the model reads]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Most tokens of a forward pass, padding counted [default: that of experiment files]
    #[arg(long, value_name = "N")]
    batch_tokens: Option<NonZeroUsize>,
    /// Rows per shard, the unit that workers take. A file has 16384 shards at most
    /// [default: that of experiment files]
    #[arg(long, value_name = "N")]
    shard: Option<NonZeroUsize>,
}

/// Runs the model and puts the parts together.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    new_file(&args.out)?;
    if args.max_tokens == Some(0) {
        bail!("--max-tokens = 0 leaves nothing to read: give 1 or more");
    }
    let batches = Batches::new(args.batch_tokens, args.shard);
    let model = args.common.model()?;
    let max_tokens = args.max_tokens.unwrap_or(model.positions);
    let plan = recipe::infer(&model, &args.common.files()?, &args.text.template(), batches, max_tokens)?;
    let (store, manifest) = args.common.run("infer", &plan).await?;
    let rows = collect(&store, &manifest, &args.out).await?;
    print(&format!("{} rows in {}\n", thousands(rows), args.out.display()))
}
