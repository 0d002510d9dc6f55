//! Batches without gradients: probabilities of classes, or log-probabilities of rows.

use fulcrum_common::{
    bench::{Job, Rows},
    plan::{Head, Numerics, Strategy},
};
use fulcrum_methods::Gang;
use tch::Device;

use super::{Found, network, watch::Watch};

/// A step is one batch; each rank has rows of its own and waits for nobody.
pub(super) fn measure(job: &Job, rows: &Rows, gang: &Gang, device: Device) -> anyhow::Result<Found> {
    let model = network::model(rows, job.seed, device)?.filled()?;
    let count = rows.batch * (job.warmup + job.steps);
    let examples = network::examples(rows, gang.all().rank() * count, count, &model, job.seed)?;
    let told = network::told(rows, &model, Strategy::default(), Numerics::default());
    let tokens = rows.batch * rows.seq;
    let flops = model.forward_flops(rows.seq) * (tokens * job.world) as f64;
    gang.all().barrier()?.wait()?;
    let watch = Watch::new();
    match rows.head {
        Head::LanguageModel => {
            fulcrum_train::log_probabilities(&model, &examples, tokens, &watch)?;
        }
        Head::Classifier { .. } | Head::Reward => {
            fulcrum_train::probabilities(&model, &examples, tokens, &watch)?;
        }
    }
    Ok(Found { steps: watch.steps(job.warmup), network: Some(told), flops, ..Found::default() })
}
