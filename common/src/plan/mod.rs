//! The plan: an experiment compiled to a graph of stages, each named by its content key.

mod render;
mod spec;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use render::{StageView, State, render, view};
pub use spec::*;

use crate::Key;

/// The version of the code that gives stages their meaning. It is part of every key: raise it
/// whenever the same description starts to produce other bytes.
pub const CODE_VERSION: u32 = 1;

/// A graph of stages in topological order: every stage comes after its inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages, inputs first.
    pub stages: Vec<Stage>,
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
}

impl Plan {
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
        if self.stage(key).is_none() {
            self.stages.push(Stage { key, name: name.into(), spec, locations, estimate });
        }
        key
    }

    /// The stage of that key.
    pub fn stage(&self, key: Key) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.key == key)
    }

    /// Checks a plan that came from outside.
    ///
    /// # Errors
    /// If a key does not match its spec or a stage reads what no earlier stage makes.
    pub fn check(&self) -> Result<(), PlanError> {
        let mut made = BTreeSet::new();
        for stage in &self.stages {
            let expected = stage.spec.key();
            if expected != stage.key {
                return Err(PlanError::Key {
                    name: stage.name.clone(),
                    found: stage.key.short(),
                    expected: expected.short(),
                });
            }
            if let Some((role, _)) = stage.spec.inputs.iter().find(|(_, key)| !made.contains(*key)) {
                return Err(PlanError::Input { name: stage.name.clone(), input: role.clone() });
            }
            made.insert(stage.key);
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
