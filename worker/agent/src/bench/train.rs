//! Training steps: AdamW over all weights, the gradient clipped to 1, the same rows in every step.

use fulcrum_common::{
    bench::{Job, Losses, Network, Rows},
    plan::{Numerics, Optimizer, Rule, Schedule, Strategy},
};
use fulcrum_methods::{Gang, Keeper};
use fulcrum_train::Training;
use tch::Device;

use super::{Found, network, stall::Stall, watch::Watch};

/// How it is trained.
pub(super) struct How {
    pub(super) micro_batch: usize,
    pub(super) strategy: Strategy,
    pub(super) numerics: Numerics,
    pub(super) overlap: bool,
    pub(super) stall: Option<Stall>,
}

/// Every step is a pass over the rows of one global batch: whatever the order in which ranks take them, the mean
/// gradient is the same, so that other programs can be held to the same losses.
pub(super) fn measure(
    job: &Job,
    rows: &Rows,
    how: How,
    gang: &Gang,
    device: Device,
) -> anyhow::Result<Found> {
    let How { micro_batch, strategy, numerics, overlap, stall } = how;
    let model = network::model(rows, job.seed, device)?;
    let batch = rows.batch * job.world;
    let examples = network::examples(rows, 0, batch, &model, job.seed)?;
    let objective = network::objective(rows.head);
    let told = Network { overlap, ..network::told(rows, &model, strategy, numerics) };
    let gang = if overlap { gang.clone() } else { gang.clone().without_overlap() };
    // A backward pass costs two forward passes.
    let flops = 3.0 * model.forward_flops(rows.seq) * (batch * rows.seq) as f64;
    let settings = Optimizer {
        passes: job.warmup + job.steps,
        batch,
        micro_batch,
        rule: Rule::default(),
        learning_rate: 1e-4,
        schedule: Schedule::Constant,
        warmup: 0.0,
        floor: 0.0,
        weight_decay: 0.01,
        no_decay: Vec::new(),
        clip: Some(1.0),
    };
    let training = Training::new(&model, &examples, &*objective, settings, job.seed, gang);
    let watch = Watch::new();
    let keeper = stall.as_ref().map(|stall| stall as &dyn Keeper);
    let training = Training { numerics, monitor: &watch, keeper, everywhere: false, ..training };
    let losses = fulcrum_train::train(training)?.losses;
    let loss = losses.first().zip(losses.last()).map(|(a, b)| Losses { first: a.loss, last: b.loss });
    let (steps, split) = (watch.steps(job.warmup), Some(watch.split(job.warmup)));
    let checkpoint_stall_s = stall.and_then(|stall| stall.median());
    Ok(Found { steps, split, checkpoint_stall_s, loss, network: Some(told), traffic: None, flops })
}
