//! Combinations of models and of predictions, and numbers from predictions.

use serde::{Deserialize, Serialize};

use super::{Part, train::is_default};

/// A combination of models, or of what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The unweighted mean of every tensor.
    Average,
    /// The mean of the probabilities that the inputs `labels/0`, `labels/1`, ... give to the same rows.
    Predictions,
    /// The one of the models `model/0`, `model/1`, ... whose prediction `prediction/0`, `prediction/1`, ... of the validation rows
    /// of `data` says the likeliest class of `labels` most often, or where there are no `labels`, the true one. Of
    /// equals that with the lower cross-entropy, then the earlier.
    Best,
}

/// Numbers from predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Accuracy of every model of a weak-to-strong run, and the performance gap recovered.
    WeakToStrong {
        /// The models of the ladder, weakest first, as the report names them.
        ladder: Vec<String>,
        /// Every prediction and its place in the table.
        predictions: Vec<Prediction>,
        /// Whether predictions are completions, which are right where they are the text of the row, white space around them
        /// aside; else they are probabilities.
        #[serde(default, skip_serializing_if = "is_default")]
        written: bool,
        /// Draws of the bootstrap.
        draws: usize,
        /// Seed of the bootstrap.
        seed: u64,
        /// Layout of the results, [`crate::results::SCHEMA`]: a program that measures more measures again. Plans of the
        /// first layout do not name it.
        #[serde(default = "first_schema", skip_serializing_if = "is_first_schema")]
        schema: u32,
    },
    /// The results of several tasks side by side, and the median over them.
    Tasks {
        /// What the tasks are called, in the order of the experiment. The results of each are the input `task/NAME`.
        tasks: Vec<String>,
        /// Layout of the results, as above.
        schema: u32,
    },
    /// Accuracy of one prediction on rows that carry labels.
    Accuracy {
        /// Rows that were predicted.
        part: Part,
    },
}

/// One prediction: the probabilities that one trained model gave to the test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The stage's input that holds it.
    pub input: String,
    /// The stage's input that holds the trained model (for its size).
    pub model: String,
    /// What the model is in the experiment.
    pub role: Role,
    /// Seed of the training.
    pub seed: u64,
    /// Where the model was taken from the middle of its training: the share of it that was done, above 0 and below 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Whether a student's training used true labels, so that it is none but shows what could be had.
    #[serde(default, skip_serializing_if = "is_default")]
    pub oracle: bool,
}

/// What a trained model is in a weak-to-strong experiment. Names are those of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Trained on ground truth, first half.
    Weak {
        /// The model.
        model: String,
    },
    /// Trained on ground truth, second half.
    Ceiling {
        /// The model.
        model: String,
        /// The method whose students it is the ceiling of, where it learned as they did; none for all others'.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    },
    /// Trained on weak labels of the second half.
    Student {
        /// The method, e.g. `naive`.
        method: String,
        /// The supervisor.
        weak: String,
        /// The student.
        strong: String,
    },
}

fn first_schema() -> u32 {
    1
}

fn is_first_schema(schema: &u32) -> bool {
    *schema == first_schema()
}
