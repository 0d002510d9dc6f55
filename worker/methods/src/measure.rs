//! Measure: numbers from predictions.

use std::fs;

use fulcrum_common::{
    metrics::{self, Bootstrap, Predicted},
    plan::{Measure, Part, Prediction},
    results::{AccuracyResults, SCHEMA},
};
use fulcrum_data::{Labels, Probabilities};

use crate::{Error, Job, Outcome, labels};

/// Name of the file with the numbers.
const RESULTS: &str = "results.json";

pub(crate) fn run(job: &Job<'_>, work: &Measure) -> Result<Outcome, Error> {
    let text = match work {
        Measure::WeakToStrong { ladder, predictions, draws, seed } => {
            let (table, truth) = labelled(job, Part::Test)?;
            let predicted = |prediction| predicted(job, &table, prediction);
            let predicted = predictions.iter().map(predicted).collect::<Result<Vec<_>, _>>()?;
            let bootstrap = Bootstrap { draws: *draws, seed: *seed };
            metrics::weak_to_strong(ladder, &truth, &predicted, bootstrap)?.to_json()
        }
        Measure::Accuracy { part } => {
            let (table, truth) = labelled(job, *part)?;
            let classes = classes(job, &table, "prediction")?;
            let (accuracy, chance) = (metrics::accuracy(&classes, &truth), metrics::chance(&truth));
            AccuracyResults { schema: SCHEMA, rows: table.len() as u64, chance, accuracy }.to_json()
        }
    };
    let path = job.output.join(RESULTS);
    fs::write(&path, text).map_err(Error::io(&path))?;
    Ok(Outcome { files: vec![RESULTS.to_owned()], facts: [].into() })
}

fn labelled(job: &Job<'_>, part: Part) -> Result<(Labels, Vec<i32>), Error> {
    let mut table = job.labels(part)?;
    let labels = table.labels.take();
    let labels = labels.ok_or_else(|| Error::Mismatch(format!("the rows of {part} carry no labels")))?;
    Ok((table, labels))
}

fn predicted(job: &Job<'_>, table: &Labels, prediction: &Prediction) -> Result<Predicted, Error> {
    Ok(Predicted {
        role: prediction.role.clone(),
        seed: prediction.seed,
        parameters: job.fact(&prediction.model, "parameters")?,
        classes: classes(job, table, &prediction.input)?,
    })
}

/// The likeliest class of every row of the table.
fn classes(job: &Job<'_>, table: &Labels, role: &str) -> Result<Vec<i32>, Error> {
    let probabilities = labels::join(&table.rows, Probabilities::read(&job.parts(role)?)?)?;
    Ok(probabilities.iter().map(|row| metrics::argmax(row) as i32).collect())
}
