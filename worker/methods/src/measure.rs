//! Measure: numbers from predictions.

use std::{collections::HashMap, fs};

use fulcrum_common::{
    metrics::{self, Bootstrap, Predicted},
    plan::{Measure, Part, Prediction},
    results::{AccuracyResults, SCHEMA},
};
use fulcrum_data::{Labels, Probabilities, Questions};

use crate::{Error, Job, Outcome, labels};

/// Name of the file with the numbers.
const RESULTS: &str = "results.json";

pub(crate) fn run(job: &Job<'_>, work: &Measure) -> Result<Outcome, Error> {
    let text = match work {
        Measure::WeakToStrong { schema, .. } if *schema != SCHEMA => {
            return Err(Error::Mismatch(format!(
                "the plan asks for results of schema {schema}, this worker writes {SCHEMA}: make it again with \
                 `fulcrum plan` of the worker's version"
            )));
        }
        Measure::WeakToStrong { ladder, predictions, draws, seed, schema: _ } => {
            let (table, truth) = labelled(job, Part::Test)?;
            let predicted = |prediction| predicted(job, &table, prediction);
            let predicted = predictions.iter().map(predicted).collect::<Result<Vec<_>, _>>()?;
            let bootstrap = Bootstrap { draws: *draws, seed: *seed };
            let mut results = metrics::weak_to_strong(ladder, &truth, &predicted, bootstrap)?;
            if let Some(questions) = questions(job, &table)? {
                let found = metrics::per_question(ladder, &truth, &predicted, &questions, bootstrap)?;
                results.per_question = Some(Box::new(found));
            }
            results.to_json()
        }
        Measure::Accuracy { part } => {
            let (table, truth) = labelled(job, *part)?;
            let rows = probabilities(job, &table, "prediction")?;
            let classes: Vec<i32> = rows.iter().map(|row| metrics::argmax(row) as i32).collect();
            let (accuracy, chance) = (metrics::accuracy(&classes, &truth), metrics::chance(&truth));
            AccuracyResults { schema: SCHEMA, rows: table.len() as u64, chance, accuracy }.to_json()
        }
    };
    let path = job.output.join(RESULTS);
    fs::write(&path, text).map_err(Error::io(&path))?;
    Ok(Outcome { files: vec![RESULTS.to_owned()], facts: [].into() })
}

/// The places of each question's answers in the table of test rows, where those are answers to some.
fn questions(job: &Job<'_>, table: &Labels) -> Result<Option<Vec<Vec<usize>>>, Error> {
    let Some(path) = job.input("data")?.files.get(Questions::FILE) else { return Ok(None) };
    let places: HashMap<i64, usize> = table.rows.iter().copied().zip(0..).collect();
    let place = |row: &i64| {
        let absent = || Error::Mismatch(format!("row {row} answers a question, but is no test row"));
        places.get(row).copied().ok_or_else(absent)
    };
    let questions = Questions::read(path)?.answers;
    questions.iter().map(|rows| rows.iter().map(place).collect()).collect::<Result<_, _>>().map(Some)
}

fn labelled(job: &Job<'_>, part: Part) -> Result<(Labels, Vec<i32>), Error> {
    let mut table = job.labels(part)?;
    let labels = table.labels.take();
    let labels = labels.ok_or_else(|| Error::Mismatch(format!("the rows of {part} carry no labels")))?;
    Ok((table, labels))
}

fn predicted(job: &Job<'_>, table: &Labels, prediction: &Prediction) -> Result<Predicted, Error> {
    let Prediction { input, model, role, seed, progress, oracle } = prediction;
    let (parameters, probabilities) = (job.fact(model, "parameters")?, probabilities(job, table, input)?);
    let predicted = Predicted::of(role.clone(), *seed, parameters, probabilities);
    Ok(Predicted { progress: *progress, oracle: *oracle, ..predicted })
}

/// The probabilities of every row of the table, in its order.
fn probabilities(job: &Job<'_>, table: &Labels, role: &str) -> Result<Vec<Vec<f32>>, Error> {
    labels::join(&table.rows, Probabilities::read(&job.parts(role)?)?)
}
