//! Infer: a model over one shard of rows. Weak labels, test predictions, log-probabilities.

use fulcrum_common::plan::{Infer, Output};
use fulcrum_data::{LogProbabilities, Probabilities};
use fulcrum_train::{Monitor, log_probabilities, probabilities};

use crate::{Error, Job, Outcome, generate, job::part_name};

/// Without a shard: all rows, as one.
pub(crate) fn run(job: &Job<'_>, work: &Infer, monitor: &dyn Monitor) -> Result<Outcome, Error> {
    let all = job.table(work.part)?.rows;
    let shard = job.shard.clone().unwrap_or(0..all.len());
    let wrong = || Error::Shard { start: shard.start, end: shard.end, rows: all.len(), shard: work.shard };
    let aligned = shard.start.checked_rem(work.shard) == Some(0);
    let rows = all.get(shard.clone()).filter(|_| aligned).ok_or_else(wrong)?.to_vec();
    let file = part_name(shard.start / work.shard);
    let path = job.output.join(&file);
    let count = rows.len() as u64;
    let read = || {
        let (model, _) = job.model("model")?;
        let examples = job.examples(shard.clone(), &model)?;
        Ok::<_, Error>((model, examples))
    };
    match &work.output {
        Output::Completions(sampling) => return generate::run(job, work, sampling, monitor),
        Output::Probabilities => {
            let (model, examples) = read()?;
            let probabilities = probabilities(&model, &examples, work.batch_tokens, monitor)?;
            Probabilities { rows, probabilities }.write(&path)?;
        }
        Output::LogProbability => {
            let (model, examples) = read()?;
            let found = log_probabilities(&model, &examples, work.batch_tokens, monitor)?;
            let tokens = found.iter().map(|row| row.tokens as i64).collect();
            let log_probability = found.iter().map(|row| row.log_probability).collect();
            LogProbabilities { rows, tokens, log_probability }.write(&path)?;
        }
    }
    Ok(Outcome { files: vec![file], facts: [("rows".to_owned(), count)].into() })
}
