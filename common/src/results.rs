//! `results.json`: what a measure stage writes and the report reads.
//!
//! The bytes are a function of the predictions alone: fields in the order below, lists sorted as each
//! says, numbers in the shortest form that reads back the same. `docs/results.md` describes the keys.

mod moves;
mod summary;
mod tasks;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use moves::{Legality, Moves};
pub use summary::{AgreementIntervals, Flag, Interval, Recovered, Summary};
pub use tasks::{PairOfTask, PairOverTasks, Task, TaskResults};

/// Version of the layout of `results.json`. Readers refuse another one. A measure stage names it in its spec, so that
/// what an older program measured is measured again.
pub const SCHEMA: u32 = 2;

/// Outcome of a weak-to-strong experiment: every model's test accuracy and the performance gap recovered
/// (PGR; Burns et al. 2023, section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Rows that every model was tested on.
    pub test_rows: u64,
    /// Test rows beside those, because a model could not be run over them; not written where there are none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub left_out: u64,
    /// Accuracy of always naming the most frequent class of the test rows, from 0 to 1.
    pub chance: f64,
    /// The models, weakest first.
    pub ladder: Vec<Model>,
    /// Models trained on ground truth, first half; by ladder position, then seed.
    pub supervisors: Vec<Score>,
    /// Models trained on ground truth, second half; by ladder position, then seed. Those of single methods come after
    /// the others of their model.
    pub ceilings: Vec<Score>,
    /// Models trained on weak labels; by method, weak, strong (ladder positions), then seed.
    pub students: Vec<Student>,
    /// Students of all seeds taken together; by method, weak, strong.
    pub summary: Vec<Summary>,
    /// The same of questions, where the rows are answers to some: their number for `test_rows`, and of each the most
    /// probable answer for what a model says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_question: Option<Box<Self>>,
}

/// A model of the ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in the experiment.
    pub name: String,
    /// How many numbers were trained, head included.
    pub parameters: u64,
}

/// Accuracy of one trained model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Name of the model.
    pub model: String,
    /// Of a ceiling that learned as the students of one method did: that method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Seed of its training.
    pub seed: u64,
    /// Share of test rows classified right, from 0 to 1.
    pub accuracy: f64,
    /// Mean over the classes of the share of their rows classified right, from 0 to 1.
    pub balanced_accuracy: f64,
    /// What its probabilities are worth; none where the predictions have none.
    pub probabilistic: Option<Probabilistic>,
    /// Of answers that are chess moves: how many can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<Moves>,
}

/// What the probabilities of a prediction are worth on the test rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probabilistic {
    /// Mean of -ln of the probability given to the truth, in nats.
    pub log_loss: f64,
    /// Expected calibration error of the named class, 15 bins of equal width (Guo et al. 2017), from 0 to 1.
    pub ece: f64,
    /// Monotonic-sweep calibration error of class 1 (Roelofs et al. 2022, p = 2), from 0 to 1; none unless there are
    /// two classes.
    pub ece_sweep: Option<f64>,
    /// Area under the ROC curve of class 1, from 0 to 1; none unless there are two classes and rows of both.
    pub auroc: Option<f64>,
}

/// One student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Student {
    /// Method of its training, e.g. `naive`.
    pub method: String,
    /// Name of the supervisor's model.
    pub weak: String,
    /// Name of the student's model.
    pub strong: String,
    /// Seed of supervisor, student and ceiling.
    pub seed: u64,
    /// Share of test rows classified right, from 0 to 1.
    pub accuracy: f64,
    /// Mean over the classes of the share of their rows classified right, from 0 to 1.
    pub balanced_accuracy: f64,
    /// What its probabilities are worth; none where the predictions have none.
    pub probabilistic: Option<Probabilistic>,
    /// How often the student says what its supervisor says.
    pub agreement: Agreement,
    /// What it does with what its supervisor is sure of; none where either has no probabilities.
    pub contradiction: Option<Contradiction>,
    /// PGR of this seed; none where the ceiling is not above the supervisor.
    pub pgr: Option<f64>,
    /// Its accuracy on the way, by progress; empty where nothing was tested but the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// Of answers that are chess moves: how many can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<Moves>,
}

/// Test accuracy at one point of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Share of the training that was done, above 0 and below 1.
    pub progress: f64,
    /// Share of test rows classified right, from 0 to 1.
    pub accuracy: f64,
}

/// What a student does with what its supervisor is sure of. Confident is a probability of the named class above 0.95.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contradiction {
    /// Share of the test rows on which the student is confident, from 0 to 1.
    pub confident: f64,
    /// Share of those on which the supervisor is confident of another class (EleutherAI's CDR); none where the student
    /// is confident of no row.
    pub rate: Option<f64>,
    /// Mean of the probability that the student gives to the class it names less what the supervisor gives to that
    /// class (EleutherAI's EOE), from -1 to 1.
    pub overconfidence: f64,
    /// Of the rows on which the student is wrong with more than 0.55, the share on which the supervisor gives more than
    /// 0.55 to the same wrong class (EleutherAI's CAR given incorrect); none where there is no such row.
    pub errors_copied: Option<f64>,
}

/// Share of test rows on which student and supervisor name the same class, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Over all test rows.
    pub overall: f64,
    /// Over the rows on which the supervisor is right; none where there is no such row.
    pub supervisor_right: Option<f64>,
    /// Over the rows on which the supervisor is wrong; none where there is no such row.
    pub supervisor_wrong: Option<f64>,
}

/// Outcome of a `measure` stage over a single prediction of labelled rows. No command plans such a stage yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccuracyResults {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Rows that were predicted.
    pub rows: u64,
    /// Rows beside those, because the model could not be run over them; not written where there are none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub left_out: u64,
    /// Accuracy of always naming the most frequent class, from 0 to 1.
    pub chance: f64,
    /// Share of rows classified right, from 0 to 1.
    pub accuracy: f64,
}

fn is_none(rows: &u64) -> bool {
    *rows == 0
}

/// A `results.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The text is not JSON of this layout.
    #[error("results.json is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by another version.
    #[error(
        "results.json has schema {0}, this program reads {SCHEMA}: `fulcrum run` of its experiment with this version \
         measures again, and trains nothing that its store still holds"
    )]
    Schema(u64),
}

impl Results {
    /// Reads `results.json`.
    ///
    /// # Errors
    /// If the text is of another layout or version, or holds a number that is not finite.
    pub fn from_json(text: &[u8]) -> Result<Self, ResultsError> {
        read(text)
    }

    /// The bytes of `results.json`: indented, with a newline at the end.
    pub fn to_json(&self) -> Vec<u8> {
        write(self)
    }
}

impl AccuracyResults {
    /// Reads `results.json`.
    ///
    /// # Errors
    /// If the text is of another layout or version, or holds a number that is not finite.
    pub fn from_json(text: &[u8]) -> Result<Self, ResultsError> {
        read(text)
    }

    /// The bytes of `results.json`: indented, with a newline at the end.
    pub fn to_json(&self) -> Vec<u8> {
        write(self)
    }
}

/// The version is looked at first, so that a file of another version is named as that and not as malformed.
fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, ResultsError> {
    let value: serde_json::Value = serde_json::from_slice(text)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema != u64::from(SCHEMA) => Err(ResultsError::Schema(schema)),
        _ => Ok(serde_json::from_value(value)?),
    }
}

fn write(results: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(results).expect("results are plain data");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests;
