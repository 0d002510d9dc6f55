//! Infer: a model over one shard of rows. Weak labels, test predictions, log-probabilities.

use fulcrum_common::plan::{Infer, Output};
use fulcrum_data::{LogProbabilities, Probabilities};
use fulcrum_models::Model;
use fulcrum_train::{Examples, Monitor, log_probabilities, probabilities};

use crate::{Error, Job, Outcome, generate, job::part_name};

/// Without a shard: all rows, as one.
pub(crate) fn run(job: &Job<'_>, work: &Infer, monitor: &dyn Monitor) -> Result<Outcome, Error> {
    let batch = work.batch_tokens;
    match &work.output {
        Output::Completions(sampling) => generate::run(job, work, sampling, monitor),
        Output::Probabilities => {
            let Shard { rows, model, examples, file } = Shard::read(job, work)?;
            let left = left(&file, &rows);
            let probabilities = probabilities(&model, &examples, batch, monitor)?;
            Probabilities { rows, probabilities }.write(&job.output.join(file))?;
            Ok(left)
        }
        Output::LogProbability => {
            let Shard { rows, model, examples, file } = Shard::read(job, work)?;
            let left = left(&file, &rows);
            let found = log_probabilities(&model, &examples, batch, monitor)?;
            let tokens = found.iter().map(|row| row.tokens as i64).collect();
            let log_probability = found.iter().map(|row| row.log_probability).collect();
            LogProbabilities { rows, tokens, log_probability }.write(&job.output.join(file))?;
            Ok(left)
        }
    }
}

/// What a shard is made of, and the file it goes to.
struct Shard {
    rows: Vec<i64>,
    model: Model,
    examples: Examples,
    file: String,
}

impl Shard {
    fn read(job: &Job<'_>, work: &Infer) -> Result<Self, Error> {
        let all = job.labels(work.part)?.rows;
        let range = job.range(work.shard, all.len())?;
        let (model, _) = job.model("model")?;
        let examples = job.examples(range.clone(), &model)?;
        Ok(Self { file: part_name(range.start / work.shard), rows: all[range].to_vec(), model, examples })
    }
}

fn left(file: &str, rows: &[i64]) -> Outcome {
    Outcome { files: vec![file.to_owned()], facts: [("rows".to_owned(), rows.len() as u64)].into() }
}
