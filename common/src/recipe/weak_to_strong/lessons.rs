//! What a teacher's labels and the rows become before a student sees them.

use super::{
    Compiler,
    bases::{Rows, roles},
    learning::{Lesson, Teacher},
};
use crate::{
    Key,
    experiment::Method,
    plan::{Part, Prepare, Revision, Spec, Work},
    recipe::estimate,
};

impl Compiler<'_> {
    /// Rows to learn from, with a teacher's labels. Errors are moved before the first lesson alone: what comes after
    /// learns from a student and has its own.
    pub(super) fn lesson(
        &mut self,
        method: &Method,
        teacher: &Teacher<'_>,
        mut rows: Rows,
        of: &str,
        first: bool,
        seed: u64,
    ) -> Lesson {
        let mut labels = self.labels(teacher, &rows, seed);
        if self.experiment.task.answer_tokens.is_some() {
            // What a model wrote takes the place of what is to be written.
            let title = format!("answers for {of}");
            let data = self.revise(&rows, labels, Revision::Answers, title.clone());
            return Lesson { rows: Rows { data, title, ..rows }, labels: None, judge: None };
        }
        if let Some(pattern) = method.errors.filter(|_| first) {
            let revision = Revision::Errors { pattern, seed };
            // The rows stay as they are, and so do their tokens.
            labels = self.revise(&rows, labels, revision, format!("other errors for {of}"));
        }
        if let Some(share) = method.confident {
            let title = format!("surest rows for {of}");
            labels = self.revise(&rows, labels, Revision::Confident { share }, title);
            rows = Rows { data: labels, title: format!("surest rows for {of}"), ..rows };
        }
        if !method.hint.is_empty() {
            let revision = Revision::Hint { endings: method.hint.clone() };
            labels = self.revise(&rows, labels, revision, format!("hints for {of}"));
            rows = Rows { data: labels, title: format!("hints for {of}"), ..rows };
        }
        let judge = self.judge(method, teacher, of, seed);
        Lesson { rows, labels: Some(labels), judge }
    }

    /// Rows to be examined on, with what a teacher says of them where the lessons told that too.
    pub(super) fn exam(
        &mut self,
        method: &Method,
        teacher: &Teacher<'_>,
        part: Part,
        of: &str,
        seed: u64,
    ) -> Rows {
        let rows = self.bases.rows(part);
        if method.hint.is_empty() {
            return rows;
        }
        let labels = self.labels(teacher, &rows, seed);
        let revision = Revision::Hint { endings: method.hint.clone() };
        let title = format!("{part} hints for {of}");
        Rows { data: self.revise(&rows, labels, revision, title.clone()), title, ..rows }
    }

    fn revise(&mut self, rows: &Rows, labels: Key, revision: Revision, title: String) -> Key {
        let part = rows.part;
        let work = Work::Prepare(Prepare::Revised { part, revision });
        let inputs = roles([("data", rows.data), ("labels", labels)]);
        self.plan.add(title, Spec { work, inputs }, estimate(rows.count, 0))
    }
}
