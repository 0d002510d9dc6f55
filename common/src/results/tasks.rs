//! The outcome of an experiment over several tasks.

use serde::{Deserialize, Serialize};

use super::{Flag, Interval, Results, ResultsError, Summary, read, write};

/// Several tasks side by side, each with its own [`Results`], and every pair of models over all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResults {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The tasks, in the order of the experiment.
    pub tasks: Vec<Task>,
    /// By method, weak and strong model, in the order in which they first come.
    pub pairs: Vec<PairOverTasks>,
}

/// One of several tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What it is called.
    pub task: String,
    /// What was measured in it.
    pub results: Results,
}

/// One method between one pair of models, over the tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairOverTasks {
    /// Method of the training, e.g. `naive`.
    pub method: String,
    /// Name of the supervisor's model.
    pub weak: String,
    /// Name of the student's model.
    pub strong: String,
    /// The tasks that have this pair.
    pub tasks: Vec<PairOfTask>,
    /// Tasks that have a PGR.
    pub counted: usize,
    /// Median of their PGRs, with the 95 % bootstrap interval over tasks; none where no task has one.
    pub median_pgr: Option<Interval>,
}

/// The numbers of one pair in one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairOfTask {
    /// What the task is called.
    pub task: String,
    /// Accuracy of the supervisor.
    pub weak_accuracy: Interval,
    /// Accuracy of the student.
    pub student_accuracy: Interval,
    /// Accuracy of the strong ceiling.
    pub ceiling_accuracy: Interval,
    /// Performance gap recovered; none where there is no gap beyond noise.
    pub pgr: Option<Interval>,
    /// What to know before reading the numbers.
    pub flags: Vec<Flag>,
}

impl PairOfTask {
    /// A line of the summary of `task`.
    pub fn new(task: &str, summary: &Summary) -> Self {
        Self {
            task: task.to_owned(),
            weak_accuracy: summary.weak_accuracy,
            student_accuracy: summary.student_accuracy,
            ceiling_accuracy: summary.ceiling_accuracy,
            pgr: summary.pgr,
            flags: summary.flags.clone(),
        }
    }
}

impl TaskResults {
    /// Reads `results.json` of several tasks.
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
