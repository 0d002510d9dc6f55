//! The plan: an experiment compiled to a graph of stages, each named by its content key.

mod render;
mod spec;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::{Deserialize, Serialize};

pub use render::{StageView, State, render, view};
pub use spec::*;

use crate::Key;

/// The version of the code that gives stages their meaning. It is part of every key: raise it
/// whenever the same description starts to produce other bytes.
pub const CODE_VERSION: u32 = 3;

/// The fact of a training that another number of workers began, as many as it says, where that decides bytes.
pub const RESIZED: &str = "resized";

/// How the facts of a training begin whose replicas disagreed: the worker that was wrong follows, and it says how often.
pub const CORRUPTED: &str = "corrupted/";

/// The fact that counts the rows that an artifact lacks, because they could not be computed or because those that it was
/// made of lacked them.
pub const LEFT_OUT: &str = "left_out";

/// The fact of an inference that lacks this row, by its number in its source.
pub fn left_out(row: i64) -> String {
    format!("{LEFT_OUT}/{row}")
}

/// The rows that an inference lacks, from its facts.
///
/// # Errors
/// If the facts contradict each other.
pub fn rows_left_out(facts: &BTreeMap<String, u64>) -> Result<BTreeSet<i64>, String> {
    let named = facts.keys().filter_map(|name| name.strip_prefix(LEFT_OUT)?.strip_prefix('/'));
    let rows: BTreeSet<i64> = named.filter_map(|row| row.parse().ok()).collect();
    let count = facts.get(LEFT_OUT).copied().unwrap_or_default();
    if rows.len() as u64 == count {
        return Ok(rows);
    }
    Err(format!("{count} rows are said to be left out, and {} are named", rows.len()))
}

/// A graph of stages in topological order: every stage comes after its inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Listed")]
pub struct Plan {
    stages: Vec<Stage>,
    /// Where each key stands among the stages: a sweep has a hundred thousand of them.
    #[serde(skip)]
    places: BTreeMap<Key, usize>,
}

/// A plan as it is written.
#[derive(Deserialize)]
struct Listed {
    stages: Vec<Stage>,
}

/// One node of the plan. Only [`Stage::spec`] decides the result, and so the key;
/// the rest helps people and workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Content key of [`Stage::spec`].
    pub key: Key,
    /// What people read, e.g. `student naive minilm-2>minilm-6 seed 0`. Unique in the plan.
    pub name: String,
    /// What is to be done.
    pub spec: Spec,
    /// Where the bytes that `spec` names by digest were seen, by role. A hint: workers check the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations: BTreeMap<String, String>,
    /// What the stage will cost.
    pub estimate: Estimate,
    /// Most workers of a training that does not take all of a gang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
}

/// Size of a stage, for `fulcrum plan` and progress bars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Examples that pass through the model (or are prepared), repeats counted.
    pub examples: u64,
    /// Upper bound of the tokens in them.
    pub tokens: u64,
}

/// A pure description of work: the same spec gives the same result wherever it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Kind and parameters.
    pub work: Work,
    /// The stages whose artifacts are read, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Key>,
}

impl Spec {
    /// The content key: BLAKE3 over the code version and the spec's canonical JSON
    /// (fields in declaration order, maps sorted, no spaces).
    pub fn key(&self) -> Key {
        let mut bytes = format!("fulcrum stage v{CODE_VERSION}\n").into_bytes();
        serde_json::to_writer(&mut bytes, self).expect("a spec is plain data");
        Key::of(&bytes)
    }

    /// The key of the input in `role`.
    ///
    /// # Errors
    /// Names the missing role.
    pub fn input(&self, role: &str) -> Result<Key, MissingInput> {
        self.inputs.get(role).copied().ok_or_else(|| MissingInput(role.to_owned()))
    }
}

/// A stage lacks an input that its kind reads.
#[derive(Debug, thiserror::Error)]
#[error("the stage has no input {0:?}")]
pub struct MissingInput(String);

/// A plan that cannot be run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The key does not belong to the spec: another code version, or altered bytes.
    #[error(
        "stage {name:?} has key {found} but its description gives {expected}: plan and program are of different versions"
    )]
    Key {
        /// The stage's name.
        name: String,
        /// Key in the plan, shortened.
        found: String,
        /// Key computed, shortened.
        expected: String,
    },
    /// An input is neither in the plan before its reader.
    #[error("stage {name:?} reads {input:?}, which no earlier stage of the plan makes")]
    Input {
        /// The reader.
        name: String,
        /// The role that is read.
        input: String,
    },
    /// Two stages are the same.
    #[error("stages {first:?} and {second:?} have the same key: a plan names each stage once")]
    Twice {
        /// The earlier one's name.
        first: String,
        /// The later one's name.
        second: String,
    },
}

impl From<Listed> for Plan {
    fn from(listed: Listed) -> Self {
        listed.stages.into()
    }
}

impl From<Vec<Stage>> for Plan {
    /// Takes stages as they are; [`Plan::check`] says whether they are a plan.
    fn from(stages: Vec<Stage>) -> Self {
        // Of two stages with one key the first is found.
        let places = stages.iter().enumerate().rev().map(|(place, stage)| (stage.key, place)).collect();
        Self { stages, places }
    }
}

impl From<Plan> for Vec<Stage> {
    fn from(plan: Plan) -> Self {
        plan.stages
    }
}

impl Plan {
    /// The stages, inputs first.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Adds a stage unless one of the same key is there already; returns the key.
    pub fn add(&mut self, name: impl Into<String>, spec: Spec, estimate: Estimate) -> Key {
        self.add_located(name, spec, estimate, BTreeMap::new())
    }

    /// [`Plan::add`] for a stage that reads bytes from outside the store.
    pub fn add_located(
        &mut self,
        name: impl Into<String>,
        spec: Spec,
        estimate: Estimate,
        locations: BTreeMap<String, String>,
    ) -> Key {
        let key = spec.key();
        self.take(Stage { key, name: name.into(), spec, locations, estimate, workers: None });
        key
    }

    /// [`Plan::add`] for a stage of another plan.
    pub(crate) fn take(&mut self, stage: Stage) {
        if let Entry::Vacant(place) = self.places.entry(stage.key) {
            place.insert(self.stages.len());
            self.stages.push(stage);
        }
    }

    /// Lets a training have no more than so many workers. Where two models share it, the first one's word stands.
    pub(crate) fn limit(&mut self, key: Key, workers: Option<usize>) {
        if let Some(place) = self.places.get(&key) {
            let stage = &mut self.stages[*place];
            stage.workers = stage.workers.or(workers);
        }
    }

    /// The stage of that key.
    pub fn stage(&self, key: Key) -> Option<&Stage> {
        self.places.get(&key).map(|place| &self.stages[*place])
    }

    /// Checks a plan that came from outside.
    ///
    /// # Errors
    /// If a key does not match its spec, a stage reads what no earlier stage makes, or two stages are the same.
    pub fn check(&self) -> Result<(), PlanError> {
        let is_made = |key: &Key, before: usize| self.places.get(key).is_some_and(|place| *place < before);
        for (place, stage) in self.stages.iter().enumerate() {
            let expected = stage.spec.key();
            if expected != stage.key {
                return Err(PlanError::Key {
                    name: stage.name.clone(),
                    found: stage.key.short(),
                    expected: expected.short(),
                });
            }
            if let Some((role, _)) = stage.spec.inputs.iter().find(|(_, key)| !is_made(key, place)) {
                return Err(PlanError::Input { name: stage.name.clone(), input: role.clone() });
            }
            if is_made(&stage.key, place) {
                let first = self.stages[self.places[&stage.key]].name.clone();
                return Err(PlanError::Twice { first, second: stage.name.clone() });
            }
        }
        Ok(())
    }

    /// The stages that must run so that `goal` exists, given what is `done` already, in plan order.
    /// A finished stage hides everything above it.
    pub fn needed(&self, goal: Key, done: impl Fn(Key) -> bool) -> Vec<Key> {
        let mut wanted = BTreeSet::new();
        let mut open = vec![goal];
        while let Some(key) = open.pop() {
            if done(key) || !wanted.insert(key) {
                continue;
            }
            open.extend(self.stage(key).into_iter().flat_map(|stage| stage.spec.inputs.values()));
        }
        self.stages.iter().map(|stage| stage.key).filter(|key| wanted.contains(key)).collect()
    }

    /// The last stage, whose artifact is the outcome of the run.
    pub fn goal(&self) -> Option<Key> {
        self.stages.last().map(|stage| stage.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Averages of averages, each of the one before.
    fn chain(stages: usize) -> Plan {
        let mut plan = Plan::default();
        let mut inputs = BTreeMap::new();
        for place in 0..stages {
            let spec = Spec { work: Work::Merge(Merge::Average), inputs: inputs.clone() };
            let key = plan.add(format!("stage {place}"), spec, Estimate::default());
            inputs = BTreeMap::from([("model/0".to_owned(), key)]);
        }
        plan
    }

    #[test]
    fn a_stage_is_added_once_and_found_by_its_key_also_after_a_journey() {
        let mut plan = chain(3);
        let (key, spec) = (plan.stages()[1].key, plan.stages()[1].spec.clone());
        assert_eq!(plan.add("another name", spec, Estimate::default()), key);
        assert_eq!(plan.stages().len(), 3);
        let json = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(read, plan);
        assert_eq!(read.stage(key).unwrap().name, "stage 1");
        assert_eq!(read.stage(Key::of(b"none")), None);
    }

    #[test]
    fn a_plan_from_outside_names_each_stage_once_and_inputs_first() {
        let stages = Vec::from(chain(3));
        let check = |order: &[usize]| {
            Plan::from(order.iter().map(|place| stages[*place].clone()).collect::<Vec<_>>()).check()
        };
        assert_eq!(check(&[0, 1, 2]), Ok(()));
        let missing = |name: &str| Err(PlanError::Input { name: name.into(), input: "model/0".into() });
        assert_eq!(check(&[0, 2, 1]), missing("stage 2"));
        assert_eq!(check(&[1, 0, 2]), missing("stage 1"));
        let twice = PlanError::Twice { first: "stage 1".into(), second: "stage 1".into() };
        assert_eq!(check(&[0, 1, 1, 2]), Err(twice));
    }

    #[test]
    fn what_is_finished_hides_what_it_was_made_of() {
        let plan = chain(4);
        let key = |place: usize| plan.stages()[place].key;
        assert_eq!(plan.needed(key(3), |_| false), [key(0), key(1), key(2), key(3)]);
        assert_eq!(plan.needed(key(3), |made| made == key(1)), [key(2), key(3)]);
        assert_eq!(plan.needed(key(3), |made| made == key(3)), []);
    }
}
