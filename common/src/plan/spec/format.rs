//! How a source row becomes examples, and which part of a split they go to.

use serde::{Deserialize, Serialize};

use super::Arithmetic;

/// How a source row becomes text and label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// A minijinja template over the row's columns.
    pub text: String,
    /// The column with the label; none where rows carry no label.
    pub label: Option<String>,
    /// The label values in class order, as text; a row with any other value is an error.
    pub classes: Vec<String>,
    /// Names of the columns of files without a header line; empty where the files name them.
    pub columns: Vec<String>,
    /// Rows with the same value of this column, or of this template, stay in one part of a split.
    pub group_by: Option<String>,
}

impl Format {
    /// The format of the rows that [`Source::Arithmetic`] generates.
    pub fn arithmetic() -> Self {
        Self {
            text: "{{ text }}".into(),
            label: Some("label".into()),
            classes: Arithmetic::CLASSES.map(str::to_owned).into(),
            columns: Vec::new(),
            group_by: None,
        }
    }

    /// The format of rows that only carry text, given by a template over their columns.
    pub fn unlabelled(text: &str) -> Self {
        Self { text: text.to_owned(), label: None, classes: Vec::new(), columns: Vec::new(), group_by: None }
    }
}

/// Which rows go where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRule {
    /// Rows for the weak supervisor.
    pub ground_truth: usize,
    /// Rows that the weak supervisor labels for the student; the ceiling trains on them too.
    pub weak_labels: usize,
    /// Rows held out during development.
    pub validation: usize,
    /// Rows that every model is tested on.
    pub test: usize,
    /// Largest share of one class in any part; rows of the majority are dropped at random beyond it.
    pub balance: f64,
    /// Seed of the assignment.
    pub seed: u64,
}

impl SplitRule {
    /// Rows over all parts.
    pub fn rows(&self) -> usize {
        self.ground_truth
            .saturating_add(self.weak_labels)
            .saturating_add(self.validation)
            .saturating_add(self.test)
    }
}
