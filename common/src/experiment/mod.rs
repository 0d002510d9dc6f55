//! The experiment file: what a user writes, checked.
//!
//! Reading goes through three types. *Raw* sections (`keys`) hold what the file says, with lines and
//! defaults; [`Experiment`] is what they mean, free of contradictions; the plan that
//! [`crate::recipe::compile`] makes of it is what runs.

mod check;
#[macro_use]
mod sections;
mod grid;
mod keys;
mod method;
mod problem;
mod read;
mod reference;
mod sweep;
mod value;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

pub(crate) use grid::Trial;
pub(crate) use method::{Method, Prompting, Stop, Tuning};
pub use problem::{Errors, Problem};
pub use reference::reference;
pub use sweep::{Sweep, load, parse, parse_sweep};

use problem::Log;

use crate::{
    plan::{
        self, Architecture, Format, Head, HeadInit, Holds, Lora, Numerics, Optimizer, Output, Readout,
        Sampling, Source, SplitRule, Strategy, Style, Trainable,
    },
    source::{HubId, discover::Split},
    store::Place,
};

/// A checked experiment over one task. Only [`load`] and [`parse`] make one, so every value in it is within its range,
/// every default is filled in, and every name refers to something.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) seeds: Vec<u64>,
    task_name: Option<String>,
    pub(crate) task: Task,
    pub(crate) split: SplitRule,
    /// Rows that are too long for any model of the ladder are left out for all of them.
    pub(crate) drop_over_long: bool,
    pub(crate) ladder: Vec<Model>,
    pub(crate) pretrain: Option<Pretrain>,
    pub(crate) methods: Vec<Method>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) train: Training,
    /// What is tried in place of it; empty where it is final.
    pub(crate) grid: Vec<Trial>,
    pub(crate) infer: Batches,
    pub(crate) bootstrap: Bootstrap,
    parallel: Parallel,
    checkpoints: Cadence,
    cluster: Cluster,
    pub(crate) numerics: Numerics,
    pub(crate) strategy: Strategy,
    store: Place,
}

impl Experiment {
    /// The name of the run: letters, digits, `-`, `_` and `.`, so it can name a folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its task is called among those of a sweep.
    pub fn task_name(&self) -> Option<&str> {
        self.task_name.as_deref()
    }

    /// The recipe's name.
    pub fn recipe(&self) -> &'static str {
        "weak-to-strong"
    }

    /// How the work is spread.
    pub fn parallel(&self) -> Parallel {
        self.parallel
    }

    /// When trainings keep checkpoints.
    pub fn checkpoints(&self) -> Cadence {
        self.checkpoints
    }

    /// What a scheduler is asked for.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The artifact store; a folder is relative to where the program was started.
    pub fn store(&self) -> &Place {
        &self.store
    }

    /// Where the pretrained models of the ladder come from, each once, in ladder order.
    pub fn origins(&self) -> Vec<&Origin> {
        let mut origins: Vec<&Origin> = Vec::new();
        for model in &self.ladder {
            let origin = match &model.body {
                Body::Pretrained { origin, .. } => origin,
                Body::Vectors(Vectors { seen: Seen::Network { origin }, .. }) => origin,
                _ => continue,
            };
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins
    }

    /// Where the adapters of the ladder come from, each once, in ladder order.
    pub fn adapters(&self) -> Vec<&Origin> {
        let mut adapters: Vec<&Origin> = Vec::new();
        for model in &self.ladder {
            if let Body::Pretrained { adapter: Some(origin), .. } = &model.body
                && !adapters.contains(&origin)
            {
                adapters.push(origin);
            }
        }
        adapters
    }

    /// The dataset files, none for a built-in source.
    pub fn files(&self) -> Option<&DataFiles> {
        match &self.task.rows {
            Rows::Generated(_) => None,
            Rows::Files(files) => Some(files),
        }
    }
}

/// Workers and threads. Part of no content key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Workers per gang; none for all workers of the run.
    pub workers: Option<usize>,
    /// Fewest workers that a training goes on with once others stay away; none for those of a gang.
    pub fewest: Option<usize>,
    /// Threads per worker; none for cores over local workers.
    pub threads: Option<usize>,
}

/// What a scheduler is asked for. Part of no content key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The partition of the machines.
    pub partition: Option<String>,
    /// Who is charged.
    pub account: Option<String>,
    /// Most time of a job.
    pub time: Option<String>,
    /// Machines.
    pub nodes: Option<usize>,
    /// Cores of each worker.
    pub cpus: usize,
    /// Memory of each core.
    pub memory: Option<String>,
    /// Whether each worker has a GPU.
    pub gpus: bool,
    /// Seconds before the end of its time at which the run is asked to stop.
    pub grace: usize,
    /// Further options of `sbatch`.
    pub flags: Vec<String>,
}

/// When trainings keep checkpoints. Part of no content key: nothing depends on it but how much is lost with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// After so many steps; 0 for never by steps.
    pub steps: u64,
    /// After so many seconds; 0 for never by time.
    pub seconds: u64,
    /// Copies of weights are compared after so many steps; 0 for never.
    pub verify_steps: u64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { steps: 0, seconds: 60, verify_steps: 50 }
    }
}

/// Where a pretrained model comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A Python package that carries a model folder.
    Pypi(String),
    /// A model of the Hugging Face hub.
    Hub(HubId),
    /// A folder.
    Folder(PathBuf),
}

impl Origin {
    /// The same place, where a relative folder starts at `base`.
    fn below(&self, base: &Path) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(base.join(path)),
            elsewhere => elsewhere.clone(),
        }
    }
}

/// The files of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFiles {
    /// The dataset.
    pub place: DataPlace,
    /// Which of its files.
    pub chosen: Chosen,
}

impl DataFiles {
    /// What the rows are.
    pub(crate) fn holds(&self) -> Holds {
        match &self.chosen {
            Chosen::Named(names) => held(names),
            Chosen::Split(_) => Holds::Columns,
        }
    }
}

/// What files hold: that of the first that is no table.
fn held<T: AsRef<str>>(names: &[T]) -> Holds {
    let found = names.iter().map(|name| Holds::of(name.as_ref()));
    found.into_iter().find(|holds| *holds != Holds::Columns).unwrap_or(Holds::Columns)
}

/// A dataset: where to look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataPlace {
    /// On the Hugging Face hub, or in the user's own copy of it.
    Hub(HubId),
    /// A folder.
    Folder(PathBuf),
}

/// Which files of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// These, in this order: paths in the dataset.
    Named(Vec<String>),
    /// Those that the dataset has for a split.
    Split(Split),
}

/// The labelled rows, and how they become what is learned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    pub rows: Rows,
    pub format: Format,
    /// Number of classes.
    pub classes: usize,
    /// Whether the rows are answers to questions, which are scored too.
    pub questions: bool,
    /// Of models that write their answers: most tokens of one.
    pub answer_tokens: Option<usize>,
}

/// Where the labelled rows come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rows {
    Generated(Source),
    Files(DataFiles),
}

impl Task {
    /// What the models end in.
    pub(crate) fn head(&self) -> Head {
        match self.answer_tokens {
            Some(_) => Head::LanguageModel,
            None if self.format.compares() => Head::Reward,
            None => Head::Classifier { classes: self.classes },
        }
    }

    /// What a model says of a row.
    pub(crate) fn output(&self) -> Output {
        self.answer_tokens.map_or(Output::Probabilities, |most| Output::Completions(Sampling::greedy(most)))
    }

    /// How a row's text is laid out.
    pub(crate) fn style(&self) -> Style {
        if self.format.compares() { Style::Pair } else { Style::Plain }
    }

    /// Whether models read vectors and not texts.
    pub(crate) fn has_vectors(&self) -> bool {
        match &self.rows {
            Rows::Generated(source) => matches!(source, Source::Mixture(_)),
            Rows::Files(files) => files.holds() != Holds::Columns,
        }
    }
}

/// A rung of the ladder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub name: String,
    pub body: Body,
    pub learning_rate: Option<f64>,
    /// Of the confidence loss, where this one is the student.
    pub confidence_weight: Option<f64>,
    /// Most workers that train it together.
    pub workers: Option<usize>,
    pub head_init: HeadInit,
    pub readout: Option<Readout>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Pretrained { origin: Origin, layers: Option<usize>, adapter: Option<Origin> },
    New(Architecture),
    Vectors(Vectors),
}

/// A model of which no more is here than what it makes of the rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vectors {
    pub seen: Seen,
    /// As a supervisor it is the classifier that it came with.
    pub own_classifier: bool,
}

/// Where what a model sees of a row comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// The file has tensors of that name.
    Given { name: String },
    /// It is generated with the rows.
    Projected { width: usize, noise: f64 },
    /// A network makes it of images.
    Network { origin: Origin },
}

/// How models made here learn language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pretrain {
    pub corpus: Source,
    /// Lines of the corpus.
    pub rows: usize,
    pub seed: u64,
    pub optimizer: Optimizer,
}

/// Positions in the ladder; `weak` is not above `strong`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub weak: usize,
    pub strong: usize,
}

/// How a model is finetuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    pub(crate) optimizer: Optimizer,
    pub(crate) trainable: Trainable,
    pub(crate) lora: Option<Lora>,
    pub(crate) max_tokens: usize,
}

impl Training {
    /// Checks the keys of a `[train]` section alone, without its header, e.g. `epochs = 3`.
    ///
    /// # Errors
    /// Everything that is wrong with them; `origin` says where they come from.
    pub fn parse(origin: &str, text: &str) -> Result<Self, Errors> {
        let log = Log::new(text);
        let keys = read::training(text, &log);
        let training = keys.and_then(|(train, lora)| check::training(&train, &lora, &log));
        finish(origin, training, log)
    }

    /// Texts are cut to this many tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }
}

/// How much a model is run over at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    pub(crate) batch_tokens: usize,
    pub(crate) shard: usize,
    pub(crate) poison_rows: usize,
}

impl Batches {
    /// With the defaults of `[infer]` for what is not given.
    pub fn new(batch_tokens: Option<NonZeroUsize>, shard: Option<NonZeroUsize>) -> Self {
        Self {
            batch_tokens: batch_tokens.map_or(keys::INFER_BATCH_TOKENS, NonZeroUsize::get),
            shard: shard.map_or(keys::INFER_SHARD, NonZeroUsize::get),
            poison_rows: plan::Infer::POISON_ROWS,
        }
    }
}

impl Default for Batches {
    /// The defaults of `[infer]`.
    fn default() -> Self {
        Self::new(None, None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bootstrap {
    pub draws: usize,
    pub seed: u64,
}

fn finish<T>(file: &str, made: Option<T>, log: Log<'_>) -> Result<T, Errors> {
    let problems = log.into_problems();
    match made {
        Some(made) if problems.is_empty() => Ok(made),
        _ => Err(Errors::new(file, problems)),
    }
}
