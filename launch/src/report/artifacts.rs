//! Where the numbers of a report come from: the artifacts of the run, by their keys.

use fulcrum_common::{
    Key,
    plan::{Measure, Plan, Role},
};
use serde::Serialize;

use crate::predictions::{measured, words};

/// The artifacts that numbers rest on, in the order of the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Artifacts {
    /// The measurement.
    measure: Option<String>,
    /// Predictions at the end of trainings: role, method, weak and strong model, seed, and the artifact.
    predictions: Vec<([String; 4], u64, String)>,
    rows: Vec<ArtifactRow>,
}

/// A line of the page's list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ArtifactRow {
    /// The first digits of its key.
    short: String,
    name: String,
}

impl Artifacts {
    /// Those of a plan that measures.
    pub(crate) fn of(plan: &Plan) -> Self {
        let Some((spec, Measure::WeakToStrong { predictions, .. })) = measured(plan) else {
            return Self::default();
        };
        let goal = spec.key();
        let mut shown: Vec<Key> = vec![goal];
        let mut found = Vec::new();
        for one in predictions {
            let (Ok(prediction), Ok(model)) = (spec.input(&one.input), spec.input(&one.model)) else {
                continue;
            };
            shown.extend([prediction, model]);
            if one.progress.is_none() {
                found.push((words(&one.role).map(str::to_owned), one.seed, prediction.short()));
            }
        }
        let rows = plan.stages().iter().filter(|stage| shown.contains(&stage.key));
        let rows = rows.map(|stage| ArtifactRow { short: stage.key.short(), name: stage.name.clone() });
        Self { measure: Some(goal.short()), predictions: found, rows: rows.collect() }
    }

    /// The measurement's.
    pub(super) fn measure(&self) -> Option<&str> {
        self.measure.as_deref()
    }

    /// That of the predictions of a model that was trained to its end.
    pub(super) fn prediction(&self, role: &Role, seed: u64) -> Option<&str> {
        let wanted = words(role);
        let mut all = self.predictions.iter();
        all.find(|(role, of, _)| *of == seed && role.each_ref().map(String::as_str) == wanted)
            .map(|(.., key)| &key[..])
    }

    /// The list.
    pub(super) fn rows(&self) -> &[ArtifactRow] {
        &self.rows
    }
}
