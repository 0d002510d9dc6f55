//! Infer: a model over one shard of rows. Weak labels, test predictions, log-probabilities.

use fulcrum_common::plan::{Infer, Output};
use fulcrum_data::{LogProbabilities, Probabilities, Table};
use fulcrum_train::Monitor;

use crate::{
    Error, Job, Outcome,
    job::{examples, part_name},
};

/// Without a shard: all rows, as one.
pub(crate) fn run(job: &Job<'_>, work: &Infer, monitor: &dyn Monitor) -> Result<Outcome, Error> {
    let table = job.table(work.part)?;
    let shard = job.shard.clone().unwrap_or(0..table.len());
    let wrong = || Error::Shard { start: shard.start, end: shard.end, rows: table.len(), batch: work.batch };
    // A shard that starts within a batch would pad its rows otherwise than one that starts at its edge.
    let aligned = shard.start.checked_rem(work.batch) == Some(0);
    if !aligned || shard.start > shard.end || shard.end > table.len() {
        return Err(wrong());
    }
    let file = part_name(shard.start.checked_div(work.shard).ok_or_else(wrong)?);
    let table = table.select(&shard.collect::<Vec<_>>());
    let path = job.output.join(&file);
    match work.output {
        Output::Probabilities => probabilities(job, work, &table, monitor)?.write(&path)?,
        Output::LogProbability => log_probabilities(job, work, &table, monitor)?.write(&path)?,
    }
    Ok(Outcome { files: vec![file], facts: [("rows".to_owned(), table.len() as u64)].into() })
}

fn probabilities(
    job: &Job<'_>,
    work: &Infer,
    table: &Table,
    monitor: &dyn Monitor,
) -> Result<Probabilities, Error> {
    let (model, tokenizer) = job.model("model")?;
    let examples = examples(table, &model, tokenizer, work.max_tokens)?;
    let probabilities = fulcrum_train::probabilities(&model, &examples, 0..table.len(), work.batch, monitor)?;
    Ok(Probabilities { rows: table.rows.clone(), probabilities })
}

fn log_probabilities(
    job: &Job<'_>,
    work: &Infer,
    table: &Table,
    monitor: &dyn Monitor,
) -> Result<LogProbabilities, Error> {
    let (model, tokenizer) = job.model("model")?;
    let examples = examples(table, &model, tokenizer, work.max_tokens)?;
    let found = fulcrum_train::log_probabilities(&model, &examples, 0..table.len(), work.batch, monitor)?;
    Ok(LogProbabilities {
        rows: table.rows.clone(),
        tokens: found.iter().map(|row| row.tokens as i64).collect(),
        log_probability: found.iter().map(|row| row.log_probability).collect(),
    })
}
