//! How a source row becomes examples, and which part of a split they go to.

use serde::{Deserialize, Serialize};

use super::{Arithmetic, Coins, Formatter, train::is_default};

/// How a source row becomes examples: texts with what is known of them.
///
/// A *value* below is written as the name of a column, as an expression over the columns (`choices.text`) or as a
/// template (`{{ question }} {{ answer }}`); `worker/data` reads them, `docs/data.md` explains them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// By what the user wrote.
    Templates(Templates),
    /// By a formatter that comes with Fulcrum.
    Named(Named),
}

/// A format that the user wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Templates {
    /// Names of the columns of files without a header line; empty where the files name them.
    pub columns: Vec<String>,
    /// What becomes of a row.
    pub form: Form,
    /// Rows that have this value in common stay in one part of a split. The examples of one row always do.
    pub group_by: Option<String>,
    /// The value that says how hard a row is, a number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub difficulty: Option<String>,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A text without a label.
    Text {
        /// A template over the columns.
        text: String,
    },
    /// A text and its class.
    Classes {
        /// A template over the columns.
        text: String,
        /// The value that tells the class.
        label: String,
        /// What it is for each class, as text, in class order; anything else is an error.
        classes: Vec<String>,
    },
    /// A question with answers to choose from: for each answer a text whose class is 1 if it is right.
    Choices {
        /// A template over the columns and `choice`, `choices`, `letter`.
        text: String,
        /// Where the answers are.
        choices: Choices,
        /// The value that tells the right one: a position from 0, a letter, its text, or a list of marks.
        answer: String,
        /// Which of them become examples.
        pick: Pick,
        /// Seed of the coins; 0 where none are thrown.
        seed: u64,
    },
    /// Two texts of which one is preferred: its class is 1, the other's 0.
    Pair {
        /// What both answer: the value that comes before either.
        prompt: Option<String>,
        /// The preferred one.
        chosen: String,
        /// The other.
        rejected: String,
        /// Whether both become examples or one of them.
        pick: Pick,
        /// Seed of the coins; 0 where none are thrown.
        seed: u64,
    },
    /// Two texts of which one is preferred, in an order that a coin decides: one example of both, whose class is 1 if the
    /// second is preferred.
    Comparison {
        /// What both answer: the value that comes before either.
        prompt: Option<String>,
        /// The preferred one.
        chosen: String,
        /// The other.
        rejected: String,
        /// Seed of the coins.
        seed: u64,
    },
    /// A prompt and the text that follows it, without a label.
    Completion {
        /// What is given.
        prompt: String,
        /// What a model is to write.
        completion: String,
        /// Where that is a move: the value that tells the chess position.
        #[serde(default, skip_serializing_if = "is_default")]
        position: Option<String>,
    },
}

/// Where the answers of a row are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choices {
    /// In one value that is a list.
    List(String),
    /// In a value each.
    Each(Vec<String>),
}

/// Which answers of a question become examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Every one.
    All,
    /// A right one and a random wrong one, as in the paper (Burns et al. 2023, appendix A.1).
    Two,
    /// By a coin a right one or a random wrong one, as in the code released with the paper.
    One,
}

/// A formatter that comes with Fulcrum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Which.
    pub formatter: Formatter,
    /// Its version, which is raised whenever it makes other examples of the same rows.
    pub version: u32,
    /// Which answers become examples; [`Pick::All`] where a row has one text.
    pub pick: Pick,
    /// Seed of the coins; 0 where none are thrown.
    pub seed: u64,
    /// Whether a pair of texts becomes one example of both, as by [`Form::Comparison`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub compares: bool,
}

impl Named {
    /// This program's version of a formatter, which shows one answer of a question where nothing else is said. Neither
    /// `pick` nor `seed` is kept where it changes nothing.
    pub fn new(formatter: Formatter, pick: Option<Pick>, seed: u64) -> Self {
        let pick = if formatter.picks() { pick.unwrap_or(Pick::One) } else { Pick::All };
        let mut named = Self { formatter, version: formatter.version(), pick, seed, compares: false };
        named.seed = if named.throws_coins() { seed } else { 0 };
        named
    }

    /// This program's version of a formatter of pairs, which become one example each.
    pub fn comparison(formatter: Formatter, seed: u64) -> Self {
        Self { formatter, version: formatter.version(), pick: Pick::All, seed, compares: true }
    }

    /// Whether a coin decides what becomes of a row.
    pub fn throws_coins(&self) -> bool {
        self.formatter.coins() == Coins::Order || self.pick != Pick::All || self.compares
    }
}

impl Format {
    /// The format of the rows that [`super::Source::Arithmetic`] generates.
    pub fn arithmetic() -> Self {
        Self::labelled("{{ text }}", "label", Arithmetic::CLASSES.map(str::to_owned).into())
    }

    /// The format of the rows that [`super::Source::ArithmeticQuestions`] generates, as preferences.
    pub fn arithmetic_comparisons() -> Self {
        let (chosen, rejected) = ("right".to_owned(), "wrong".to_owned());
        Self::of(Form::Comparison { prompt: None, chosen, rejected, seed: 0 })
    }

    /// The format of the same rows as questions with answers to choose from.
    pub fn arithmetic_choices() -> Self {
        let (text, choices) = ("{{ choice }}".to_owned(), Choices::List("claims".to_owned()));
        Self::of(Form::Choices { text, choices, answer: "answer".to_owned(), pick: Pick::All, seed: 0 })
    }

    /// The same, as sums of which a model is to write the result.
    pub fn arithmetic_sums() -> Self {
        let [prompt, completion] = ["{{ right[:6] }}", "{{ right[6:] }}"].map(str::to_owned);
        Self::of(Form::Completion { prompt, completion, position: None })
    }

    /// The format of the rows that [`super::Source::MateInOne`] generates: after the record of the game, the move that mates.
    pub fn mate_in_one() -> Self {
        let [prompt, completion, position] = ["{{ moves }} ", "san", "fen"].map(str::to_owned);
        Self::of(Form::Completion { prompt, completion, position: Some(position) })
    }

    /// The format of rows that only carry text, given by a template over their columns.
    pub fn unlabelled(text: &str) -> Self {
        Self::of(Form::Text { text: text.to_owned() })
    }

    /// The format of rows with a text and a label, whose values are listed in class order.
    pub fn labelled(text: &str, label: &str, classes: Vec<String>) -> Self {
        Self::of(Form::Classes { text: text.to_owned(), label: label.to_owned(), classes })
    }

    /// A format of files that name their columns, in which only the examples of one row belong together.
    pub fn of(form: Form) -> Self {
        Self::Templates(Templates { columns: Vec::new(), form, group_by: None, difficulty: None })
    }

    /// Names of the columns of files without a header line; empty where the files name them.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Templates(templates) => &templates.columns,
            Self::Named(_) => &[],
        }
    }

    /// Whether an example is two texts, of which the one or the other is preferred.
    pub fn compares(&self) -> bool {
        match self {
            Self::Templates(Templates { form, .. }) => matches!(form, Form::Comparison { .. }),
            Self::Named(named) => named.compares,
        }
    }

    /// Whether what is to be written are moves in chess positions.
    pub fn has_positions(&self) -> bool {
        let Self::Templates(Templates { form, .. }) = self else { return false };
        matches!(form, Form::Completion { position: Some(_), .. })
    }

    /// How many classes the examples have; none where they carry no label.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::Templates(Templates { form, .. }) => form.classes(),
            Self::Named(_) => Some(2),
        }
    }
}

impl Form {
    fn classes(&self) -> Option<usize> {
        match self {
            Self::Text { .. } | Self::Completion { .. } => None,
            Self::Classes { classes, .. } => Some(classes.len()),
            Self::Choices { .. } | Self::Pair { .. } | Self::Comparison { .. } => Some(2),
        }
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
    /// Rows for the rounds of a chain before its last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fresh: usize,
    /// Largest share of one class in any part; rows of the majority are dropped at random beyond it.
    pub balance: f64,
    /// What becomes of texts that two parts share.
    pub duplicates: Duplicates,
    /// Where the rows of ground truth are easy and all others hard.
    #[serde(default, skip_serializing_if = "is_default")]
    pub levels: Option<Levels>,
    /// Seed of the assignment.
    pub seed: u64,
}

/// From easy to hard (Burns et al. 2023, appendix C): people can label what is easy, and want models for what is not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// Rows of ground truth are at most so difficult.
    pub easy: f64,
    /// All others at least so.
    pub hard: f64,
}

/// What becomes of a text that an earlier part of a split has too. Parts are filled in the order test, validation,
/// ground truth, weak labels, fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// It stays and is reported.
    #[default]
    Report,
    /// The later part goes without it.
    Drop,
    /// There is no split.
    Refuse,
}

impl SplitRule {
    /// Rows over all parts.
    pub fn rows(&self) -> usize {
        self.ground_truth
            .saturating_add(self.weak_labels)
            .saturating_add(self.validation)
            .saturating_add(self.test)
            .saturating_add(self.fresh)
    }
}
