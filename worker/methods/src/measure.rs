//! Measure: numbers from predictions.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use fulcrum_common::{
    metrics::{self, Bootstrap, Predicted},
    plan::{Measure, Part, Prediction},
    results::{AccuracyResults, Moves, Results, SCHEMA, Task, TaskResults},
};
use fulcrum_data::{
    Completions, Labels, Positions, Questions, Table,
    chess::{Answer, Position},
};

use crate::{Error, Job, Outcome, labels};

/// Name of the file with the numbers.
const RESULTS: &str = "results.json";

pub(crate) fn run(job: &Job<'_>, work: &Measure) -> Result<Outcome, Error> {
    let text = match work {
        Measure::WeakToStrong { schema, .. } | Measure::Tasks { schema, .. } if *schema != SCHEMA => {
            return Err(Error::Mismatch(format!(
                "the plan asks for results of schema {schema}, this worker writes {SCHEMA}: make it again with \
                 `fulcrum plan` of the worker's version"
            )));
        }
        Measure::WeakToStrong { ladder, predictions, written: true, draws, seed, schema: _ } => {
            let bootstrap = Bootstrap { draws: *draws, seed: *seed };
            let (truth, predicted) = compared(job, predictions)?;
            metrics::weak_to_strong(ladder, &truth, &predicted, bootstrap)?.to_json()
        }
        Measure::WeakToStrong { ladder, predictions, written: false, draws, seed, schema: _ } => {
            let roles = predictions.iter().map(|prediction| prediction.input.as_str());
            let Told { rows, truth, left_out, said } = told(job, Part::Test, roles)?;
            let predicted = predictions.iter().zip(said);
            let predicted = predicted.map(|(prediction, said)| predicted_by(job, prediction, said));
            let predicted = predicted.collect::<Result<Vec<_>, _>>()?;
            let bootstrap = Bootstrap { draws: *draws, seed: *seed };
            let mut results = metrics::weak_to_strong(ladder, &truth, &predicted, bootstrap)?;
            results.left_out = left_out.len() as u64;
            if let Some(questions) = questions(job, &rows, &left_out)? {
                let found = metrics::per_question(ladder, &truth, &predicted, &questions, bootstrap)?;
                results.per_question = Some(Box::new(found));
            }
            results.to_json()
        }
        Measure::Tasks { tasks, schema: _ } => side_by_side(job, tasks)?.to_json(),
        Measure::Accuracy { part } => {
            let Told { rows, truth, left_out, said } = told(job, *part, ["prediction"])?;
            let classes: Vec<i32> = said[0].iter().map(|row| metrics::argmax(row) as i32).collect();
            let (accuracy, chance) = (metrics::accuracy(&classes, &truth), metrics::chance(&truth));
            let (rows, left_out) = (rows.len() as u64, left_out.len() as u64);
            AccuracyResults { schema: SCHEMA, rows, left_out, chance, accuracy }.to_json()
        }
    };
    let path = job.output.join(RESULTS);
    fs::write(&path, text).map_err(Error::io(&path))?;
    Ok(Outcome { files: vec![RESULTS.to_owned()], facts: [].into() })
}

/// What was measured in each of several tasks.
fn side_by_side(job: &Job<'_>, tasks: &[String]) -> Result<TaskResults, Error> {
    let read = |task: &String| {
        let path = job.file(&format!("task/{task}"), RESULTS)?;
        let text = fs::read(path).map_err(Error::io(path))?;
        let wrong = |error| Error::Mismatch(format!("the results of task {task:?} cannot be used: {error}"));
        Ok(Task { task: task.clone(), results: Results::from_json(&text).map_err(wrong)? })
    };
    let tasks = tasks.iter().map(read).collect::<Result<Vec<_>, Error>>()?;
    let pairs = metrics::over_tasks(tasks.iter().map(|it| (it.task.as_str(), &it.results)));
    Ok(TaskResults { schema: SCHEMA, tasks, pairs })
}

/// The places of each question's answers among the test rows, where those are answers to some. A question of which an
/// answer is left out is left out.
fn questions(
    job: &Job<'_>,
    rows: &[i64],
    left_out: &BTreeSet<i64>,
) -> Result<Option<Vec<Vec<usize>>>, Error> {
    let Some(path) = job.input("data")?.files.get(Questions::FILE) else { return Ok(None) };
    let places: HashMap<i64, usize> = rows.iter().copied().zip(0..).collect();
    let place = |row: &i64| {
        let absent = || Error::Mismatch(format!("row {row} answers a question, but is no test row"));
        places.get(row).copied().ok_or_else(absent)
    };
    let questions = Questions::read(path)?.answers;
    let whole = questions.iter().filter(|rows| !rows.iter().any(|row| left_out.contains(row)));
    whole.map(|rows| rows.iter().map(place).collect()).collect::<Result<_, _>>().map(Some)
}

/// What was said of the rows of a part.
struct Told {
    /// Their numbers, those aside that are left out.
    rows: Vec<i64>,
    /// Their labels.
    truth: Vec<i32>,
    /// Rows that somebody said nothing of, because they could not be computed.
    left_out: BTreeSet<i64>,
    /// By prediction, their probabilities.
    said: Vec<Vec<Vec<f32>>>,
}

/// Compares like with like: a row that one prediction lacks counts in none.
fn told<'a>(job: &Job<'_>, part: Part, roles: impl IntoIterator<Item = &'a str>) -> Result<Told, Error> {
    let (table, truth) = labelled(job, part)?;
    let said = |role| labels::join(&table.rows, job.prediction(role)?);
    let said = roles.into_iter().map(said).collect::<Result<Vec<_>, _>>()?;
    let (kept, said) = labels::whole(said);
    let rows: Vec<i64> = kept.iter().map(|&at| table.rows[at]).collect();
    let known: BTreeSet<i64> = rows.iter().copied().collect();
    let left_out = table.rows.into_iter().filter(|row| !known.contains(row)).collect();
    Ok(Told { rows, truth: kept.into_iter().map(|at| truth[at]).collect(), left_out, said })
}

fn labelled(job: &Job<'_>, part: Part) -> Result<(Labels, Vec<i32>), Error> {
    let mut table = job.labels(part)?;
    let labels = table.labels.take();
    let labels = labels.ok_or_else(|| Error::Mismatch(format!("the rows of {part} carry no labels")))?;
    Ok((table, labels))
}

fn predicted_by(
    job: &Job<'_>,
    prediction: &Prediction,
    probabilities: Vec<Vec<f32>>,
) -> Result<Predicted, Error> {
    let Prediction { model, role, seed, progress, oracle, .. } = prediction;
    let parameters = job.fact(model, "parameters")?;
    let predicted = Predicted::of(role.clone(), *seed, parameters, probabilities);
    Ok(Predicted { progress: *progress, oracle: *oracle, ..predicted })
}

/// The texts of the test rows, and what every model wrote; equal ones have equal numbers, and so have two that are one move
/// in the position of their row.
fn compared(job: &Job<'_>, predictions: &[Prediction]) -> Result<(Vec<i32>, Vec<Predicted>), Error> {
    let table = Table::read(job.file("data", &Part::Test.file())?)?;
    let positions = positions(job, &table.rows)?;
    let mut numbers: HashMap<String, i32> = HashMap::new();
    let mut number = |text: String| {
        let next = numbers.len() as i32;
        *numbers.entry(text).or_insert(next)
    };
    let (truth, _) = answers(&table.texts, positions.as_deref());
    let truth = truth.into_iter().map(&mut number).collect();
    let mut predicted = Vec::with_capacity(predictions.len());
    for it in predictions {
        let written = labels::written(&table.rows, Completions::read(&job.parts(&it.input)?)?)?;
        let (written, moves) = answers(&written, positions.as_deref());
        predicted.push(Predicted {
            role: it.role.clone(),
            seed: it.seed,
            progress: it.progress,
            oracle: it.oracle,
            parameters: job.fact(&it.model, "parameters")?,
            classes: written.into_iter().map(&mut number).collect(),
            probabilities: None,
            moves,
        });
    }
    Ok((truth, predicted))
}

/// The positions of the test rows, where their answers are moves.
fn positions(job: &Job<'_>, rows: &[i64]) -> Result<Option<Vec<Position>>, Error> {
    let Some(path) = job.input("data")?.files.get(Positions::FILE) else { return Ok(None) };
    let mut positions = Positions::read(path)?.0;
    let mut of = |row: &i64| {
        let absent = || Error::Mismatch(format!("the test row {row} has no position"));
        positions.remove(row).ok_or_else(absent)
    };
    rows.iter().map(&mut of).collect::<Result<_, _>>().map(Some)
}

/// Texts as they are compared, and what they are as moves where each has a position.
fn answers(texts: &[String], positions: Option<&[Position]>) -> (Vec<String>, Option<Moves>) {
    let plain = |text: &String| text.trim().to_owned();
    let Some(positions) = positions else { return (texts.iter().map(plain).collect(), None) };
    let mut moves = Moves::default();
    let one = |(text, position): (&String, &Position)| match position.judge(text) {
        Answer::Legal(uci) => {
            moves.legal += 1;
            uci
        }
        Answer::Illegal => {
            moves.illegal += 1;
            plain(text)
        }
        Answer::Unreadable => {
            moves.unreadable += 1;
            plain(text)
        }
    };
    let texts = texts.iter().zip(positions).map(one).collect();
    (texts, Some(moves))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_move_is_one_answer_and_what_is_none_is_counted() {
        let position = Position::read("startpos moves f3 e5 g4").unwrap();
        let texts = ["Qh4#", " d8h4 ", "Qh4", "Qh5", "Qxh4", "e5e4", "Qh4 mate", ""].map(str::to_owned);
        let (found, moves) = answers(&texts, Some(&vec![position; texts.len()]));
        assert_eq!(found, ["d8h4", "d8h4", "d8h4", "Qh5", "d8h4", "e5e4", "Qh4 mate", ""]);
        assert_eq!(moves, Some(Moves { legal: 5, illegal: 1, unreadable: 2 }));
        let (found, moves) = answers(&texts[..2], None);
        assert_eq!((found, moves), (vec!["Qh4#".to_owned(), "d8h4".to_owned()], None));
    }
}
