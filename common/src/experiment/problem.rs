//! What is wrong with an experiment file: every problem at once, each with its line.

use std::{cell::RefCell, fmt, ops::Range};

/// Everything wrong with one experiment file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    file: String,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line in the file, from 1; none where the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Errors {
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        // What is wrong for all of several tasks was found once for each.
        problems.dedup();
        Self { file: file.to_owned(), problems }
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:", self.file)?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// The text being read, and what was found wrong in it so far.
pub(super) struct Log<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Log<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: RefCell::default() }
    }

    pub(super) fn add(&self, line: Option<usize>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { line, message: message.into() });
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The piece of the file in `span`, short enough for a message.
    pub(super) fn snippet(&self, span: &Range<usize>) -> String {
        const LONGEST: usize = 40;
        let piece = self.text.get(span.clone()).unwrap_or_default();
        let one_line = piece.split_whitespace().collect::<Vec<_>>().join(" ");
        match one_line.char_indices().nth(LONGEST) {
            Some((cut, _)) => format!("{}...", &one_line[..cut]),
            None => one_line,
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}
