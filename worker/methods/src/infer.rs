//! Infer: a model over one shard of rows. Weak labels, test predictions, log-probabilities.

use fulcrum_common::{
    fault,
    plan::{Infer, Output},
};
use fulcrum_data::{LogProbabilities, Probabilities};
use fulcrum_models::Model;
use fulcrum_train::{Examples, Monitor, log_probabilities, probabilities};

use crate::{Error, Job, Outcome, Shard, embed, generate, job::part_name};

/// Without a shard: all rows, as one. Of a trial nothing is left.
pub(crate) fn run(job: &Job<'_>, work: &Infer, monitor: &dyn Monitor) -> Result<Outcome, Error> {
    let batch = work.batch_tokens;
    match &work.output {
        Output::Features => embed::run(job, work, monitor),
        Output::Completions(sampling) => generate::run(job, work, sampling, monitor),
        Output::Probabilities => {
            let Loaded { rows, model, examples, left } = Loaded::read(job, work)?;
            begin(&rows, monitor)?;
            let probabilities = probabilities(&model, &examples, batch, monitor)?;
            left.map_or_else(nothing, |(file, left)| {
                Probabilities { rows, probabilities }.write(&job.output.join(file))?;
                Ok(left)
            })
        }
        Output::LogProbability => {
            let Loaded { rows, model, examples, left } = Loaded::read(job, work)?;
            begin(&rows, monitor)?;
            let found = log_probabilities(&model, &examples, batch, monitor)?;
            left.map_or_else(nothing, |(file, left)| {
                let tokens = found.iter().map(|row| row.tokens as i64).collect();
                let log_probability = found.iter().map(|row| row.log_probability).collect();
                LogProbabilities { rows, tokens, log_probability }.write(&job.output.join(file))?;
                Ok(left)
            })
        }
    }
}

fn nothing() -> Result<Outcome, Error> {
    Ok(Outcome::default())
}

/// Says that these rows begin to go through the model, before any of them does.
pub(crate) fn begin(rows: &[i64], monitor: &dyn Monitor) -> Result<(), Error> {
    monitor.rows(rows);
    let injected = rows.iter().try_for_each(|&row| fault::at_row("infer.row", row));
    Ok(injected.map_err(fulcrum_train::Error::from)?)
}

/// What a shard is made of.
struct Loaded {
    /// The numbers of those that are computed.
    rows: Vec<i64>,
    model: Model,
    examples: Examples,
    /// The file it goes to, and what is said of it; of a trial nothing.
    left: Option<(String, Outcome)>,
}

impl Loaded {
    fn read(job: &Job<'_>, work: &Infer) -> Result<Self, Error> {
        let all = job.labels(work.part)?.rows;
        let shard = job.shard(work.shard, all.len())?;
        let model = job.model("model")?;
        let (computed, start) = (shard.computed(), shard.range.start);
        let examples = job.examples(shard.range.clone(), &model)?;
        // A row that is left out keeps its place in its batch; one that is tried is tried without the others.
        let examples = match shard.trial {
            Some(_) => examples.only(&computed.iter().map(|at| at - start).collect::<Vec<_>>())?,
            None => examples.without(shard.skip.iter().map(|at| at - start)),
        };
        let rows: Vec<i64> = computed.iter().map(|&at| all[at]).collect();
        let left = outcome(&shard, &all, work.shard, [("rows", rows.len())]);
        Ok(Self { rows, model, examples, left })
    }
}

/// The file that a shard leaves, and what it says with it; of a trial nothing. `all`: the numbers of the part's rows.
pub(crate) fn outcome(
    shard: &Shard,
    all: &[i64],
    size: usize,
    counts: impl IntoIterator<Item = (&'static str, usize)>,
) -> Option<(String, Outcome)> {
    let counts = counts.into_iter().map(|(name, count)| (name.to_owned(), count as u64));
    let facts = shard.left_out(all).into_iter().chain(counts).collect();
    let file = part_name(shard.range.start / size);
    let made = Outcome { files: vec![file.clone()], facts };
    shard.trial.is_none().then_some((file, made))
}
