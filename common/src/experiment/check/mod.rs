//! Raw sections to a checked experiment: what no single key can tell.
//!
//! Every check goes through the log and on, so that one run names all problems.

mod format;
mod grid;
mod ladder;
mod methods;
mod task;
mod training;
mod vectors;

use std::{collections::BTreeSet, path::Path};

use super::{
    Batches, Body, Bootstrap, Cadence, Cluster, Experiment, Method, Pair, Parallel,
    keys::Raw,
    problem::Log,
    value::{Count, Line, OverLong, TaskKind},
};
use crate::plan::{Levels, SplitRule};

/// Accuracies that a bootstrap may hold at a time, one per draw and prediction: half a GiB.
const MOST_ACCURACIES: usize = 1 << 26;

pub(super) use training::training;

/// Makes an experiment of what the file says. What is wrong goes to the log; the experiment is only good if
/// the log stayed empty.
pub(super) fn check(raw: &Raw, folder: &Path, log: &Log<'_>) -> Option<Experiment> {
    let split = split(raw, log);
    let task = task::task(raw, &split, folder, log);
    let ladder = ladder::ladder(raw, folder, log);
    if let Some(task) = &task {
        ladder::heads(raw, task.head(), log);
        methods::hints(raw, task.classes, log);
        vectors::fit(raw, task, log);
    }
    let made_here = ladder.iter().flatten().any(|model| matches!(model.body, Body::New(_)));
    if !made_here && let Some(line) = raw.pretrain.line {
        log.add(Some(line), "pretrain is not read: no model is made here, so none is trained from scratch");
    }
    let pretrain = if made_here { training::pretrain(raw, log) } else { None };
    let pairs = ladder::pairs(raw, log);
    let methods = methods::methods(raw, log);
    if task::speaks(&raw.task) {
        methods::written(raw, log);
    }
    let train = training::train(raw, log);
    methods::answers(raw, &pairs, &methods, log);
    let grid = grid::grid(raw, &methods, log);
    let bootstrap = bootstrap(raw, &pairs, &methods, log);
    let strategy = training::strategy(raw, log);
    let numerics = training::numerics(raw, log);
    Some(Experiment {
        name: raw.top.name.value.0.clone(),
        folder: folder.to_owned(),
        seeds: raw.top.seeds.value.0.clone(),
        task_name: raw.task.name.value.as_ref().map(|name| name.0.clone()),
        task: task?,
        split,
        drop_over_long: raw.split.over_long.value == OverLong::Drop,
        ladder: ladder?,
        pretrain,
        methods,
        pairs,
        grid,
        train: train?,
        infer: Batches {
            batch_tokens: raw.infer.batch_tokens.value.0,
            shard: raw.infer.shard.value.0,
            poison_rows: raw.infer.poison_rows.value.0,
        },
        bootstrap,
        parallel: Parallel {
            workers: raw.parallel.workers.value.map(|count| count.0),
            fewest: training::fewest(raw, log),
            threads: raw.parallel.threads.value.map(|count| count.0),
        },
        checkpoints: Cadence {
            steps: raw.checkpoint.steps.value.map_or(0, |count| count.0 as u64),
            seconds: raw.checkpoint.seconds.value.0 as u64,
            verify_steps: raw.checkpoint.verify_steps.value,
        },
        cluster: cluster(raw, log),
        numerics,
        strategy: strategy?,
        store: raw.store.path.value.clone(),
    })
}

/// What a scheduler is asked for.
fn cluster(raw: &Raw, log: &Log<'_>) -> Cluster {
    let keys = &raw.cluster;
    let text = |line: &Option<Line>| line.as_ref().map(|line| line.0.clone());
    let number = |count: Option<Count>| count.map(|count| count.0);
    if let Some(Line(flag)) = keys.flags.value.iter().find(|flag| !flag.0.starts_with('-')) {
        log.add(keys.flags.line, format!("cluster.flags has {flag:?}, which is no option: begin it with --"));
    }
    Cluster {
        partition: text(&keys.partition.value),
        account: text(&keys.account.value),
        time: text(&keys.time.value),
        nodes: number(keys.nodes.value),
        cpus: number(keys.cpus.value).or(number(raw.parallel.threads.value)).unwrap_or(1),
        memory: text(&keys.memory.value),
        gpus: keys.gpus.value,
        grace: keys.grace.value.0,
        flags: keys.flags.value.iter().map(|flag| flag.0.clone()).collect(),
    }
}

fn split(raw: &Raw, log: &Log<'_>) -> SplitRule {
    let levels = levels(raw, log);
    let (kind, raw) = (raw.task.kind.value, &raw.split);
    let mut balance = raw.balance.value.0;
    if kind == TaskKind::MultipleChoice && balance < 1.0 {
        if raw.balance.line.is_some() {
            let problem = format!("task.split.balance = {balance} takes answers away from questions");
            log.add(raw.balance.line, format!("{problem}: leave it out, or say which by task.pick"));
        }
        balance = 1.0;
    }
    SplitRule {
        ground_truth: raw.ground_truth.value.0,
        weak_labels: raw.weak_labels.value.0,
        validation: raw.validation.value,
        test: raw.test.value.0,
        fresh: raw.fresh.value,
        balance,
        duplicates: raw.duplicates.value,
        levels,
        seed: raw.seed.value,
    }
}

/// From easy to hard, where all three keys say so.
fn levels(raw: &Raw, log: &Log<'_>) -> Option<Levels> {
    let (split, difficulty) = (&raw.split, &raw.task.difficulty);
    let (easy, hard) = (split.easy.value.as_ref(), split.hard.value.as_ref());
    match (easy.map(|it| it.0), hard.map(|it| it.0), difficulty.value.is_some()) {
        (None, None, false) => None,
        (Some(easy), Some(hard), true) if easy < hard => Some(Levels { easy, hard }),
        (Some(easy), Some(hard), true) => {
            let problem = format!("task.split.hard = {hard} is not above task.split.easy = {easy}");
            log.add(split.hard.line, format!("{problem}: a row would be of both"));
            None
        }
        (None, None, true) => {
            log.add(difficulty.line, "task.difficulty is not read: the split has neither `easy` nor `hard`");
            None
        }
        _ => {
            let line = split.easy.line.or(split.hard.line);
            log.add(line, "easy, hard and task.difficulty go together: say all three");
            None
        }
    }
}

/// Every draw judges every prediction, of which each seed has one per supervisor, ceiling and student.
fn bootstrap(raw: &Raw, pairs: &[Pair], methods: &[Method], log: &Log<'_>) -> Bootstrap {
    let draws = raw.report.draws.value.0;
    let distinct = |end: fn(&Pair) -> usize| pairs.iter().map(end).collect::<BTreeSet<_>>().len();
    let tested = methods.iter().map(Method::tests).sum();
    let students = pairs.len().saturating_mul(tested);
    let ceilings = 1 + methods.iter().filter(|method| method.has_own_ceiling()).count();
    let models = students + distinct(|pair| pair.weak) + distinct(|pair| pair.strong) * ceilings;
    let predictions = models.saturating_mul(raw.top.seeds.value.0.len()).max(1);
    if draws.saturating_mul(predictions) > MOST_ACCURACIES {
        let most = MOST_ACCURACIES / predictions;
        log.add(
            raw.report.draws.line.or(raw.top.seeds.line),
            format!("report.draws = {draws} is too many for {predictions} predictions: take {most} at most"),
        );
    }
    Bootstrap { draws, seed: raw.report.seed.value }
}
