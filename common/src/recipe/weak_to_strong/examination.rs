//! Which moment of a training a student is taken from, and how it is tested.

use std::collections::BTreeMap;

use super::{
    Compiler, Tested,
    bases::Base,
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
        let model = self.chosen(method, teacher, base, &learned, &title, seed);
        if method.stop.is_none() {
            let of = learned.moments.len() + 1;
            for (at, moment) in learned.moments.into_iter().enumerate() {
                let progress = Some((at + 1) as f64 / of as f64);
                let title = format!("{title}: {} of {of}", at + 1);
                self.test_on(
                    &rows,
                    title,
                    base,
                    Tested { progress, ..Tested::of(role.clone(), moment, seed) },
                );
            }
        }
        let oracle = method.sees_truth();
        self.test_on(&rows, title, base, Tested { oracle, ..Tested::of(role, model, seed) });
    }

    /// The model after its last step, or of the moment at which it said most that is held to be right of rows that it did
    /// not learn from (Burns et al. 2023, section 5.1.1).
    pub(super) fn chosen(
        &mut self,
        method: &Method,
        teacher: &Teacher<'_>,
        base: &Base<'_>,
        learned: &Learned,
        title: &str,
        seed: u64,
    ) -> Key {
        let Some(stop) = method.stop else { return learned.model };
        let rows = self.exam(method, teacher, Part::Validation, title, seed);
        let mut inputs = BTreeMap::from([("data".to_owned(), self.bases.data)]);
        if stop == Stop::WeakLabels {
            inputs
                .insert("labels".to_owned(), self.labels(teacher, &self.bases.rows(Part::Validation), seed));
        }
        let moments = learned.moments.iter().chain([&learned.model]);
        for (at, &model) in moments.enumerate() {
            let of = format!("validation of {title}: {}", at + 1);
            inputs.insert(format!("prediction/{at}"), self.infer(of, base, model, &rows));
            inputs.insert(format!("model/{at}"), model);
        }
        let cost = estimate(rows.count.saturating_mul(learned.moments.len() + 1), 0);
        let work = Work::Merge(Merge::Best);
        let by = match stop {
            Stop::WeakLabels => "weak labels",
            Stop::GroundTruth => "true labels",
        };
        self.plan.add(format!("best of {title} by {by}"), Spec { work, inputs }, cost)
    }
}
