//! Chaos: the same run with something going wrong in it, at every fault point, in every way, on every rank; it must leave
//! the same bytes as the run in which nothing did.

use std::{
    fmt, fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fulcrum_common::fault::POINTS;

use crate::workplace::{Left, Workplace, finish};

/// Small, and with a middle: two trainings of sixty steps, four short ones, labels, measures.
pub const EXPERIMENT: &str = r#"
name   = "chaos"
recipe = "weak-to-strong"

[task]
source = "builtin:arithmetic"
split  = { ground_truth = 64, weak_labels = 64, validation = 8, test = 40 }

[[model]]
name    = "small"
layers  = 1
hidden  = 16
heads   = 2
context = 16

[[model]]
name    = "large"
layers  = 2
hidden  = 16
heads   = 2
context = 16

[pretrain]
rows        = 960
batch       = 32
micro_batch = 16

[methods]
run = ["confidence"]

[train]
batch       = 32
micro_batch = 8

[checkpoint]
steps = 5
"#;

/// Every run ends well before this, whatever happens in it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Seconds after which a worker that hangs is given up, in these runs.
const STALL: &str = "6";

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is armed.
    pub fault: String,
    /// Something that has to go wrong before, so that the place is ever come to.
    pub before: Option<&'static str>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it took.
    pub took: Duration,
    /// What is wrong with it; nothing where it left the bytes of the undisturbed run.
    pub problem: Option<String>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.map(|before| format!(" after {before}")).unwrap_or_default();
        write!(f, "{}{before}", self.fault)
    }
}

/// Every fault point, with every kind of fault that it may have, on the first rank and the last.
pub fn matrix() -> Vec<Case> {
    let case = |fault: String| Case { fault, before: None };
    let mut cases = Vec::new();
    for point in POINTS {
        let (area, _) = point.split_once('.').expect("names of points have an area");
        if area == "memory" {
            let fault = |rank| case(format!("{point} rank={rank} step=17 kind=flip"));
            cases.extend(["0", "last"].map(fault));
            continue;
        }
        for kind in ["error", "panic", "kill", "stop", "hang", "delay"] {
            // Nobody watches over whether threads of the control plane get on: they compute nothing.
            let computes = matches!(area, "step" | "train" | "infer") || COMPUTING.contains(point);
            if kind == "hang" && !computes {
                continue;
            }
            match area {
                "step" => {
                    // The only objective that looks ahead belongs to the short trainings.
                    let step = if *point == "step.look_ahead" { 1 } else { 17 };
                    let fault = |rank| case(format!("{point} rank={rank} step={step} kind={kind}"));
                    cases.extend(["0", "last"].map(fault));
                }
                "snapshot" => {
                    cases.extend(["0", "last"].map(|rank| case(format!("{point} rank={rank} kind={kind}"))))
                }
                "train" if point.starts_with("train.restore") => {
                    cases.extend(["0", "last"].map(|rank| Case {
                        fault: format!("{point} rank={rank} kind={kind}"),
                        before: Some("step.end rank=last step=17 kind=kill"),
                    }))
                }
                _ if WORLDS.contains(point) => {
                    cases.extend(["0", "last"].map(|rank| case(format!("{point} rank={rank} kind={kind}"))))
                }
                _ => cases.push(case(format!("{point} kind={kind}"))),
            }
        }
    }
    cases
}

/// Points outside of trainings that the engine thread comes to, so that a hang there is noticed.
const COMPUTING: &[&str] = &[
    "worker.inputs",
    "worker.gather.before",
    "worker.gather.after",
    "worker.load",
    "worker.made",
    "worker.put",
    "worker.done",
];

/// Points that every rank of a gang comes to.
const WORLDS: &[&str] = &[
    "worker.inputs",
    "worker.gather.before",
    "worker.gather.after",
    "worker.load",
    "worker.made",
    "train.finish",
];

/// A few cases that are quick and differ much, for every change.
pub fn sample() -> Vec<Case> {
    let faults = [
        "step.update rank=last step=17 kind=kill",
        "step.backward rank=0 step=17 kind=error",
        "step.publish rank=0 step=17 kind=stop",
        "snapshot.tensors rank=last kind=kill",
        "snapshot.copied rank=0 kind=panic",
        "infer.batch kind=kill",
        "worker.done kind=kill",
        "coordinator.assignment.before kind=kill",
        "coordinator.checkpoint.before kind=kill",
        "coordinator.commit.after kind=panic",
        "store.put.after kind=error",
        "memory.weights rank=last step=17 kind=flip",
        "memory.moments rank=0 step=17 kind=flip",
    ];
    let mut cases: Vec<Case> = faults.map(|fault| Case { fault: fault.to_owned(), before: None }).to_vec();
    cases.push(Case {
        fault: "train.restore.after rank=0 kind=kill".to_owned(),
        before: Some("step.end rank=last step=17 kind=kill"),
    });
    cases
}

/// What the run leaves when nothing happens to it.
///
/// # Panics
/// If it fails.
pub fn undisturbed() -> Left {
    let place = Place::new();
    assert_eq!(place.run(&[]), Some(0), "the undisturbed run fails\n{}", place.0.logs());
    place.0.artifacts()
}

/// Runs a case, and compares what it leaves.
pub fn run(case: &Case, expected: &Left) -> Outcome {
    let place = Place::new();
    let armed = match case.before {
        Some(before) => format!("{};{before}", case.fault),
        None => case.fault.clone(),
    };
    let began = Instant::now();
    let code = place.run(&[("FULCRUM_FAULT", &armed)]);
    let took = began.elapsed();
    let problem = match code {
        None => Some(format!("the run did not end within {PATIENCE:?}")),
        Some(0) if !place.marks().join("0").exists() => Some("the fault did not strike".to_owned()),
        Some(0) => difference(expected, &place.0.artifacts()),
        Some(code) => Some(format!("the run ended with code {code}")),
    };
    let logs = |problem: String| {
        if std::env::var_os("FULCRUM_CHAOS_LOGS").is_some() {
            format!("{problem}\n{}", place.0.logs())
        } else {
            problem
        }
    };
    Outcome { took, problem: problem.map(logs) }
}

/// The first file that is not as it should be.
pub(crate) fn difference(expected: &Left, found: &Left) -> Option<String> {
    let name = |(stage, file): &(String, String)| format!("{file} of {stage:?}");
    let lacks =
        expected.keys().find(|key| !found.contains_key(*key)).map(|key| format!("{} is missing", name(key)));
    let more =
        || found.keys().find(|key| !expected.contains_key(*key)).map(|key| format!("{} is new", name(key)));
    let other = || {
        expected
            .iter()
            .find(|(key, bytes)| found.get(*key) != Some(*bytes))
            .map(|(key, _)| format!("{} has other bytes", name(key)))
    };
    lacks.or_else(more).or_else(other)
}

/// A folder to run it in.
pub(crate) struct Place(pub(crate) Workplace);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(Workplace::new("chaos", EXPERIMENT));
        fs::create_dir(place.marks()).expect("a temporary folder can be written");
        place
    }

    /// Where faults that struck leave a mark, so that each strikes once.
    fn marks(&self) -> PathBuf {
        self.0.at("marks")
    }

    /// The run.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.0.command(&["run", "chaos.toml", "--workers", "2", "--threads", "1"]);
        command.env("FULCRUM_STALL_SECONDS", STALL);
        command
    }

    /// Runs the experiment; its exit code, none where it takes too long.
    fn run(&self, environment: &[(&str, &str)]) -> Option<i32> {
        let mut command = self.command();
        command.envs(environment.iter().copied());
        command.env("FULCRUM_FAULT_ONCE", self.marks());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        finish(child, PATIENCE)
    }
}
