//! Which moment of a training a student is taken from, and how it is tested.

use std::collections::BTreeMap;

use super::{
    Compiler, Tested,
    bases::{Base, Rows},
    learning::{Learned, Teacher},
};
use crate::{
    Key,
    experiment::{Method, Stop},
    plan::{Merge, Part, Role, Spec, Work},
    recipe::estimate,
};

impl Compiler<'_> {
    /// Tests a student, and where it is that of its last step, also what it was on the way.
    pub(super) fn examine(
        &mut self,
        method: &Method,
        teacher: &Teacher<'_>,
        base: &Base<'_>,
        learned: Learned,
        (title, role): (String, Role),
        seed: u64,
    ) {
        let rows = self.exam(method, teacher, Part::Test, &title, seed);
        let of = learned.moments.len() + 1;
        for (at, moment) in learned.moments.into_iter().enumerate() {
            let progress = Some((at + 1) as f64 / of as f64);
            let title = format!("{title}: {} of {of}", at + 1);
            self.test_on(&rows, title, base, Tested { progress, ..Tested::of(role.clone(), moment, seed) });
        }
        let oracle = method.sees_truth();
        self.test_on(&rows, title, base, Tested { oracle, ..Tested::of(role, learned.model, seed) });
    }

    /// By what the students of a method are chosen, where there are several: a moment of their training (Burns et al.
    /// 2023, section 5.1.1) or a trial of the grid.
    pub(super) fn judge(
        &mut self,
        method: &Method,
        teacher: &Teacher<'_>,
        of: &str,
        seed: u64,
    ) -> Option<Judge> {
        if method.stop.is_none() && self.experiment.grid.is_empty() {
            return None;
        }
        let rows = self.exam(method, teacher, Part::Validation, of, seed);
        let labels = (method.stop != Some(Stop::GroundTruth)).then(|| {
            let rows = self.bases.rows(Part::Validation);
            self.labels(teacher, &rows, seed)
        });
        Some(Judge { rows, labels })
    }

    /// By what supervisors and ceilings are, where there is a grid.
    pub(super) fn true_judge(&self) -> Option<Judge> {
        let tries = !self.experiment.grid.is_empty();
        tries.then(|| Judge { rows: self.bases.rows(Part::Validation), labels: None })
    }

    /// The model that says most that is held to be right of rows that it did not learn from.
    pub(super) fn best(
        &mut self,
        title: &str,
        base: &Base<'_>,
        learned: impl IntoIterator<Item = Learned>,
        judge: &Judge,
    ) -> Learned {
        let mut inputs = BTreeMap::from([("data".to_owned(), self.bases.data)]);
        inputs.extend(judge.labels.map(|labels| ("labels".to_owned(), labels)));
        let all: Vec<Key> =
            learned.into_iter().flat_map(|one| one.moments.into_iter().chain([one.model])).collect();
        for (at, &model) in all.iter().enumerate() {
            let of = format!("validation of {title}: {}", at + 1);
            inputs.insert(format!("prediction/{at}"), self.infer(of, base, model, &judge.rows));
            inputs.insert(format!("model/{at}"), model);
        }
        let cost = estimate(judge.rows.count.saturating_mul(all.len()), 0);
        let by = if judge.labels.is_some() { "weak labels" } else { "true labels" };
        let spec = Spec { work: Work::Merge(Merge::Best), inputs };
        let model = self.plan.add(format!("best of {title} by {by}"), spec, cost);
        Learned { model, moments: Vec::new() }
    }
}

/// Rows by which one of several models is chosen, and what is held to be right of them.
#[derive(Clone)]
pub(super) struct Judge {
    pub rows: Rows,
    /// None for the true labels.
    pub labels: Option<Key>,
}
