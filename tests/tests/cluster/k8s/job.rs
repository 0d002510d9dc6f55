//! What the controller of jobs does: pods for all indexes that have not succeeded, until all have or a rule ends the job.
//!
//! It makes a new pod at once, where a cluster waits ever longer before it does.

use serde_json::Value;

use super::pod::{known, list, text};

/// What this controller knows of a job.
const FIELDS: [&str; 6] =
    ["completionMode", "completions", "parallelism", "backoffLimit", "podFailurePolicy", "template"];

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) index: usize,
    pub(super) code: i32,
    /// Whether the cluster took the pod away.
    pub(super) disrupted: bool,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// With the reason that its condition has.
    Failed(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Vacant,
    Taken,
    Succeeded,
}

/// A job, without its pods.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) template: Value,
    pub(super) is_indexed: bool,
    /// Every pod that ended, in that order.
    pub(super) deaths: Vec<Death>,
    pub(super) end: Option<End>,
    limit: u64,
    rules: Vec<Value>,
    failures: u64,
    places: Vec<Place>,
}

impl Job {
    pub(super) fn new(object: &Value) -> Self {
        let spec = &object["spec"];
        known(spec, &FIELDS);
        assert_eq!(spec["completions"], spec["parallelism"], "all pods are there at the same time");
        let pods = usize::try_from(spec["completions"].as_u64().unwrap()).unwrap();
        let is_indexed = spec["completionMode"] == "Indexed";
        assert!(is_indexed || pods == 1, "places of a job that is not indexed are all the same");
        Self {
            name: text(&object["metadata"]["name"]).to_owned(),
            template: spec["template"].clone(),
            is_indexed,
            deaths: Vec::new(),
            end: None,
            limit: spec["backoffLimit"].as_u64().unwrap(),
            rules: list(&spec["podFailurePolicy"]["rules"]).cloned().collect(),
            failures: 0,
            places: vec![Place::Vacant; pods],
        }
    }

    /// The indexes that pods are to be made for now.
    pub(super) fn take_vacant(&mut self) -> Vec<usize> {
        let mut taken = Vec::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            if self.end.is_none() && *place == Place::Vacant {
                *place = Place::Taken;
                taken.push(index);
            }
        }
        taken
    }

    /// A pod has ended.
    pub(super) fn judge(&mut self, death: Death) {
        self.deaths.push(death);
        self.places[death.index] = if death.code == 0 { Place::Succeeded } else { Place::Vacant };
        if self.end.is_some() {
            return;
        }
        if self.places.iter().all(|place| *place == Place::Succeeded) {
            self.end = Some(End::Complete);
        } else if death.code != 0 {
            self.count(death);
        }
    }

    fn count(&mut self, death: Death) {
        match self.rules.iter().find(|rule| applies(rule, death)).map(|rule| text(&rule["action"])) {
            Some("Ignore") => {}
            Some("FailJob") => self.end = Some(End::Failed("PodFailurePolicy")),
            Some(action) => panic!("this controller does not know {action}"),
            None => {
                self.failures += 1;
                if self.failures > self.limit {
                    self.end = Some(End::Failed("BackoffLimitExceeded"));
                }
            }
        }
    }
}

fn applies(rule: &Value, death: Death) -> bool {
    known(rule, &["action", "onExitCodes", "onPodConditions"]);
    let codes = &rule["onExitCodes"];
    if codes.is_object() {
        assert_eq!(codes["operator"], "In");
        return list(&codes["values"]).any(|code| *code == death.code);
    }
    let mut conditions = list(&rule["onPodConditions"]);
    conditions.any(|condition| condition["type"] == "DisruptionTarget" && condition["status"] == "True")
        && death.disrupted
}
