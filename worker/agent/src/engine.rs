//! The engine thread: one assignment at a time, away from the control task, so that heartbeats never wait for it.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use fulcrum_common::{
    Key, exit,
    plan::Stage,
    protocol::{self, Assignment, Shard, Trial},
    store::{Checkpoint, File, Manifest},
};

use crate::attempt::Attempt;

/// What does the work. The worker's is [`crate::stage::Stages`]; tests have others.
pub(crate) trait Engine {
    /// Does this worker's part of an assignment; its files are durable in the store on return.
    fn run(&mut self, task: &Task, attempt: &Arc<Attempt>) -> Result<Product, Fault>;
}

/// A checked assignment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) epoch: u64,
    pub(crate) stage: Stage,
    pub(crate) rank: usize,
    pub(crate) world: usize,
    pub(crate) shard: Option<Shard>,
    /// Positions of the shard's rows that are left out.
    pub(crate) skip: Vec<u64>,
    /// Where it is only asked whether these rows of the shard can be computed.
    pub(crate) trial: Option<Trial>,
    pub(crate) inputs: BTreeMap<String, Manifest>,
    /// When it keeps checkpoints, and where it may go on from; trainings alone are told.
    pub(crate) checkpoints: Option<Checkpoints>,
}

/// When a training keeps checkpoints, and those that there are, the newest first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoints {
    /// After so many steps.
    pub(crate) steps: Option<u64>,
    /// After so long.
    pub(crate) time: Option<Duration>,
    pub(crate) past: Vec<Checkpoint>,
    /// What ranks hold alike is compared after so many steps and with every checkpoint; none for never.
    pub(crate) compare: Option<u64>,
    /// And after this step, where an earlier gang disagreed.
    pub(crate) compare_at: Option<u64>,
}

/// What an assignment left in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Product {
    pub(crate) files: Vec<File>,
    pub(crate) facts: BTreeMap<String, u64>,
}

/// Why an assignment failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// One line.
    pub(crate) message: String,
    /// False where another attempt would fail the same way.
    pub(crate) retry: bool,
    /// The fault lies with a peer or the network.
    pub(crate) membership: bool,
    /// Exit code of the run should this end it; 0 for the default.
    pub(crate) code: i32,
    /// The row that it failed in, by its number in its source, where that was alone.
    pub(crate) row: Option<i64>,
}

impl Fault {
    /// Another attempt would fail the same way.
    pub(crate) fn fatal(error: impl fmt::Display, code: i32) -> Self {
        Self { message: error.to_string(), retry: false, membership: false, code, row: None }
    }

    /// Another attempt may work.
    pub(crate) fn passing(error: impl fmt::Display) -> Self {
        Self { message: error.to_string(), retry: true, membership: false, code: 0, row: None }
    }

    /// A peer or the network failed, not the work.
    pub(crate) fn membership(error: impl fmt::Display) -> Self {
        Self { message: error.to_string(), retry: true, membership: true, code: 0, row: None }
    }
}

impl TryFrom<Assignment> for Task {
    type Error = Fault;

    fn try_from(it: Assignment) -> Result<Self, Fault> {
        let refuse = |what: String| Fault::fatal(format!("assignment {}: {what}", it.epoch), exit::MISMATCH);
        let stage: Stage =
            serde_json::from_str(&it.stage).map_err(|error| refuse(format!("no stage: {error}")))?;
        if stage.spec.key() != stage.key {
            return Err(refuse("the stage's key is not that of its description".into()));
        }
        if it.rank >= it.world || it.epoch == 0 {
            return Err(refuse(format!("rank {} of {} workers", it.rank, it.world)));
        }
        let backwards = it.shard.is_some_and(|shard| shard.start > shard.end);
        if backwards || it.trial.is_some_and(|rows| rows.start > rows.end) {
            return Err(refuse("a shard that ends before it starts".into()));
        }
        let inputs = stage
            .spec
            .inputs
            .iter()
            .map(|(role, key)| {
                let text = it.inputs.get(role).ok_or_else(|| refuse(format!("input {role:?} is missing")))?;
                let manifest = Manifest::from_json(*key, text.as_bytes());
                manifest
                    .map(|it| (role.clone(), it))
                    .map_err(|error| refuse(format!("input {role:?}: {error}")))
            })
            .collect::<Result<_, Fault>>()?;
        let checkpoints = it.checkpoints.map(|it| checkpoints(stage.key, &it)).transpose().map_err(refuse)?;
        let (rank, world) = (it.rank as usize, it.world as usize);
        let (epoch, shard, skip, trial) = (it.epoch, it.shard, it.skip, it.trial);
        Ok(Self { epoch, rank, world, shard, skip, trial, stage, inputs, checkpoints })
    }
}

fn checkpoints(key: Key, it: &protocol::Checkpoints) -> Result<Checkpoints, String> {
    let read = |json: &String| Checkpoint::from_json(key, json.as_bytes()).map_err(|error| error.to_string());
    let past = it.past.iter().map(read).collect::<Result<_, _>>()?;
    let (steps, ms) = (Some(it.every_steps), Some(it.every_ms));
    let time = ms.filter(|ms| *ms > 0).map(Duration::from_millis);
    let some = |number: u64| (number > 0).then_some(number);
    let (compare, compare_at) = (some(it.compare_steps), some(it.compare_at));
    Ok(Checkpoints { steps: steps.filter(|steps| *steps > 0), time, past, compare, compare_at })
}

/// An outcome of the engine, with the epoch it belongs to.
pub(crate) type Outcome = (u64, Result<Product, Fault>);

/// The control task's end of the engine thread.
#[derive(Debug)]
pub(crate) struct EngineThread {
    tasks: mpsc::Sender<(Task, Arc<Attempt>)>,
}

impl EngineThread {
    /// Starts the thread; `make` builds the engine on it. Outcomes go to `outcomes`.
    pub(crate) fn start<E: Engine>(
        make: impl FnOnce() -> E + Send + 'static,
        outcomes: tokio::sync::mpsc::UnboundedSender<Outcome>,
    ) -> std::io::Result<Self> {
        let (tasks, assigned) = mpsc::channel::<(Task, Arc<Attempt>)>();
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let mut engine = make();
            for (task, attempt) in assigned {
                let epoch = task.epoch;
                let run = catch_unwind(AssertUnwindSafe(|| engine.run(&task, &attempt)));
                let result = run.unwrap_or_else(|panic| Err(panicked(&*panic)));
                if outcomes.send((epoch, settle(result, &attempt))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { tasks })
    }

    /// Hands over an assignment.
    pub(crate) fn run(&self, task: Task, attempt: Arc<Attempt>) {
        // The thread ends only after this end of the channel is dropped: panics of the engine are caught.
        let _ = self.tasks.send((task, attempt));
    }
}

/// Once an attempt is called off, its failure says nothing about the work. Else it says in which row it was, if in one
/// alone.
fn settle(result: Result<Product, Fault>, attempt: &Attempt) -> Result<Product, Fault> {
    match result {
        Err(fault) if attempt.is_cancelled() => {
            Err(Fault::membership(format!("called off: {}", fault.message)))
        }
        Err(fault) => Err(Fault { row: attempt.row(), ..fault }),
        done => done,
    }
}

/// What a panic says, as a fault.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    Fault {
        message: format!("panic: {line}"),
        retry: true,
        membership: false,
        code: exit::INTERNAL,
        row: None,
    }
}
