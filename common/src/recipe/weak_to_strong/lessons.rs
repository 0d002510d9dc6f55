//! What a teacher's labels and the rows become before a student sees them.

use super::{
    Compiler,
    bases::{Rows, roles},
    learning::{Lesson, Teacher},
};
use crate::{
    Key,
    experiment::Method,
    plan::{ErrorPattern, Part, Prepare, Revision, Spec, Work},
    recipe::estimate,
};

impl Compiler<'_> {
    /// Rows to learn from, with a teacher's labels. Errors are moved as the pattern says, which may ask the model at that
    /// place of the ladder; before the first lesson alone: what comes after learns from a student and has its own.
    pub(super) fn lesson(
        &mut self,
        method: &Method,
        teacher: &Teacher<'_>,
        mut rows: Rows,
        of: &str,
        errors: Option<(ErrorPattern, usize)>,
        seed: u64,
    ) -> Lesson {
        let mut labels = self.labels(teacher, &rows, seed);
        if self.experiment.task.answer_tokens.is_some() {
            // What a model wrote takes the place of what is to be written.
            let title = format!("answers for {of}");
            let data = self.revise(&rows, [("labels", labels)], Revision::Answers, title.clone());
            return Lesson { rows: Rows { data, title, ..rows }, labels: None, judge: None };
        }
        if let Some((pattern, strong)) = errors {
            let judged = pattern.asks_strong().then(|| ("strong", self.known(strong, &rows, seed)));
            let inputs = [("labels", labels)].into_iter().chain(judged);
            let revision = Revision::Errors { pattern, seed };
            // The rows stay as they are, and so do their tokens.
            labels = self.revise(&rows, inputs, revision, format!("other errors for {of}"));
        }
        if let Some(share) = method.confident {
            let title = format!("surest rows for {of}");
            labels = self.revise(&rows, [("labels", labels)], Revision::Confident { share }, title);
            rows = Rows { data: labels, title: format!("surest rows for {of}"), ..rows };
        }
        if !method.hint.is_empty() {
            let revision = Revision::Hint { endings: method.hint.clone() };
            labels = self.revise(&rows, [("labels", labels)], revision, format!("hints for {of}"));
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
        let data = self.revise(&rows, [("labels", labels)], revision, title.clone());
        Rows { data, title, ..rows }
    }

    /// What a model of the ladder says of rows once it learned from the true labels of others.
    fn known(&mut self, place: usize, rows: &Rows, seed: u64) -> Key {
        let base = self.bases.supervisor(place);
        let model = self.supervisor(&base, seed);
        let title = format!("{} seed {seed}", base.name);
        self.labels(&Teacher::One { base, model, title }, rows, seed)
    }

    fn revise(
        &mut self,
        rows: &Rows,
        inputs: impl IntoIterator<Item = (&'static str, Key)>,
        revision: Revision,
        title: String,
    ) -> Key {
        let part = rows.part;
        let work = Work::Prepare(Prepare::Revised { part, revision });
        let inputs = roles(inputs.into_iter().chain([("data", rows.data)]));
        self.plan.add(title, Spec { work, inputs }, estimate(rows.count, 0))
    }
}
