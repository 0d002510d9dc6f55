//! `results.json`: what a measure stage writes and the report reads.
//!
//! The bytes are a function of the predictions alone: fields in the order below, lists sorted as each
//! says, numbers in the shortest form that reads back the same. `docs/results.md` describes the keys.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of the layout of `results.json`. Readers refuse another one.
pub const SCHEMA: u32 = 1;

/// Why a group has no PGR.
pub const NO_GAP: &str = "n/a: the gap between weak and ceiling is not above noise";

/// Outcome of a weak-to-strong experiment: every model's test accuracy and the performance gap recovered
/// (PGR; Burns et al. 2023, section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Rows that every model was tested on.
    pub test_rows: u64,
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
    /// How often the student says what its supervisor says.
    pub agreement: Agreement,
    /// PGR of this seed; none where the ceiling is not above the supervisor.
    pub pgr: Option<f64>,
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

/// The students of one (method, weak, strong) over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Method of the training, e.g. `naive`.
    pub method: String,
    /// Name of the supervisor's model.
    pub weak: String,
    /// Name of the student's model.
    pub strong: String,
    /// How many seeds are taken together.
    pub seeds: u64,
    /// Accuracy of the supervisor.
    pub weak_accuracy: Interval,
    /// Accuracy of the student.
    pub student_accuracy: Interval,
    /// Accuracy of the strong ceiling.
    pub ceiling_accuracy: Interval,
    /// Ceiling accuracy less weak accuracy, paired.
    pub gap: Interval,
    /// Performance gap recovered; none where the interval of `gap` is not above zero.
    pub pgr: Option<Interval>,
    /// Why there is no PGR.
    pub note: Option<String>,
}

/// A number with its 95 % bootstrap interval over test rows and seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The estimate from all rows and seeds (for PGR: the ratio of the means over seeds).
    pub mean: f64,
    /// The 2.5 % point of the draws.
    pub low: f64,
    /// The 97.5 % point of the draws.
    pub high: f64,
}

/// Outcome of a `measure` stage over a single prediction of labelled rows. No command plans such a stage yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccuracyResults {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Rows that were predicted.
    pub rows: u64,
    /// Accuracy of always naming the most frequent class, from 0 to 1.
    pub chance: f64,
    /// Share of rows classified right, from 0 to 1.
    pub accuracy: f64,
}

/// A `results.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The text is not JSON of this layout.
    #[error("results.json is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by another version.
    #[error("results.json has schema {0}, this program reads {SCHEMA}: measure again with this version")]
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
mod tests {
    use super::*;

    fn results() -> Results {
        let interval = Interval { mean: 0.75, low: 0.5, high: 1.0 };
        Results {
            schema: SCHEMA,
            test_rows: 4,
            chance: 0.5,
            ladder: vec![Model { name: "a".into(), parameters: 10 }],
            supervisors: vec![Score { model: "a".into(), method: None, seed: 0, accuracy: 0.1 + 0.2 }],
            ceilings: vec![],
            students: vec![Student {
                method: "naive".into(),
                weak: "a".into(),
                strong: "a".into(),
                seed: 0,
                accuracy: 0.75,
                agreement: Agreement { overall: 1.0, supervisor_right: Some(1.0), supervisor_wrong: None },
                pgr: None,
            }],
            summary: vec![Summary {
                method: "naive".into(),
                weak: "a".into(),
                strong: "a".into(),
                seeds: 1,
                weak_accuracy: interval,
                student_accuracy: interval,
                ceiling_accuracy: interval,
                gap: Interval { mean: 0.0, low: 0.0, high: 0.0 },
                pgr: None,
                note: Some(NO_GAP.into()),
            }],
        }
    }

    #[test]
    fn written_results_read_back_to_the_last_bit() {
        let text = results().to_json();
        assert_eq!(Results::from_json(&text).unwrap(), results());
        assert_eq!(Results::from_json(&text).unwrap().to_json(), text);
    }

    #[test]
    fn another_version_is_named_as_such() {
        let error = Results::from_json(br#"{"schema":2,"new":true}"#).unwrap_err();
        assert!(matches!(error, ResultsError::Schema(2)), "{error}");
    }

    #[test]
    fn a_number_that_is_not_finite_does_not_read_back() {
        let mut broken = results();
        broken.chance = f64::NAN;
        assert!(matches!(Results::from_json(&broken.to_json()), Err(ResultsError::Malformed(_))));
    }

    #[test]
    fn unknown_and_missing_keys_are_refused() {
        let text = String::from_utf8(results().to_json()).unwrap();
        for broken in [text.replace("\"chance\"", "\"luck\""), text.replace("\"chance\": 0.5,", "")] {
            assert!(Results::from_json(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
